"""The fields of KubeletConfiguration: their types, upstream's defaults, and kumo's where they differ. Data.

Source: k8s.io/kubelet/config/v1beta1 of 1.36.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from kumo.api.schema.nodes import Node

API_VERSION = "kubelet.config.k8s.io/v1beta1"
KIND = "KubeletConfiguration"


@dataclass(frozen=True, slots=True)
class Field:
    """One field.

    `kind`: bool, int32, int64, float64, string, duration, strings, map, bools, any, or the name of a struct in
    `STRUCTS`, of a list of them with `[]` before it. `optional`: zero is a value of its own (a pointer upstream).
    `default` stands where nothing (or, if it is not optional, zero) is given.
    """

    kind: str
    default: Any = None
    optional: bool = False


def _plain(kind: str, names: str) -> dict[str, Field]:
    return {name: Field(kind) for name in names.split()}


def _optional(kind: str, **defaults: Any) -> dict[str, Field]:
    return {name: Field(kind, default, True) for name, default in defaults.items()}


def _with(kind: str, **defaults: Any) -> dict[str, Field]:
    return {name: Field(kind, default) for name, default in defaults.items()}


STRUCTS: Mapping[str, tuple[str, Mapping[str, Field]]] = {
    "authentication": (
        "KubeletAuthentication",
        {"x509": Field("x509"), "webhook": Field("authenticationWebhook"), "anonymous": Field("anonymous")},
    ),
    "x509": ("KubeletX509Authentication", _plain("string", "clientCAFile")),
    "authenticationWebhook": (
        "KubeletWebhookAuthentication",
        _optional("bool", enabled=True) | _with("duration", cacheTTL="2m"),
    ),
    "anonymous": ("KubeletAnonymousAuthentication", _optional("bool", enabled=False)),
    "authorization": (
        "KubeletAuthorization",
        _with("string", mode="Webhook") | {"webhook": Field("authorizationWebhook")},
    ),
    "authorizationWebhook": (
        "KubeletWebhookAuthorization",
        _with("duration", cacheAuthorizedTTL="5m", cacheUnauthorizedTTL="30s"),
    ),
    "memorySwap": ("MemorySwapConfiguration", _plain("string", "swapBehavior")),
    "crashLoopBackOff": ("CrashLoopBackOffConfig", _optional("duration", maxContainerRestartPeriod="5m")),
    "userNamespaces": ("UserNamespaces", _optional("int64", idsPerPod=None)),
    "memoryReservation": ("MemoryReservation", _plain("int32", "numaNode") | _plain("map", "limits")),
    "shutdownPeriod": (
        "ShutdownGracePeriodByPodPriority",
        _plain("int32", "priority") | _plain("int64", "shutdownGracePeriodSeconds"),
    ),
    "taint": ("Taint", _plain("string", "key value effect timeAdded")),
}
"""The Go name and the fields of each struct."""

FIELDS: Mapping[str, Field] = {
    **_plain("string", "apiVersion kind"),
    **_optional(
        "bool",
        enableServer=True,
        enableDebuggingHandlers=True,
        cgroupsPerQOS=True,
        singleProcessOOMKill=None,
        cpuCFSQuota=True,
        serializeImagePulls=None,
        mergeDefaultEvictionSettings=False,
        enableControllerAttachDetach=True,
        makeIPTablesUtilChains=True,
        failSwapOn=True,
        enableSystemLogHandler=True,
        enableSystemLogQuery=False,
        enableProfilingHandler=True,
        enableDebugFlagsHandler=True,
        seccompDefault=False,
        registerNode=True,
        localStorageCapacityIsolation=True,
        failCgroupV1=True,
    ),
    **_plain(
        "bool",
        "rotateCertificates serverTLSBootstrap enableContentionProfiling runOnce protectKernelDefaults "
        "kernelMemcgNotification",
    ),
    **_optional(
        "int32",
        registryPullQPS=5,
        eventRecordQPS=50,
        healthzPort=10248,
        oomScoreAdj=-999,
        imageGCHighThresholdPercent=85,
        imageGCLowThresholdPercent=80,
        nodeStatusMaxImages=50,
        kubeAPIQPS=50,
        maxParallelImagePulls=None,
        iptablesMasqueradeBit=14,
        iptablesDropBit=15,
        containerLogMaxFiles=5,
        containerLogMaxWorkers=1,
    ),
    **_with("int32", port=10250, registryBurst=10, eventBurst=100, nodeLeaseDurationSeconds=40, maxPods=110),
    **_with("int32", kubeAPIBurst=100),
    **_plain("int32", "readOnlyPort evictionMaxPodGracePeriod podsPerCore"),
    "tlsCurvePreferences": Field("int32s"),
    **_optional("int64", podPidsLimit=-1),
    **_with("int64", maxOpenFiles=1000000),
    **_optional("float64", memoryThrottlingFactor=0.9),
    **_optional("string", resolvConf="/etc/resolv.conf"),
    **_with(
        "string",
        address="0.0.0.0",
        healthzBindAddress="127.0.0.1",
        cgroupDriver="cgroupfs",
        cpuManagerPolicy="none",
        memoryManagerPolicy="None",
        topologyManagerPolicy="none",
        topologyManagerScope="container",
        hairpinMode="promiscuous-bridge",
        contentType="application/vnd.kubernetes.protobuf",
        containerLogMaxSize="10Mi",
        configMapAndSecretChangeDetectionStrategy="Watch",
        volumePluginDir="/usr/libexec/kubernetes/kubelet-plugins/volume/exec/",
        memoryReservationPolicy="None",
        containerRuntimeEndpoint="unix:///run/containerd/containerd.sock",
        podLogsDir="/var/log/pods",
        imagePullCredentialsVerificationPolicy="NeverVerifyPreloadedImages",
    ),
    **_plain(
        "string",
        "staticPodPath staticPodURL tlsCertFile tlsPrivateKeyFile tlsMinVersion clusterDomain kubeletCgroups "
        "systemCgroups cgroupRoot podCIDR reservedSystemCPUs showHiddenMetricsForVersion systemReservedCgroup "
        "kubeReservedCgroup providerID imageServiceEndpoint",
    ),
    **_with(
        "duration",
        syncFrequency="1m",
        fileCheckFrequency="20s",
        httpCheckFrequency="20s",
        streamingConnectionIdleTimeout="4h",
        nodeStatusUpdateFrequency="10s",
        nodeStatusReportFrequency="5m",
        imageMinimumGCAge="2m",
        volumeStatsAggPeriod="1m",
        cpuManagerReconcilePeriod="10s",
        runtimeRequestTimeout="2m",
        evictionPressureTransitionPeriod="5m",
    ),
    **_plain("duration", "imageMaximumGCAge shutdownGracePeriod shutdownGracePeriodCriticalPods"),
    **_optional("duration", cpuCFSQuotaPeriod="100ms", containerLogMonitorInterval="10s"),
    **_plain("strings", "tlsCipherSuites preloadedImagesVerificationAllowlist clusterDNS allowedUnsafeSysctls"),
    "enforceNodeAllocatable": Field("strings", ["pods"]),
    **_plain(
        "map",
        "cpuManagerPolicyOptions topologyManagerPolicyOptions qosReserved evictionHard evictionSoft "
        "evictionSoftGracePeriod evictionMinimumReclaim systemReserved kubeReserved",
    ),
    **_plain("bools", "featureGates"),
    **_plain("any", "staticPodURLHeader logging tracing"),
    **{name: Field(name) for name in ("authentication", "authorization", "memorySwap", "crashLoopBackOff")},
    "userNamespaces": Field("userNamespaces", None, True),
    "reservedMemory": Field("[]memoryReservation"),
    "shutdownGracePeriodByPodPriority": Field("[]shutdownPeriod"),
    "registerWithTaints": Field("[]taint"),
}
"""Every field of the document."""

OWN_DEFAULTS: Mapping[str, Any] = {
    "failCgroupV1": False,
    "failSwapOn": False,
}
"""Where kumo's defaults are others: it runs on either version of control groups, and beside swap."""

_ZEROS: Mapping[str, Any] = {"bool": False, "string": "", "duration": "0s"}


def is_struct(kind: str) -> bool:
    """Whether the kind is a struct."""
    return kind in STRUCTS


def zero_of(kind: str) -> Any:
    """What a field of that kind is when nobody says anything: Go's zero value as JSON has it."""
    if kind in _ZEROS:
        return _ZEROS[kind]
    if kind in ("int32", "int64", "float64"):
        return 0
    return {} if kind in ("map", "bools", "any") or is_struct(kind) else []


@cache
def schema() -> Node:
    """The document's schema, for `kumo.api.schema.decoding`."""
    return _struct(KIND, FIELDS)


def _struct(name: str, fields: Mapping[str, Field], package: str = "v1beta1") -> Node:
    made = {key: _node(field.kind) for key, field in fields.items()}
    return Node("object", {}, fields=lambda: made, name=name, package=package)


def _node(kind: str) -> Node:
    if kind.startswith("[]"):
        return Node("array", {}, items=_node(kind[2:]))
    if kind in STRUCTS:
        return _struct(*STRUCTS[kind], package="v1" if kind == "taint" else "v1beta1")
    text, number = Node("string", {}), Node("integer", {"format": "int32"})
    made = {
        "bool": Node("boolean", {}),
        "int32": number,
        "int64": Node("integer", {"format": "int64"}),
        "float64": Node("number", {}),
        "strings": Node("array", {}, items=text),
        "int32s": Node("array", {}, items=number),
        "map": Node("map", {}, values=text),
        "bools": Node("map", {}, values=Node("boolean", {})),
        "any": Node("any", {}),
    }
    return made.get(kind, text)
