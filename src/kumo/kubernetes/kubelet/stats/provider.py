"""All statistics of a node behind one value, each read when it is asked for, in a thread beside the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from kumo.host.cgroup_usage import CgroupReader
from kumo.host.containerd.engine import Containerd
from kumo.host.containerd.rpc import EngineError
from kumo.kubernetes.kubelet.config import KubeletConfig
from kumo.kubernetes.kubelet.machine import Machine
from kumo.kubernetes.kubelet.stats import own_metrics, process
from kumo.kubernetes.kubelet.stats.cadvisor import cadvisor_metrics
from kumo.kubernetes.kubelet.stats.meter import Meter
from kumo.kubernetes.kubelet.stats.pod_files import PodFiles
from kumo.kubernetes.kubelet.stats.probe_metrics import ProbeCounts
from kumo.kubernetes.kubelet.stats.resource_metrics import resource_metrics
from kumo.kubernetes.kubelet.stats.summary import ImageDisk, SummaryMaker, Writable
from kumo.kubernetes.kubelet.stats.usage import NodeUse, PodView, UsageReader


class Figures(Protocol):
    """What the kubelet's parts have counted."""

    @property
    def probes(self) -> ProbeCounts:
        """Probes."""
        ...

    @property
    def meter(self) -> Meter:
        """All the rest."""
        ...


class NodeStatistics:
    """Answers what the node, its pods and containers use. `pods` are the pods' workers."""

    def __init__(
        self,
        config: KubeletConfig,
        engine: Containerd,
        machine: Machine,
        figures: Figures,
        pods: Callable[[], Iterable[PodView]],
    ) -> None:
        self._config = config
        self._engine = engine
        self._machine = machine
        self._cgroups = CgroupReader()
        self._usage = UsageReader(self._cgroups, config.cgroup_parent, pods)
        self._pods = pods
        self._files = PodFiles(config)
        self._maker = SummaryMaker(config, self._cgroups, self._files, process.booted(), engine.socket)
        self._one = asyncio.Lock()
        self.requests = own_metrics.RequestCounts()
        self._probes = figures.probes
        self._meter = figures.meter

    async def summary(self, *, only_cpu_and_memory: bool = False) -> dict[str, Any]:
        """The Summary of `/stats/summary`. Without containerd it has no layers and no images."""
        layers: dict[str, Writable] = {}
        images = None
        if not only_cpu_and_memory:
            layers, images = await asyncio.gather(self._layers(), self._images())
        pods = self._usage.listed()

        def make() -> dict[str, Any]:
            return self._maker.make(self._usage.read(pods), layers, images, only_cpu_and_memory=only_cpu_and_memory)

        async with self._one:
            return await asyncio.to_thread(make)

    async def resource_metrics(self) -> str:
        """The page `/metrics/resource`."""
        pods = self._usage.listed()
        return await asyncio.to_thread(lambda: resource_metrics(self._usage.read(pods)))

    async def cadvisor_metrics(self) -> str:
        """The page `/metrics/cadvisor`."""
        pods = self._usage.listed()

        def make() -> str:
            use: NodeUse = self._usage.read(pods)
            return cadvisor_metrics(use, self._cgroups, self._machine)

        return await asyncio.to_thread(make)

    async def probe_metrics(self) -> str:
        """The page `/metrics/probes`."""
        known = {view.pod["metadata"].get("uid") for view in self._pods()}
        self._probes.forget(lambda uid: uid in known)
        return self._probes.text(await asyncio.to_thread(process.started))

    async def own_metrics(self) -> str:
        """The page `/metrics`."""
        pods = [(view.pod, view.state) for view in self._pods()]
        own_metrics.fill(self._meter, [pod for pod, _ in pods])
        lines = [
            *own_metrics.pod_lines(self._config.node_name, pods),
            *self._meter.lines(),
            *self.requests.lines(),
            *own_metrics.build_lines(),
        ]

        def rest() -> list[str]:
            return [*own_metrics.volume_lines((pod for pod, _ in pods), self._files), *process.process_lines()]

        return "\n".join([*lines, *await asyncio.to_thread(rest)]) + "\n"

    async def _layers(self) -> dict[str, Writable]:
        try:
            found = await self._engine.runtime.stats()
        except EngineError:
            return {}
        return {
            s.attributes.id: Writable(s.writable_layer.used_bytes.value, s.writable_layer.inodes_used.value)
            for s in found
            if s.HasField("writable_layer")
        }

    async def _images(self) -> ImageDisk | None:
        try:
            found = await self._engine.image_service.usage()
        except EngineError:
            return None
        for use in found:
            return ImageDisk(use.fs_id.mountpoint, use.used_bytes.value, use.inodes_used.value)
        return None
