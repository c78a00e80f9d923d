"""The shell of the horizontal pod autoscaler: each autoscaler is looked at every sync period."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from kumo.api import selectors
from kumo.api.errors import StatusError, is_conflict, is_not_found
from kumo.api.objects import Key, Object, key_of, labels_of, namespace_of
from kumo.api.resources import GVR, PODS
from kumo.api.selectors import Selector
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler import decision as d
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler import targets
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.behavior import Memory
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.config import AutoscalerConfig
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.metrics import Situation
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.sources import fetch
from kumo.kubernetes.controller_manager.monitor import ResourceMonitor
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.events import NORMAL, WARNING, EventRecorder
from kumo.machinery.informer import Informers

AUTOSCALERS = GVR("autoscaling", "v2", "horizontalpodautoscalers")
_REDISCOVER = 30.0
"""Seconds between two discoveries for the sake of unknown kinds."""
_SPACE = "horizontal-pod-autoscaler/namespace"


class HorizontalPodAutoscalerController:
    """Keeps the targets of HorizontalPodAutoscalers at the size that their metrics want.

    A new autoscaler, or one whose spec has changed, is looked at straight away; upstream waits a period first.
    """

    name = "horizontal-pod-autoscaler"

    def __init__(
        self, client: Client, informers: Informers, monitor: ResourceMonitor, config: AutoscalerConfig | None = None
    ) -> None:
        self._client = client
        self._config = config or AutoscalerConfig()
        self._monitor = monitor
        self._recorder = EventRecorder(client, self.name)
        self._memories: dict[Key, Memory] = {}
        self._selectors: dict[Key, Selector] = {}
        self._discovered = -_REDISCOVER
        self._controller = Controller(self.name, self._reconcile)
        self._autoscalers = informers.informer(AUTOSCALERS)
        self._pods = informers.informer(PODS)
        self._pods.add_index(_SPACE, lambda pod: (namespace_of(pod),))
        self._autoscalers.on_change(self._changed)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._autoscalers.wait_synced()
        await self._pods.wait_synced()
        await self._monitor.wait_synced()
        await self._controller.run()

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None or old.get("spec") != new.get("spec"):
            self._controller.queue.add(key_of(new if new is not None else old or {}))

    async def _reconcile(self, key: Key) -> float | None:
        autoscaler = self._autoscalers.get_key(key)
        if autoscaler is None:
            self._memories.pop(key, None)
            self._selectors.pop(key, None)
            return None
        try:
            await self._look(key, autoscaler)
        except (StatusError, OSError, TimeoutError) as error:
            # As upstream: whatever happens, the next look is a period away.
            if not (isinstance(error, StatusError) and (is_not_found(error) or is_conflict(error))):
                text = f"failed to update status for {key.name}: {error}"
                self._recorder.event(autoscaler, WARNING, "FailedUpdateStatus", str(error) or text)
        return self._config.sync_period

    async def _look(self, key: Key, autoscaler: Object) -> None:
        """One look: decide, resize the target, write the status. Raises StatusError, OSError."""
        spec: dict[str, Any] = autoscaler["spec"]
        old = autoscaler.get("status") or {}
        made = d.start(autoscaler)
        try:
            gvr, scale = await self._target(spec["scaleTargetRef"], key.namespace)
        except targets.NoTarget as error:
            d.unable(made, str(error), time.time())
            self._tell(autoscaler, made)
            await self._write(autoscaler, {**old, "conditions": made.conditions})
            return
        wanted = int((scale.get("spec") or {}).get("replicas") or 0)
        d.found(made, wanted, time.time())
        memory = self._memories.setdefault(key, Memory())
        memory.begin(wanted, time.time())
        if d.needs_metrics(spec, wanted):
            await self._measure(key, made, spec, scale, memory)
        else:
            d.out_of_bounds(made, spec, time.time())
        if made.rescale and made.desired is not None:
            await self._resize(autoscaler, made, gvr, scale, memory)
        self._tell(autoscaler, made)
        await self._write(autoscaler, d.status(made, old, time.time()))

    async def _target(self, reference: Object, namespace: str) -> tuple[GVR, Object]:
        """The target's resource and scale. An unknown kind may have come since: discovery is asked now and then.

        Raises NoTarget.
        """
        try:
            return await targets.read(self._client, self._monitor.discovery, reference, namespace)
        except targets.UnknownKind:
            if time.monotonic() - self._discovered < _REDISCOVER:
                raise
            self._discovered = time.monotonic()
            with suppress(StatusError, OSError, TimeoutError):
                await self._monitor.refresh()
            return await targets.read(self._client, self._monitor.discovery, reference, namespace)

    async def _measure(self, key: Key, made: d.Decision, spec: dict[str, Any], scale: Object, memory: Memory) -> None:
        """Fetch the metrics and decide by them."""
        status = scale.get("status") or {}
        text = status.get("selector") or ""
        selector = self._selector(key, made, text)
        if selector is None:
            return
        metrics = spec.get("metrics") or ()
        fetched = await fetch(self._client, self._monitor.discovery, key.namespace, text, metrics)
        at = Situation(
            namespace=key.namespace,
            pods=self._matching(key.namespace, selector),
            wanted=made.current,
            present=int(status.get("replicas") or 0),
            tolerance=d.tolerance(spec, self._config),
            now=time.time(),
            config=self._config,
        )
        d.decide(made, spec, fetched, at, memory)

    def _matching(self, namespace: str, selector: Selector) -> list[Object]:
        return [pod for pod in self._pods.by_index(_SPACE, namespace) if selector.matches(labels_of(pod))]

    def _selector(self, key: Key, made: d.Decision, text: str) -> Selector | None:
        """The target's selector; None, with the reason in the decision, when it is none to work with."""
        now = time.time()
        if not text:
            message = "the HPA target's scale is missing a selector"
            d.no_selector(made, "SelectorRequired", "selector is required", message, now)
            return None
        try:
            selector = selectors.parse_label_selector(text)
        except ValueError as error:
            why = f"couldn't convert selector into a corresponding internal selector object: {error}"
            d.no_selector(made, "InvalidSelector", why, why, now)
            return None
        self._selectors[key] = selector
        pods = self._matching(key.namespace, selector)
        rivals = [
            other
            for other, theirs in self._selectors.items()
            if other.namespace == key.namespace and any(theirs.matches(labels_of(pod)) for pod in pods)
        ]
        if len(rivals) > 1:
            listed = " ".join(map(str, sorted(rivals)))
            why = f"pods by selector {text} are controlled by multiple HPAs: [{listed}]"
            d.no_selector(made, "AmbiguousSelector", why, why, now)
            return None
        return selector

    # -- writing ------------------------------------------------------------------------------------------------------

    async def _resize(self, autoscaler: Object, made: d.Decision, gvr: GVR, scale: Object, memory: Memory) -> None:
        assert made.desired is not None
        try:
            await targets.resize(self._client, gvr, scale, made.desired)
        except StatusError as error:
            d.not_rescaled(made, str(error), time.time())
            return
        now = time.time()
        d.rescaled(made, now)
        memory.changed(autoscaler["spec"].get("behavior"), made.current, made.desired, now)
        message = f"New size: {made.desired}; reason: {made.reason}"
        self._recorder.event(autoscaler, NORMAL, "SuccessfulRescale", message)

    def _tell(self, autoscaler: Object, made: d.Decision) -> None:
        for event in made.events:
            self._recorder.event(autoscaler, WARNING, event.reason, event.message)

    async def _write(self, autoscaler: Object, status: Object) -> None:
        if status != autoscaler.get("status"):
            await self._client.update_status(AUTOSCALERS, {**autoscaler, "status": status})
