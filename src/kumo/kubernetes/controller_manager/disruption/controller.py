"""The shell of the disruption controller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from copy import deepcopy

from kumo.api import selectors
from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Key, Object, key_of, labels_of, name_of, namespace_of
from kumo.api.resources import GVR, PODS
from kumo.kubernetes.controller_manager.disruption.decision import (
    Expected,
    NotFound,
    disrupted,
    expected,
    failed_status,
    healthy,
    needs_scale,
    next_status,
)
from kumo.kubernetes.controller_manager.disruption.scales import Scales
from kumo.kubernetes.controller_manager.disruption.stale import StaleDisruptions
from kumo.kubernetes.controller_manager.disruption.words import selector_text
from kumo.kubernetes.controller_manager.monitor import ResourceMonitor
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.events import NORMAL, WARNING, EventRecorder
from kumo.machinery.informer import Informers

BUDGETS = GVR("policy", "v1", "poddisruptionbudgets")
_NAMESPACE = "disruption/namespace"


class DisruptionController:
    """Keeps the status of PodDisruptionBudgets."""

    name = "disruption-controller"

    def __init__(self, client: Client, informers: Informers, monitor: ResourceMonitor) -> None:
        self._client = client
        self._recorder = EventRecorder(client, "controllermanager")
        self._scales = Scales(client, informers, monitor)
        self._budgets = informers.informer(BUDGETS)
        self._pods = informers.informer(PODS)
        for informer in (self._budgets, self._pods):
            informer.add_index(_NAMESPACE, lambda obj: (namespace_of(obj),))
        self._stale = StaleDisruptions(client, self._pods)
        self._controller = Controller(self.name, self._reconcile)
        self._controller.watch(self._budgets)
        self._controller.watch(self._pods, self._budgets_of)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._scales.wait_synced()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._controller.run())
            group.create_task(self._stale.run())

    def _budgets_of(self, pod: Object) -> Iterable[Key]:
        found = [
            budget
            for budget in self._budgets.by_index(_NAMESPACE, namespace_of(pod))
            if selectors.matches((budget.get("spec") or {}).get("selector"), labels_of(pod))
        ]
        if len(found) > 1:
            words = f'Pod "{namespace_of(pod)}"/"{name_of(pod)}" matches multiple PodDisruptionBudgets.  '
            chosen = f'Chose "{name_of(found[0])}" arbitrarily.'
            self._recorder.event(pod, WARNING, "MultiplePodDisruptionBudgets", words + chosen)
        return [key_of(budget) for budget in found]

    async def _reconcile(self, key: Key) -> float | None:
        budget = self._budgets.get_key(key)
        if budget is None:
            return None
        spec, now = budget.get("spec") or {}, time.time()
        selector = spec.get("selector")
        inside = self._pods.by_index(_NAMESPACE, key.namespace)
        pods = [pod for pod in inside if selectors.matches(selector, labels_of(pod))]
        if not pods:
            self._recorder.event(budget, NORMAL, "NoPods", "No matching pods found")
        try:
            wanted = expected(spec, pods, await self._scales.of(pods) if needs_scale(spec) else {})
        except (NotFound, ValueError, StatusError) as error:
            words = f"Failed to calculate the number of expected pods: {error}"
            self._recorder.event(budget, WARNING, "CalculateExpectedPodCountFailed", words)
            await self._write(budget, failed_status(budget, str(error), now))
            return None
        self._tell_unmanaged(budget, wanted)
        gone = disrupted(budget, pods, now)
        for pod in gone.overdue:
            words = f"Pod was expected by PDB {key.namespace}/{key.namespace} to be deleted but it wasn't"
            self._recorder.event(pod, WARNING, "NotDeleted", words)
        status = next_status(budget, wanted, healthy(pods, gone.pods), gone.pods, now)
        if status is not None:
            await self._write(budget, status)
        return gone.recheck

    def _tell_unmanaged(self, budget: Object, wanted: Expected) -> None:
        if wanted.unmanaged:
            selector = selector_text((budget.get("spec") or {}).get("selector"))
            words = (
                f"Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a "
                "result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. "
                'To account for these pods please set ".spec.minAvailable" field of the PDB to an integer value.'
            )
            self._recorder.event(budget, WARNING, "UnmanagedPods", words)

    async def _write(self, budget: Object, status: Object) -> None:
        if status == budget.get("status"):
            return
        wanted = deepcopy(budget)
        wanted["status"] = status
        try:
            await self._client.update_status(BUDGETS, wanted)
        except StatusError as error:
            if not is_not_found(error):
                raise
