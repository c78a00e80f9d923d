"""What upstream refuses of a KubeletConfiguration with its defaults, in its words. Pure.

Source: `pkg/kubelet/apis/config/validation` of 1.36.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kumo.api.durations import go_duration, go_text
from kumo.api.names import check_label_value, check_qualified_name
from kumo.api.quantities import parse as parse_quantity
from kumo.kubernetes.kubelet.placement import cpuset

Document = Mapping[str, Any]
_INVALID = "invalid configuration: "
_PODS, _NONE = "pods", "none"
_SYSTEM, _SYSTEM_CPU = "system-reserved", "system-reserved-compressible"
_KUBE, _KUBE_CPU = "kube-reserved", "kube-reserved-compressible"
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_TOPOLOGY = ("none", "best-effort", "restricted", "single-numa-node")
_HAIRPIN = ("none", "hairpin-veth", "promiscuous-bridge")
_IDS = 65536


def faults(document: Document) -> list[str]:
    """Everything that is wrong with the document, in upstream's order."""
    checks: tuple[Callable[[Document], Iterator[str]], ...] = (
        _limits,
        _images,
        _numbers,
        _pulls,
        _taints,
        _topology,
        _shutdown,
        _reservations,
        _networking,
        _cpus,
        _memory,
        _logs,
    )
    return [fault for check in checks for fault in check(document)]


def _seconds(document: Document, name: str) -> float:
    return go_duration(document[name])


def _range(document: Document, name: str, flag: str, low: int, high: int) -> Iterator[str]:
    value = document[name]
    if not low <= value <= high:
        yield f"{_INVALID}{name} (--{flag}) {value} must be between {low} and {high}, inclusive"


def _not_negative(document: Document, *names: tuple[str, str]) -> Iterator[str]:
    for name, flag in names:
        if document[name] < 0:
            yield f"{_INVALID}{name} (--{flag}) {document[name]} must not be a negative number"


def _limits(document: Document) -> Iterator[str]:
    if document["nodeLeaseDurationSeconds"] <= 0:
        yield f"{_INVALID}nodeLeaseDurationSeconds must be greater than 0"
    if document["systemCgroups"] and not document["cgroupRoot"]:
        text = "systemCgroups (--system-cgroups) was specified and cgroupRoot (--cgroup-root) was not specified"
        yield f"{_INVALID}{text}"
    yield from _not_negative(document, ("eventBurst", "event-burst"), ("eventRecordQPS", "event-qps"))
    if document["healthzPort"] != 0:
        yield from _range(document, "healthzPort", "healthz-port", 1, 65535)
    period = document["cpuCFSQuotaPeriod"]
    if not 0.001 <= go_duration(period) <= 1:
        text = f"cpuCFSQuotaPeriod (--cpu-cfs-quota-period) {{{period}}} must be between 1ms and 1sec, inclusive"
        yield f"{_INVALID}{text}"


def _images(document: Document) -> Iterator[str]:
    high, low = document["imageGCHighThresholdPercent"], document["imageGCLowThresholdPercent"]
    yield from _range(document, "imageGCHighThresholdPercent", "image-gc-high-threshold", 0, 100)
    yield from _range(document, "imageGCLowThresholdPercent", "image-gc-low-threshold", 0, 100)
    if low >= high:
        yield (
            f"{_INVALID}imageGCLowThresholdPercent (--image-gc-low-threshold) {low} must be less than "
            f"imageGCHighThresholdPercent (--image-gc-high-threshold) {high}"
        )
    least, most = _seconds(document, "imageMinimumGCAge"), _seconds(document, "imageMaximumGCAge")
    for name, value in (("imageMinimumGCAge", least), ("imageMaximumGCAge", most)):
        if value < 0:
            yield f"{_INVALID}{name} {go_text(value)} must not be negative"
    if 0 < most <= least:
        text = f"imageMaximumGCAge {go_text(most)} must be greater than imageMinimumGCAge {go_text(least)}"
        yield f"{_INVALID}{text}"


def _numbers(document: Document) -> Iterator[str]:
    yield from _range(document, "iptablesDropBit", "iptables-drop-bit", 0, 31)
    yield from _range(document, "iptablesMasqueradeBit", "iptables-masquerade-bit", 0, 31)
    yield from _not_negative(document, ("kubeAPIBurst", "kube-api-burst"), ("kubeAPIQPS", "kube-api-qps"))
    images = document["nodeStatusMaxImages"]
    if images < -1:
        yield f"{_INVALID}nodeStatusMaxImages (--node-status-max-images) {images} must be -1 or greater"
    yield from _not_negative(document, ("maxOpenFiles", "max-open-files"), ("maxPods", "max-pods"))
    yield from _range(document, "oomScoreAdj", "oom-score-adj", -1000, 1000)
    yield from _not_negative(document, ("podsPerCore", "pods-per-core"))
    yield from _range(document, "port", "port", 1, 65535)
    if document["readOnlyPort"] != 0 and not 1 <= document["readOnlyPort"] <= 65535:
        text = f"readOnlyPort (--read-only-port) {document['readOnlyPort']} must be between 0 and 65535, inclusive"
        yield f"{_INVALID}{text}"


def _pulls(document: Document) -> Iterator[str]:
    yield from _not_negative(document, ("registryBurst", "registry-burst"), ("registryPullQPS", "registry-qps"))
    parallel = document["maxParallelImagePulls"]
    if parallel is not None and parallel < 1:
        yield f"{_INVALID}maxParallelImagePulls {parallel} must be a positive number"
    if document["serializeImagePulls"] and parallel is not None and parallel > 1:
        yield (
            f"{_INVALID}maxParallelImagePulls cannot be larger than 1 unless SerializeImagePulls "
            "(--serialize-image-pulls) is set to false"
        )
    if document["runOnce"]:
        yield f"{_INVALID}runOnce (--runOnce) true, Runonce mode has been deprecated and should not be set"


def _taints(document: Document) -> Iterator[str]:
    for taint in document["registerWithTaints"]:
        key, value, effect = (taint.get(name) or "" for name in ("key", "value", "effect"))
        wrong = check_qualified_name(key) or (value and check_label_value(value))
        if wrong or (effect and effect not in _EFFECTS):
            yield f"invalid taint: {{{key} {value} {effect} {taint.get('timeAdded') or '<nil>'}}}"
        if taint.get("timeAdded"):
            yield f"{_INVALID}taint.TimeAdded is not nil"


def _topology(document: Document) -> Iterator[str]:
    policy, scope = document["topologyManagerPolicy"], document["topologyManagerScope"]
    if policy not in _TOPOLOGY:
        names = " ".join(f'"{name}"' for name in _TOPOLOGY)
        yield f'{_INVALID}topologyManagerPolicy (--topology-manager-policy) "{policy}" must be one of: [{names}]'
    if scope not in ("container", "pod"):
        text = f'topologyManagerScope (--topology-manager-scope) "{scope}" must be one of: "container", or "pod"'
        yield f"{_INVALID}{text}"


def _shutdown(document: Document) -> Iterator[str]:
    names = "shutdownGracePeriod", "shutdownGracePeriodCriticalPods"
    whole, critical = (_seconds(document, name) for name in names)
    if critical > whole:
        text = f"{names[1]} {{{go_text(critical)}}} must be <= {names[0]} {{{go_text(whole)}}}"
        yield f"{_INVALID}{text}"
    for name, value in zip(names, (whole, critical)):
        if value < 0 or 0 < value < 1:
            yield f"{_INVALID}{name} {{{go_text(value)}}} must be either zero or otherwise >= 1 sec"
    if document["shutdownGracePeriodByPodPriority"] and (whole > 0 or critical > 0):
        text = "Cannot specify both shutdownGracePeriodByPodPriority and shutdownGracePeriod at the same time"
        yield f"{_INVALID}{text}"
    swap = document["memorySwap"]["swapBehavior"]
    if swap not in ("", "NoSwap", "LimitedSwap"):
        yield f'{_INVALID}memorySwap.swapBehavior "{swap}" must be one of: "", "LimitedSwap" or "NoSwap"'
    longest = go_duration(document["crashLoopBackOff"]["maxContainerRestartPeriod"])
    if not 1 <= longest <= 300:
        yield (
            f"{_INVALID}CrashLoopBackOff.MaxContainerRestartPeriod (got: {longest:g} seconds) must be set between "
            "1s and 300s"
        )


def _reservations(document: Document) -> Iterator[str]:
    flag = "enforceNodeAllocatable (--enforce-node-allocatable)"
    wanted = document["enforceNodeAllocatable"]
    for whole, part in ((_SYSTEM, _SYSTEM_CPU), (_KUBE, _KUBE_CPU)):
        if whole in wanted and part in wanted:
            yield f'{_INVALID}both "{whole}" and "{part}" cannot be specified together in {flag}'
    seen = set[str]()
    for value in wanted:
        if value in seen:
            yield f'{_INVALID}duplicated enforcements "{value}" in {flag}'
            continue
        seen.add(value)
        if value == _NONE:
            if len(wanted) > 1:
                yield f'{_INVALID}{flag} may not contain additional enforcements when "none" is specified'
            continue
        if value not in (_PODS, _SYSTEM, _SYSTEM_CPU, _KUBE, _KUBE_CPU):
            names = f'"{_PODS}", "{_SYSTEM}", "{_SYSTEM_CPU}", "{_KUBE}", "{_KUBE_CPU}" or "{_NONE}"'
            yield f'{_INVALID}option "{value}" specified for {flag}. Valid options are {names}'
            continue
        for keys, name, option in (
            ((_SYSTEM, _SYSTEM_CPU), "systemReservedCgroup", "system-reserved-cgroup"),
            ((_KUBE, _KUBE_CPU), "kubeReservedCgroup", "kube-reserved-cgroup"),
        ):
            if value in keys and not document[name]:
                listed = '" or "'.join(keys)
                yield f'{_INVALID}{name} (--{option}) must be specified when "{listed}" included in {flag}'
        if not document["cgroupsPerQOS"]:
            text = f'cgroupsPerQOS (--cgroups-per-qos) must be set to true when "{value}" contained in {flag}'
            yield f"{_INVALID}{text}"


def _networking(document: Document) -> Iterator[str]:
    mode = document["hairpinMode"]
    if mode not in _HAIRPIN:
        yield (
            f'{_INVALID}option "{mode}" specified for hairpinMode (--hairpin-mode). Valid options are "none", '
            '"hairpin-veth" or "promiscuous-bridge"'
        )
    policies = "NeverVerify", "NeverVerifyPreloadedImages", "NeverVerifyAllowlistedImages", "AlwaysVerify"
    policy = document["imagePullCredentialsVerificationPolicy"]
    if policy not in policies:
        *first, last = (f'"{name}"' for name in policies)
        yield (
            f'{_INVALID}option "{policy}" specified for imagePullCredentialsVerificationPolicy. Valid options are '
            f"{', '.join(first)} or {last}"
        )
    if document["preloadedImagesVerificationAllowlist"] and policy != "NeverVerifyAllowlistedImages":
        yield (
            f"{_INVALID}can't set `preloadedImagesVerificationAllowlist` if `imagePullCredentialsVertificationPolicy` "
            'is not "NeverVerifyAllowlistedImages"'
        )


def _cpus(document: Document) -> Iterator[str]:
    text = document["reservedSystemCPUs"]
    if not text:
        return
    if document["systemReservedCgroup"] or document["kubeReservedCgroup"]:
        yield (
            f"{_INVALID}can't use reservedSystemCPUs (--reserved-cpus) with systemReservedCgroup "
            "(--system-reserved-cgroup) or kubeReservedCgroup (--kube-reserved-cgroup)"
        )
    try:
        cpuset.parse(text)
    except ValueError:
        yield f"{_INVALID}unable to parse reservedSystemCPUs (--reserved-cpus) {text}, error: {_wrong_cpus(text)}"


def _wrong_cpus(text: str) -> str:
    """What is wrong with a list of processors, in Go's words."""
    for part in text.split(","):
        bounds = part.split("-", 1)
        for bound in bounds:
            if not re.fullmatch(r"[+-]?\d+", bound):
                return f'strconv.Atoi: parsing "{bound}": invalid syntax'
        if len(bounds) == 2 and int(bounds[0]) > int(bounds[1]):
            return f'invalid range "{part}" ({bounds[0]} > {bounds[1]})'
    return f'"{text}" is no range of processors'


def _memory(document: Document) -> Iterator[str]:
    seen = set[tuple[int, str]]()
    for entry in document["reservedMemory"]:
        node = entry.get("numaNode") or 0
        for name, amount in (entry.get("limits") or {}).items():
            if name != "memory" and not name.startswith("hugepages-"):
                text = f'the limit type "{name}" for NUMA node {node} is not supported'
                yield f"{_INVALID}{text}, only [memory hugepages-<HugePageSize>] is accepted"
            if not parse_quantity(amount):
                yield f'{_INVALID}reserved memory may not be zero for NUMA node {node} and resource "{name}"'
            if (node, name) in seen:
                text = f'the reserved memory has a duplicate value for NUMA node {node} and resource "{name}"'
                yield f"{_INVALID}{text}"
            seen.add((node, name))
    ids = (document["userNamespaces"] or {}).get("idsPerPod")
    if ids is not None and ids < _IDS:
        yield f"{_INVALID}userNamespaces.idsPerPod must not be less than {_IDS}"
    elif ids is not None and ids % _IDS:
        yield f"{_INVALID}userNamespaces.idsPerPod must be a multiple of {_IDS}"
    elif ids is not None and ids > (1 << 32) - 1:
        yield f"{_INVALID}userNamespaces.idsPerPod must not be more than {(1 << 32) - 1}"
    factor = document["memoryThrottlingFactor"]
    if not 0 < factor <= 1:
        text = f"memoryThrottlingFactor {factor:g} must be greater than 0 and less than or equal to 1.0"
        yield f"{_INVALID}{text}"
    policy = document["memoryReservationPolicy"]
    if policy == "TieredReservation":
        yield f'{_INVALID}memoryReservationPolicy "{policy}" requires MemoryQoS feature gate to be enabled'
    elif policy != "None":
        text = f'option "{policy}" specified for memoryReservationPolicy. Valid options are "None" or '
        yield f'{_INVALID}{text}"TieredReservation"'


def _logs(document: Document) -> Iterator[str]:
    if document["enableSystemLogQuery"] and not document["enableSystemLogHandler"]:
        yield f"{_INVALID}enableSystemLogHandler is required for enableSystemLogQuery"
    if document["containerLogMaxWorkers"] < 1:
        yield f"{_INVALID}containerLogMaxWorkers must be greater than or equal to 1"
    if _seconds(document, "containerLogMonitorInterval") < 3:
        text = "containerLogMonitorInterval must be a positive time duration greater than or equal to 3s"
        yield f"{_INVALID}{text}"
    if document["containerLogMaxFiles"] <= 1:
        yield f"{_INVALID}containerLogMaxFiles must be greater than 1"
    folder = document["podLogsDir"]
    if not folder.startswith("/"):
        yield f'{_INVALID}pod logs path "{folder}" must be absolute path'
    if not _is_clean(folder):
        yield f'{_INVALID}pod logs path "{folder}" must be normalized'
    if not folder.isascii():
        yield f'{_INVALID}pod logs path "{folder}" mut contains ASCII characters only'


def _is_clean(path: str) -> bool:
    parts = path.split("/")[1:]
    return path == "/" or all(part not in ("", ".", "..") for part in parts)
