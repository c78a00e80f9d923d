"""The Summary of `GET /stats/summary` (`stats/v1alpha1`): node, pods, containers, as upstream's kubelet gives it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kumo.api.objects import name_of, namespace_of, timestamp, uid_of
from kumo.host.cgroup_usage import CgroupReader
from kumo.kubernetes.kubelet.config import KubeletConfig
from kumo.kubernetes.kubelet.spec import host_network
from kumo.kubernetes.kubelet.stats import network, process
from kumo.kubernetes.kubelet.stats.filesystems import DiskUse, file_system
from kumo.kubernetes.kubelet.stats.pod_files import PodFiles, VolumeUse
from kumo.kubernetes.kubelet.stats.rates import Rates
from kumo.kubernetes.kubelet.stats.usage import ContainerUse, NodeUse, PodUse

Json = dict[str, Any]
_DAEMONS = ("kubelet", "runtime")


@dataclass(frozen=True, slots=True)
class Writable:
    """Bytes and inodes of a container's writable layer."""

    used: int
    inodes: int


@dataclass(frozen=True, slots=True)
class ImageDisk:
    """The file system of images: where it is, bytes and inodes of the images."""

    path: str
    used: int
    inodes: int


class SummaryMaker:
    """Makes Summaries. Blocking: it reads files."""

    def __init__(
        self, config: KubeletConfig, cgroups: CgroupReader, files: PodFiles, booted: float, engine_socket: Path | str
    ) -> None:
        self._config = config
        self._engine_socket = engine_socket
        self._cgroups = cgroups
        self._files = files
        self._booted = booted
        self._rates = Rates()

    def make(
        self, use: NodeUse, layers: Mapping[str, Writable], images: ImageDisk | None, *, only_cpu_and_memory: bool
    ) -> Json:
        """The Summary; `layers` are the writable layers by container id."""
        now = timestamp(use.at)
        disk = None if only_cpu_and_memory else file_system(self._config.directory)
        pods = [self._pod(pod, use.at, layers, disk) for pod in use.pods]
        found = {"node": self._node(use, now, disk, images), "pods": pods}
        groups = {"/", self._config.cgroup_parent, *_DAEMONS}
        self._rates.keep(groups.union(*({p.group, *(c.group for c in p.containers)} for p in use.pods)))
        return found

    # -- the node -----------------------------------------------------------------------------------------------------

    def _node(self, use: NodeUse, now: str, disk: DiskUse | None, images: ImageDisk | None) -> Json:
        began = timestamp(self._booted)
        daemons = [
            self._daemon("kubelet", os.getpid(), use.at),
            self._daemon("runtime", process.listener_of(self._engine_socket), use.at),
            {"name": "pods", "startTime": began, **self._group(self._config.cgroup_parent, use.at)},
        ]
        node: Json = {
            "nodeName": self._config.node_name,
            "systemContainers": [daemon for daemon in daemons if daemon],
            "startTime": began,
            **self._group("/", use.at),
        }
        if disk is None:
            return node
        node["network"] = _network(now, network.interfaces("self"))
        node["fs"] = _disk(now, disk)
        if images is not None and (whole := file_system(images.path)) is not None:
            own = DiskUse(whole.available, whole.capacity, images.used, whole.inodes_free, whole.inodes, images.inodes)
            node["runtime"] = {"imageFs": _disk(now, own), "containerFs": _disk(now, whole)}
        node["rlimit"] = {"time": now, **_limits()}
        return node

    def _daemon(self, name: str, pid: int | None, at: float) -> Json:
        """A daemon as a system container: its process alone, for it has no control group of its own."""
        found = process.usage(pid) if pid is not None else None
        if found is None:
            return {}
        spent, memory = found
        now = timestamp(at)
        rate = self._rates.rate(name, at, spent)
        cpu = {"time": now, **({} if rate is None else {"usageNanoCores": rate}), "usageCoreNanoSeconds": spent}
        sizes = {"usageBytes": memory, "workingSetBytes": memory, "rssBytes": memory}
        return {"name": name, "startTime": timestamp(self._booted), "cpu": cpu, "memory": {"time": now, **sizes}}

    # -- pods ---------------------------------------------------------------------------------------------------------

    def _pod(self, pod: PodUse, at: float, layers: Mapping[str, Writable], disk: DiskUse | None) -> Json:
        now = timestamp(at)
        containers = [self._container(c, pod, at, layers, disk) for c in pod.containers]
        found: Json = {
            "podRef": {"name": name_of(pod.pod), "namespace": namespace_of(pod.pod), "uid": uid_of(pod.pod)},
            "startTime": (pod.pod.get("status") or {}).get("startTime"),
            "containers": containers,
            **self._group(pod.group, at),
        }
        if disk is None:
            return found
        groups = [pod.sandbox, *(c.group for c in pod.containers)]
        pids = [self._cgroups.processes(group) for group in groups if group]
        if not host_network(pod.pod):
            first = next((group[0] for group in pids if group), None)
            interfaces = network.interfaces(first) if first is not None else []
            if interfaces:
                found["network"] = _network(now, interfaces)
        volumes = list(self._files.volumes(pod.pod))
        if volumes:
            found["volume"] = [_volume(now, volume, namespace_of(pod.pod)) for volume in volumes]
        used = inodes = 0
        for part in (v.use for v in volumes if v.ephemeral):
            used, inodes = used + part.used, inodes + part.inodes_used
        for container in containers:
            for own in (container.get("rootfs") or {}, container.get("logs") or {}):
                used, inodes = used + own.get("usedBytes", 0), inodes + own.get("inodesUsed", 0)
        whole = DiskUse(disk.available, disk.capacity, used, disk.inodes_free, disk.inodes, inodes)
        found["ephemeral-storage"] = _disk(now, whole)
        found["process_stats"] = {"process_count": sum(len(group) for group in pids)}
        return found

    def _container(
        self, use: ContainerUse, pod: PodUse, at: float, layers: Mapping[str, Writable], disk: DiskUse | None
    ) -> Json:
        now = timestamp(at)
        found: Json = {
            "name": use.state.name,
            "startTime": timestamp(use.state.started_at),
            **self._group(use.group, at),
        }
        if disk is None:
            return found
        if (layer := layers.get(use.state.id)) is not None:
            own = DiskUse(disk.available, disk.capacity, layer.used, disk.inodes_free, disk.inodes, layer.inodes)
            found["rootfs"] = _disk(now, own)
        used, inodes = self._files.logs(pod.pod, use.state.name)
        logs = DiskUse(disk.available, disk.capacity, used, disk.inodes_free, disk.inodes, inodes)
        found["logs"] = _disk(now, logs)
        return found

    # -- groups -------------------------------------------------------------------------------------------------------

    def _group(self, group: str, at: float) -> Json:
        """`cpu`, `memory`, `swap` and, where the kernel tells, `io` of a group."""
        now = timestamp(at)
        found: Json = {}
        total = self._cgroups.cpu_total(group)
        if total is not None:
            rate = self._rates.rate(group, at, total)
            found["cpu"] = {
                "time": now,
                **({} if rate is None else {"usageNanoCores": rate}),
                "usageCoreNanoSeconds": total,
                **self._pressure(group, "cpu"),
            }
        memory = self._cgroups.memory(group)
        if memory is not None:
            values = {
                "availableBytes": None if memory.limit is None else max(0, memory.limit - memory.working_set),
                "usageBytes": memory.usage,
                "workingSetBytes": memory.working_set,
                "rssBytes": memory.rss,
                "pageFaults": memory.faults,
                "majorPageFaults": memory.major_faults,
            }
            told = {name: value for name, value in values.items() if value is not None}
            found["memory"] = {"time": now, **told, **self._pressure(group, "memory")}
            if memory.swap is not None:
                found["swap"] = {"time": now, "swapUsageBytes": memory.swap}
        pressure = self._pressure(group, "io")
        return {**found, "io": {"time": now, **pressure}} if pressure else found

    def _pressure(self, group: str, resource: str) -> Json:
        found = self._cgroups.pressure(group, resource)
        if not found:
            return {}
        return {
            "psi": {
                name: {"total": p.total, "avg10": p.average10, "avg60": p.average60, "avg300": p.average300}
                for name, p in found.items()
            }
        }


def _disk(now: str, use: DiskUse) -> Json:
    return {
        "time": now,
        "availableBytes": use.available,
        "capacityBytes": use.capacity,
        "usedBytes": use.used,
        "inodesFree": use.inodes_free,
        "inodes": use.inodes,
        "inodesUsed": use.inodes_used,
    }


def _volume(now: str, volume: VolumeUse, namespace: str) -> Json:
    claim = {"pvcRef": {"name": volume.claim, "namespace": namespace}} if volume.claim else {}
    return {**_disk(now, volume.use), "name": volume.name, **claim}


def _network(now: str, found: Iterable[network.InterfaceUse]) -> Json:
    interfaces = list(found)
    default = network.default_of(interfaces)
    return {
        "time": now,
        **(_interface(default) if default is not None else {"name": ""}),
        "interfaces": [_interface(i) for i in interfaces],
    }


def _interface(use: network.InterfaceUse) -> Json:
    return {
        "name": use.name,
        "rxBytes": use.rx_bytes,
        "rxErrors": use.rx_errors,
        "txBytes": use.tx_bytes,
        "txErrors": use.tx_errors,
    }


def _limits() -> Json:
    """How many threads the machine may have and has."""
    try:
        with open("/proc/sys/kernel/pid_max") as file:
            most = int(file.read())
        with open("/proc/loadavg") as file:
            running = int(file.read().split()[3].partition("/")[2])
    except (OSError, ValueError, IndexError):
        return {}
    return {"maxpid": most, "curproc": running}
