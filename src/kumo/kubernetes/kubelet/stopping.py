"""Stopping containers: the preStop hook, the stop signal, SIGKILL; a pod's sidecars after those whom they serve.

Upstream: `killContainer` and `terminationOrdering` in `pkg/kubelet/kuberuntime`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence

from kumo.api.objects import Object
from kumo.api.pod_resources import is_sidecar
from kumo.host.containerd.cri import RuntimeService
from kumo.host.containerd.rpc import EngineError
from kumo.kubernetes.kubelet.events import NORMAL, WARNING, PodEvents
from kumo.kubernetes.kubelet.hooks import HookFailed, run_hook
from kumo.kubernetes.kubelet.podstate import ContainerState
from kumo.kubernetes.kubelet.spec import Container, containers, field_path, find_container, init_containers

MINIMUM_GRACE = 2
"""Seconds that a container has at least, even when killed at once (upstream's)."""


class Ordering:
    """Who waits for whom: a sidecar for all regular containers and for the sidecars after it."""

    def __init__(self, pod: Object, running: Sequence[str]) -> None:
        self._ended = {name: asyncio.Event() for name in running}
        regular = [c["name"] for c in containers(pod)]
        sidecars = [c["name"] for c in init_containers(pod) if is_sidecar(c)]
        self._before = {name: regular + sidecars[index + 1 :] for index, name in enumerate(sidecars)}

    async def turn(self, name: str, patience: float) -> None:
        """Wait until those before it have ended, at most `patience` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                for other in self._before.get(name, ()):
                    if other in self._ended:
                        await self._ended[other].wait()

    def ended(self, name: str) -> None:
        """A container has ended."""
        if name in self._ended:
            self._ended[name].set()


class Stopper:
    """Stops containers of pods."""

    def __init__(self, runtime: RuntimeService, events: PodEvents) -> None:
        self._runtime = runtime
        self._events = events

    async def stop(
        self,
        pod: Object,
        found: ContainerState,
        grace: float,
        message: str = "",
        ips: Sequence[str] = (),
        ordering: Ordering | None = None,
    ) -> None:
        """Stop a running container within `grace` seconds in all; never raises EngineError."""
        container = find_container(pod, found.name)
        path = field_path(pod, container) if container else ""
        self._events.record(pod, NORMAL, "Killing", message or f"Stopping container {found.name}", path)
        end = time.monotonic() + grace
        handler = ((container or {}).get("lifecycle") or {}).get("preStop")
        if handler and container and grace > 0:
            await self._pre_stop(pod, container, found, grace, ips)
        if ordering is not None:
            await ordering.turn(found.name, max(0.0, end - time.monotonic()))
        left = max(MINIMUM_GRACE, round(end - time.monotonic()))
        with contextlib.suppress(EngineError):
            await self._runtime.stop_container(found.id, left)
        if ordering is not None:
            ordering.ended(found.name)

    async def stop_all(self, pod: Object, running: Sequence[ContainerState], grace: float, ips: Sequence[str]) -> None:
        """Stop all these containers of a pod at once, sidecars in their order."""
        ordering = Ordering(pod, [c.name for c in running])
        await asyncio.gather(*(self.stop(pod, c, grace, ips=ips, ordering=ordering) for c in running))

    async def _pre_stop(
        self, pod: Object, container: Container, found: ContainerState, grace: float, ips: Sequence[str]
    ) -> None:
        handler = container["lifecycle"]["preStop"]
        hook = asyncio.create_task(run_hook(self._runtime, handler, found.id, pod, container, ips))
        try:
            done, _ = await asyncio.wait([hook], timeout=grace)
            if done:
                try:
                    hook.result()
                except HookFailed:
                    # What went wrong stays out of the event: secrets might be in it.
                    path = field_path(pod, container)
                    self._events.record(pod, WARNING, "FailedPreStopHook", "PreStopHook failed", path)
        finally:
            hook.cancel()
