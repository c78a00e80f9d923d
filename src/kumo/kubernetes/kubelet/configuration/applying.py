"""What the kubelet does by a KubeletConfiguration: its `KubeletConfig`, and the fields that have no effect here.

`HONOURED` is the list of those that have. A value that says what is so anyway is no reason for a warning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kumo.api import quantities
from kumo.api.durations import go_duration
from kumo.kubernetes.kubelet.config import KubeletConfig
from kumo.kubernetes.kubelet.configuration.fields import FIELDS
from kumo.kubernetes.kubelet.configuration.reading import ConfigurationError, Document, completed
from kumo.kubernetes.kubelet.configuration.validation import faults
from kumo.kubernetes.kubelet.eviction.parsing import hard_thresholds, thresholds
from kumo.kubernetes.kubelet.placement import cpuset
from kumo.kubernetes.kubelet.placement.options import (
    PlacementSettings,
    check_policies,
    cpu_options,
    topology_options,
)
from kumo.kubernetes.kubelet.pulls.puller import PullLimits
from kumo.kubernetes.kubelet.shutdown.periods import by_priority
from kumo.kubernetes.kubelet.sysctls import Allowlist
from kumo.kubernetes.kubelet.unified import LIMITED_SWAP, MemoryPolicy

_CPUS, _MEMORY, _DISK, _PIDS = "cpu", "memory", "ephemeral-storage", "pid"
_SWAPS = Path("/proc/swaps")
_FOLLOWED = """
    allowedUnsafeSysctls clusterDNS clusterDomain containerLogMaxFiles containerLogMaxSize containerLogMonitorInterval
    cpuManagerPolicy cpuManagerPolicyOptions cpuManagerReconcilePeriod crashLoopBackOff enforceNodeAllocatable
    evictionHard evictionMaxPodGracePeriod evictionMinimumReclaim evictionPressureTransitionPeriod evictionSoft
    evictionSoftGracePeriod failCgroupV1 failSwapOn fileCheckFrequency imageGCHighThresholdPercent
    imageGCLowThresholdPercent imageMaximumGCAge imageMinimumGCAge imagePullCredentialsVerificationPolicy kubeReserved
    maxParallelImagePulls maxPods memoryManagerPolicy memorySwap mergeDefaultEvictionSettings
    nodeLeaseDurationSeconds nodeStatusMaxImages nodeStatusReportFrequency nodeStatusUpdateFrequency podPidsLimit
    podsPerCore preloadedImagesVerificationAllowlist providerID registerNode registerWithTaints registryBurst
    registryPullQPS reservedMemory reservedSystemCPUs resolvConf seccompDefault serializeImagePulls shutdownGracePeriod
    shutdownGracePeriodByPodPriority shutdownGracePeriodCriticalPods singleProcessOOMKill staticPodPath syncFrequency
    systemReserved topologyManagerPolicy topologyManagerPolicyOptions topologyManagerScope volumeStatsAggPeriod
    """
HONOURED = frozenset(_FOLLOWED.split())
"""The fields that are followed. `nodeStatusUpdateFrequency`: what changes is told at once."""


def checked(given: Document) -> dict[str, Any]:
    """The whole document, with its defaults. Raises ConfigurationError for what no kubelet would start with."""
    document = completed(given)
    found = faults(document)
    if found:
        said = found[0] if len(found) == 1 else f"[{', '.join(dict.fromkeys(found))}]"
        raise ConfigurationError(f"failed to validate kubelet configuration, error: {said}")
    merge = document["mergeDefaultEvictionSettings"]
    document["evictionHard"] = hard_thresholds(given.get("evictionHard"), merge=merge)
    try:
        thresholds(*(document[name] for name in _EVICTION))
        for name, option in (("kubeReserved", "kube-reserved"), ("systemReserved", "system-reserved")):
            _check_reserved(document[name], option)
        placement_of(document)
        Allowlist(document["allowedUnsafeSysctls"])
        quantities.parse(document["containerLogMaxSize"])
        for address in document["clusterDNS"]:
            _check_address(address)
        _check_paths(document)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    return document


def ignored(given: Document) -> list[str]:
    """The fields that are given, differ from what the kubelet does, and have no effect."""
    default = completed({})
    document = completed(given)
    names = [n for n in given if n not in HONOURED and n not in ("apiVersion", "kind") and document[n] != default[n]]
    partly = set(document["enforceNodeAllocatable"]) - {"pods", "none"}
    return sorted([*names, *(["enforceNodeAllocatable"] if partly else [])])


def applied(config: KubeletConfig, given: Document) -> KubeletConfig:
    """The kubelet's settings by the document; what it says nothing of stays as `config` has it.

    Raises ConfigurationError.
    """
    document = checked(given)
    seconds = {name: go_duration(document[name]) for name, field in FIELDS.items() if field.kind == "duration"}
    longest = go_duration(document["crashLoopBackOff"]["maxContainerRestartPeriod"])
    wanted: dict[str, Any] = {
        "max_pods": document["maxPods"],
        "pods_per_core": document["podsPerCore"],
        "pod_pids_limit": document["podPidsLimit"],
        "reserved": reserved(document),
        "enforce_allocatable": "pods" in document["enforceNodeAllocatable"],
        "status_seconds": seconds["nodeStatusReportFrequency"],
        "resync_seconds": seconds["syncFrequency"],
        "sizes_seconds": seconds["volumeStatsAggPeriod"],
        "manifests_seconds": seconds["fileCheckFrequency"],
        "log_max_bytes": quantities.whole(document["containerLogMaxSize"]),
        "log_max_files": document["containerLogMaxFiles"],
        "log_check_seconds": seconds["containerLogMonitorInterval"],
        "crash_backoff_base": min(config.crash_backoff_base, longest),
        "crash_backoff_ceiling": longest,
        "eviction_hard": document["evictionHard"],
        "eviction_soft": document["evictionSoft"],
        "eviction_soft_grace": document["evictionSoftGracePeriod"],
        "eviction_minimum_reclaim": document["evictionMinimumReclaim"],
        "eviction_most_grace": float(document["evictionMaxPodGracePeriod"]),
        "pressure_seconds": seconds["evictionPressureTransitionPeriod"],
        "image_high_percent": document["imageGCHighThresholdPercent"],
        "image_low_percent": document["imageGCLowThresholdPercent"],
        "image_minimum_age": seconds["imageMinimumGCAge"],
        "image_maximum_age": seconds["imageMaximumGCAge"],
        "max_images": document["nodeStatusMaxImages"],
        "allowed_sysctls": tuple(document["allowedUnsafeSysctls"]),
        "seccomp_default": document["seccompDefault"],
        "memory_policy": MemoryPolicy(
            single_kill=bool(document["singleProcessOOMKill"]),
            limited_swap=document["memorySwap"]["swapBehavior"] == LIMITED_SWAP,
        ),
        "register": document["registerNode"],
        "taints": tuple(document["registerWithTaints"]),
        "provider_id": document["providerID"],
        "shutdown": by_priority(
            seconds["shutdownGracePeriod"],
            seconds["shutdownGracePeriodCriticalPods"],
            document["shutdownGracePeriodByPodPriority"],
        ),
        "pull_limits": PullLimits(
            serialize=document["serializeImagePulls"],
            parallel=document["maxParallelImagePulls"] or 0,
            per_second=document["registryPullQPS"],
            burst=document["registryBurst"],
        ),
        "pull_verification": document["imagePullCredentialsVerificationPolicy"],
        "pull_allowlist": tuple(document["preloadedImagesVerificationAllowlist"]),
        "placement": placement_of(document),
        "document": document,
    }
    if "nodeLeaseDurationSeconds" in given:
        wanted["lease_seconds"] = document["nodeLeaseDurationSeconds"] / 4
    if document["clusterDNS"]:
        wanted["cluster_dns"] = tuple(document["clusterDNS"])
    if document["clusterDomain"]:
        wanted["cluster_domain"] = document["clusterDomain"]
    if "resolvConf" in given:
        # An empty one means: nothing of the node's (a file that can't be read is taken for that).
        wanted["resolv_conf"] = Path(document["resolvConf"] or "/dev/null")
    if document["staticPodPath"]:
        wanted["manifests"] = Path(document["staticPodPath"])
    return replace(config, **wanted)


def reserved(document: Document) -> dict[str, str]:
    """What the system and the node's daemons keep, by resource; processors that are named count in any case."""
    parts = [dict(document["systemReserved"]), dict(document["kubeReserved"])]
    named = cpuset.parse(document["reservedSystemCPUs"])
    if named:
        for part in parts:
            part.pop(_CPUS, None)
        parts[0][_CPUS] = str(len(named))
    names = dict.fromkeys(name for part in parts for name in part)
    totals = {name: sum(quantities.parse(p.get(name, 0)) for p in parts) for name in names}
    return {name: quantities.to_text(total) for name, total in totals.items()}


def placement_of(document: Document) -> PlacementSettings:
    """The settings of the CPU, Memory and Topology Manager. Raises ValueError in their words."""
    kept = reserved(document)
    hard = document["evictionHard"].get("memory.available", "0")
    back = quantities.whole(kept.get(_MEMORY, "0")) + (0 if hard.endswith("%") else quantities.whole(hard))
    settings = PlacementSettings(
        cpu_policy=document["cpuManagerPolicy"],
        cpu_options=document["cpuManagerPolicyOptions"],
        reserved_cpus=cpuset.parse(document["reservedSystemCPUs"]),
        reserved_milli=quantities.milli(kept.get(_CPUS, "0")),
        reconcile_seconds=go_duration(document["cpuManagerReconcilePeriod"]),
        memory_policy=document["memoryManagerPolicy"],
        reserved_memory={
            int(entry.get("numaNode") or 0): {
                name: quantities.whole(value) for name, value in (entry.get("limits") or {}).items()
            }
            for entry in document["reservedMemory"]
        },
        kept_back={_MEMORY: back},
        topology_policy=document["topologyManagerPolicy"],
        topology_scope=document["topologyManagerScope"],
        topology_options=document["topologyManagerPolicyOptions"],
    )
    check_policies(settings)
    cpu_options(settings.cpu_options)
    topology_options(settings.topology_options)
    return settings


def check_machine(document: Document, *, unified: bool, swaps: Path = _SWAPS) -> None:
    """Refuse a machine that the document does not want. Raises ConfigurationError. Blocking."""
    if document["failCgroupV1"] and not unified:
        raise ConfigurationError(
            "kubelet is configured to not run on a host using cgroup v1. cgroup v1 support is unsupported and will be "
            "removed in a future release"
        )
    if not unified and document["singleProcessOOMKill"] is False:
        raise ConfigurationError(
            "failed to validate kubelet configuration, error: invalid configuration: "
            "singleProcessOOMKill must not be explicitly set to false when using cgroup v1"
        )
    try:
        lines = swaps.read_text().strip().splitlines() if document["failSwapOn"] else []
    except OSError:
        return
    if len(lines) > 1:
        listed = " ".join(lines)
        raise ConfigurationError(
            "running with swap on is not supported, please disable swap or set --fail-swap-on flag to false. "
            f"/proc/swaps contained: [{listed}]"
        )


_EVICTION = "evictionHard", "evictionSoft", "evictionSoftGracePeriod", "evictionMinimumReclaim"


def _check_reserved(given: Mapping[str, str], option: str) -> None:
    for name, value in given.items():
        wrong = ""
        if name not in (_CPUS, _MEMORY, _DISK, _PIDS):
            wrong = f'cannot reserve "{name}" resource'
        else:
            try:
                if quantities.parse(value) < 0:
                    wrong = f'resource quantity for "{name}" cannot be negative: {value}'
            except ValueError as error:
                wrong = f'failed to parse quantity "{value}" for "{name}" resource: {error}'
        if wrong:
            raise ValueError(f"--{option} value failed to parse: {wrong}")


def _check_address(text: str) -> None:
    import ipaddress

    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f'clusterDNS: "{text}" is no address') from None


def _check_paths(document: Document) -> None:
    for name in ("staticPodPath", "resolvConf"):
        if document[name] and not document[name].startswith("/"):
            raise ValueError(f"{name}: {document[name]} is no absolute path")
    if document["staticPodPath"] and Path(document["staticPodPath"]).is_file():
        raise ValueError(f"staticPodPath: {document['staticPodPath']} is a file: only directories are followed")
