"""`GET /stats/summary`: what the node, its pods and their containers use. Upstream: `stats/v1alpha1` Summary."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from kumo.api.objects import Object, name_of, namespace_of, timestamp, uid_of
from kumo.host.cgroups import Cgroups
from kumo.host.containerd.stubs import cri_pb2 as cri
from kumo.kubernetes.kubelet import labels
from kumo.kubernetes.kubelet.config import KubeletConfig
from kumo.kubernetes.kubelet.sandbox import pod_cgroup


async def summary(
    config: KubeletConfig, cgroups: Cgroups, pods: Sequence[Object], containers: Sequence[cri.ContainerStats]
) -> dict[str, Any]:
    """The Summary of these pods and of the node, from control groups and containerd."""
    now = timestamp(time.time())
    by_pod: dict[str, list[dict[str, Any]]] = {}
    for stats in containers:
        by_pod.setdefault(stats.attributes.labels.get(labels.POD_UID, ""), []).append(_container(stats, now))
    paths = [pod_cgroup(config.cgroup_parent, uid_of(p)) for p in pods]
    usages = await asyncio.to_thread(lambda: [cgroups.usage(p) for p in paths])
    whole = await asyncio.to_thread(cgroups.usage, config.cgroup_parent)
    return {
        "node": {"nodeName": config.node_name, "cpu": _cpu(whole, now), "memory": _memory(whole, now)},
        "pods": [
            {
                "podRef": {"name": name_of(p), "namespace": namespace_of(p), "uid": uid_of(p)},
                "startTime": (p.get("status") or {}).get("startTime"),
                "containers": by_pod.get(uid_of(p), []),
                "cpu": _cpu(usage, now),
                "memory": _memory(usage, now),
                "process_stats": {"process_count": usage.get("pids", 0)},
            }
            for p, usage in zip(pods, usages)
        ],
    }


def _cpu(usage: Any, now: str) -> dict[str, Any]:
    return {"time": now, "usageCoreNanoSeconds": usage.get("cpu", 0)}


def _memory(usage: Any, now: str) -> dict[str, Any]:
    return {"time": now, "usageBytes": usage.get("memory", 0), "workingSetBytes": usage.get("working_set", 0)}


def _container(stats: cri.ContainerStats, now: str) -> dict[str, Any]:
    return {
        "name": stats.attributes.metadata.name,
        "startTime": now,
        "cpu": {"time": now, "usageCoreNanoSeconds": stats.cpu.usage_core_nano_seconds.value},
        "memory": {
            "time": now,
            "usageBytes": stats.memory.usage_bytes.value or stats.memory.working_set_bytes.value,
            "workingSetBytes": stats.memory.working_set_bytes.value,
        },
        "rootfs": {"time": now, "usedBytes": stats.writable_layer.used_bytes.value},
    }
