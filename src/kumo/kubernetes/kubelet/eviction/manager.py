"""Looks at the machine every ten seconds, and when memory is waited for; says what it is short of, ends pods for it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from kumo.api.objects import Object, name_of, namespace_of
from kumo.api.tolerations import tolerated
from kumo.host.cgroup_usage import CgroupReader
from kumo.host.containerd.rpc import EngineError
from kumo.host.memory_stalls import MemoryStalls
from kumo.kubernetes.kubelet.admission import Refusal
from kumo.kubernetes.kubelet.eviction.ranking import (
    REASON,
    Usage,
    has_limits,
    limit_message,
    limit_signal,
    node_message,
    ranked,
)
from kumo.kubernetes.kubelet.eviction.thresholds import (
    CONDITIONS,
    DISK_PRESSURE,
    RESOURCES,
    Observation,
    Pressure,
    Threshold,
    advance,
    met,
    refused,
)
from kumo.kubernetes.kubelet.resources import qos_class
from kumo.kubernetes.kubelet.spec import grace_period, is_critical

_log = structlog.get_logger("kumo.kubelet")
_TAINT = {"key": "node.kubernetes.io/memory-pressure", "effect": "NoSchedule"}
_AT_ONCE = 1.0
"""Seconds, as upstream: whoever is evicted for a hard threshold gets no more."""
Summary = Mapping[str, Any]


class Evictable(Protocol):
    """What the manager needs of a pod's worker."""

    @property
    def pod(self) -> Object:
        """The pod object."""
        ...

    @property
    def is_evicted(self) -> bool:
        """Whether it is just being ended by `evict`."""
        ...

    @property
    def runs(self) -> bool:
        """Whether something of it runs, and nobody has told it to end."""
        ...

    def evict(self, reason: str, message: str, *, for_node: bool, grace: float = 1.0) -> None:
        """End the pod within `grace` seconds, as Failed."""
        ...


@dataclass(frozen=True, slots=True)
class EvictionSettings:
    """What counts as pressure. `thresholds`: hard and soft ones.

    Seconds: `interval` between two looks, `transition` for which a condition outlasts its cause, `most_grace` that a
    pod has at most when it goes for a soft threshold.
    """

    thresholds: tuple[Threshold, ...]
    interval: float = 10.0
    transition: float = 300.0
    most_grace: float = 0.0


class EvictionManager:
    """Pressure on the node, as its conditions, admission and evictions.

    `observe` reads the signals (it may block), `pods` are the pods' workers, `summary` the node's statistics, `reclaim`
    frees disk without ending pods (images), `changed` hears that other conditions hold, `warn` records an event about
    the Node (reason, message).
    """

    def __init__(
        self,
        settings: EvictionSettings,
        observe: Callable[[CgroupReader], Mapping[str, Observation]],
        pods: Callable[[], Iterable[Evictable]],
        summary: Callable[[], Awaitable[Summary]],
        reclaim: Callable[[], Awaitable[int]],
        changed: Callable[[], None],
        warn: Callable[[str, str], None],
    ) -> None:
        self._settings = settings
        self._observe = observe
        self._pods = pods
        self._summary = summary
        self._reclaim = reclaim
        self._changed = changed
        self._warn = warn
        self._cgroups = CgroupReader()
        self._pressure = Pressure()
        self._looking = asyncio.Event()
        self.counted: Callable[[str], None] = lambda signal: None
        """Hears of every eviction, by upstream's name of its cause."""

    @property
    def conditions(self) -> frozenset[str]:
        """The Node's pressure conditions that hold."""
        return frozenset(self._pressure.held)

    def look(self) -> None:
        """Look now: somebody has noticed that memory gets short."""
        self._looking.set()

    def refusal(self, pod: Object) -> Refusal | None:
        """Why a new pod is not taken now, if it is not."""
        stands = tolerated([_TAINT], pod["spec"].get("tolerations") or ())
        best_effort = qos_class(pod) == "BestEffort"
        if not refused(self.conditions, critical=is_critical(pod), best_effort=best_effort, tolerates_memory=stands):
            return None
        return Refusal(REASON, f"The node had condition: [{' '.join(sorted(self.conditions))}]. ")

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self._looking.clear()
            try:
                await self._look()
            except (OSError, EngineError) as error:
                _log.warning("can't tell how much the machine has left", error=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.interval):
                    await self._looking.wait()

    async def follow(self) -> None:
        """Look sooner whenever the kernel tells that processes wait for memory, until cancelled."""
        with MemoryStalls() as stalls:
            while True:
                await stalls.wait()
                self.look()

    async def _look(self) -> None:
        settings = self._settings
        seen = await asyncio.to_thread(self._observe, self._cgroups)
        before = self.conditions
        self._pressure = advance(settings.thresholds, seen, self._pressure, time.monotonic(), settings.transition)
        if self.conditions != before:
            self._changed()
        due = self._pressure.due
        running = [w for w in self._pods() if w.runs]
        if not due and not any(has_limits(w.pod) for w in running):
            return
        workers = {str(w.pod["metadata"]["uid"]): w for w in running}
        usages = usages_of(await self._summary(), {uid: w.pod for uid, w in workers.items()})
        if self._end_for_limits(workers, usages):
            return
        # What an evicted pod frees is to be seen before another has to go.
        if due and not any(w.is_evicted for w in self._pods()):
            await self._relieve(due[0], seen, workers, usages)

    async def _relieve(
        self,
        threshold: Threshold,
        seen: Mapping[str, Observation],
        workers: Mapping[str, Evictable],
        usages: Mapping[str, PodUsage],
    ) -> None:
        """Win back what the threshold is about: what nobody uses first, then one pod a look."""
        self._warn("EvictionThresholdMet", f"Attempting to reclaim {RESOURCES[threshold.signal]}")
        if CONDITIONS[threshold.signal] == DISK_PRESSURE and await self._reclaim():
            seen = await asyncio.to_thread(self._observe, self._cgroups)
            if not met(self._settings.thresholds, seen, with_reclaim=True):
                return
        if threshold.signal in seen:
            self._end_for_node(threshold, seen[threshold.signal], workers, usages)

    def _end_for_limits(self, workers: Mapping[str, Evictable], usages: Mapping[str, PodUsage]) -> bool:
        ended = False
        for uid, worker in workers.items():
            usage = usages.get(uid)
            if usage is None or is_critical(worker.pod):
                continue
            message = limit_message(worker.pod, usage.empty_dirs, usage.whole.container_disk, usage.whole.disk)
            if message is not None:
                self._evict(worker, message, limit_signal(message), for_node=False)
                ended = True
        return ended

    def _end_for_node(
        self,
        threshold: Threshold,
        seen: Observation,
        workers: Mapping[str, Evictable],
        usages: Mapping[str, PodUsage],
    ) -> None:
        """One pod a look."""
        order = ranked(threshold.signal, (u.whole for u in usages.values()))
        if not order:
            _log.warning("nothing can be evicted", signal=threshold.signal, available=seen.available)
            return
        first = order[0]
        worker = workers[str(first.pod["metadata"]["uid"])]
        grace = _AT_ONCE
        if threshold.soft:
            grace = min(self._settings.most_grace, float(grace_period(first.pod)))
        self._evict(worker, node_message(threshold, seen, first), threshold.signal, for_node=True, grace=grace)

    def _evict(self, worker: Evictable, message: str, signal: str, *, for_node: bool, grace: float = _AT_ONCE) -> None:
        pod = worker.pod
        _log.warning("evicting a pod", pod=f"{namespace_of(pod)}/{name_of(pod)}", why=message)
        self.counted(signal)
        worker.evict(REASON, message, for_node=for_node, grace=grace)


class PodUsage:
    """A pod's use, and that of each of its emptyDir volumes (bytes)."""

    def __init__(self, whole: Usage, empty_dirs: Mapping[str, int]) -> None:
        self.whole = whole
        self.empty_dirs = empty_dirs


def usages_of(summary: Summary, pods: Mapping[str, Object]) -> dict[str, PodUsage]:
    """What the Summary says of these pods, by uid. Pure."""
    found = {}
    for entry in summary.get("pods") or ():
        pod = pods.get(entry["podRef"]["uid"])
        if pod is None:
            continue
        memory, disk = {}, {}
        inodes = 0
        for container in entry.get("containers") or ():
            memory[container["name"]] = int((container.get("memory") or {}).get("workingSetBytes") or 0)
            parts = [container.get(part) or {} for part in ("rootfs", "logs")]
            disk[container["name"]] = sum(int(p.get("usedBytes") or 0) for p in parts)
            inodes += sum(int(p.get("inodesUsed") or 0) for p in parts)
        volumes = {v["name"]: v for v in entry.get("volume") or ()}
        own = {v["name"] for v in pod["spec"].get("volumes") or () if "emptyDir" in v}
        empty = {name: int(v.get("usedBytes") or 0) for name, v in volumes.items() if name in own}
        ephemeral = entry.get("ephemeral-storage") or {}
        whole = Usage(
            pod,
            memory=int((entry.get("memory") or {}).get("workingSetBytes") or 0),
            disk=int(ephemeral.get("usedBytes") or sum(disk.values()) + sum(empty.values())),
            inodes=int(ephemeral.get("inodesUsed") or inodes),
            processes=int((entry.get("process_stats") or {}).get("process_count") or 0),
            container_memory=memory,
            container_disk=disk,
        )
        found[entry["podRef"]["uid"]] = PodUsage(whole, empty)
    return found
