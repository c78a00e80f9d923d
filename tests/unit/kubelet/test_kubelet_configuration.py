"""KubeletConfiguration: what is refused and in which words, what holds without it, what the kubelet makes of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from kumo.kubernetes.kubelet.config import KubeletConfig
from kumo.kubernetes.kubelet.configuration.applying import applied, check_machine, checked, ignored
from kumo.kubernetes.kubelet.configuration.configz import effective
from kumo.kubernetes.kubelet.configuration.reading import ConfigurationError, completed, parse, read
from kumo.kubernetes.kubelet.enforcing import limits
from kumo.kubernetes.kubelet.machine import Machine
from kumo.kubernetes.kubelet.unified import MemoryPolicy

pytestmark = pytest.mark.unit
HEAD = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
GI = 1 << 30
MACHINE = Machine(4, 8 * GI, 100 * GI, "h", "m", "s", "b", "6.1", "Debian", "amd64")
CONFIG = KubeletConfig("node", "10.0.0.1", Path("/d"), "/kumo-1", cluster_dns=("10.96.0.10",))
INVALID = "invalid configuration: "


def document(text: str) -> Any:
    return parse((HEAD + text).encode())


def settings(text: str) -> KubeletConfig:
    return applied(CONFIG, document(text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "maxPod: 3\nmaxPods: 3\nmaxPods: 4\nmemorySwap: {a: b}\nregisterWithTaints: [{kex: a}]",
            'strict decoding error: yaml: unmarshal errors:\n  line 5: key "maxPods" already set in map, '
            'unknown field "maxPod", unknown field "memorySwap.a", unknown field "registerWithTaints[0].kex"',
        ),
        ('maxPods: "a"', "cannot unmarshal string into Go struct field KubeletConfiguration.maxPods of type int32"),
        ("maxPods: 1.5", "cannot unmarshal number 1.5 into Go struct field KubeletConfiguration.maxPods of type int32"),
        ("evictionHard: [a]", "cannot unmarshal array into Go struct field KubeletConfiguration.evictionHard of type "),
        (
            "evictionHard: {memory.available: 3}",
            "number into Go struct field KubeletConfiguration.evictionHard of type ",
        ),
        (
            "memorySwap: {swapBehavior: 3}",
            "Go struct field MemorySwapConfiguration.memorySwap.swapBehavior of type str",
        ),
        ("shutdownGracePeriod: 5x", 'failed to decode: time: unknown unit "x" in duration "5x"'),
        ("maxPods: {", "failed to decode: yaml: "),
        ("evictionHard: {*a: 3}", "failed to decode: yaml: "),
    ],
)
def test_what_is_no_such_document(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        document(text)


@pytest.mark.parametrize(
    ("whole", "said"),
    [
        (b"- a", "failed to decode: it is no KubeletConfiguration"),
        (b"a: b", "failed to decode: Object 'apiVersion' is missing in 'a: b'"),
        (b"apiVersion: v1\nkind: Pod", 'failed to decode: no kind "Pod" is registered for version "v1"'),
        (b"\xff\xfe", "failed to decode: "),
    ],
)
def test_another_document(whole: bytes, said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        parse(whole)


def test_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r'^failed to read kubelet config file "/none", error: '):
        read(Path("/none"))
    (tmp_path / "empty").touch()
    with pytest.raises(ConfigurationError, match=r"was empty$"):
        read(tmp_path / "empty")
    (tmp_path / "large").write_bytes(b"#" * (4 << 20))
    with pytest.raises(ConfigurationError, match=r"is too large$"):
        read(tmp_path / "large")
    (tmp_path / "json").write_text('{"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration"}')
    assert len(read(tmp_path / "json")) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("maxPods: -1", "maxPods (--max-pods) -1 must not be a negative number"),
        ("nodeLeaseDurationSeconds: -1", "nodeLeaseDurationSeconds must be greater than 0"),
        ("cpuCFSQuotaPeriod: 2s", "cpuCFSQuotaPeriod (--cpu-cfs-quota-period) {2s} must be between 1ms and 1sec"),
        (
            "imageGCHighThresholdPercent: 10",
            "imageGCLowThresholdPercent (--image-gc-low-threshold) 80 must be less than imageGCHighThresholdPercent "
            "(--image-gc-high-threshold) 10",
        ),
        ("imageGCHighThresholdPercent: 101", "(--image-gc-high-threshold) 101 must be between 0 and 100, inclusive"),
        ("imageMaximumGCAge: 1m", "imageMaximumGCAge 1m0s must be greater than imageMinimumGCAge 2m0s"),
        ("nodeStatusMaxImages: -2", "nodeStatusMaxImages (--node-status-max-images) -2 must be -1 or greater"),
        ("maxParallelImagePulls: 0", "maxParallelImagePulls 0 must be a positive number"),
        (
            "maxParallelImagePulls: 2\nserializeImagePulls: true",
            "maxParallelImagePulls cannot be larger than 1 unless SerializeImagePulls (--serialize-image-pulls) is set "
            "to false",
        ),
        (
            "topologyManagerPolicy: x",
            'topologyManagerPolicy (--topology-manager-policy) "x" must be one of: ["none" "best-effort" "restricted" '
            '"single-numa-node"]',
        ),
        (
            "shutdownGracePeriod: 1s\nshutdownGracePeriodCriticalPods: 2s",
            "shutdownGracePeriodCriticalPods {2s} must be <= shutdownGracePeriod {1s}",
        ),
        ("shutdownGracePeriod: 1ms", "shutdownGracePeriod {1ms} must be either zero or otherwise >= 1 sec"),
        (
            "shutdownGracePeriod: 9s\nshutdownGracePeriodByPodPriority: [{priority: 1, shutdownGracePeriodSeconds: 3}]",
            "Cannot specify both shutdownGracePeriodByPodPriority and shutdownGracePeriod at the same time",
        ),
        (
            "crashLoopBackOff: {maxContainerRestartPeriod: 400s}",
            "CrashLoopBackOff.MaxContainerRestartPeriod (got: 400 seconds) must be set between 1s and 300s",
        ),
        ("memorySwap: {swapBehavior: x}", 'memorySwap.swapBehavior "x" must be one of: "", "LimitedSwap" or "NoSwap"'),
        (
            "enforceNodeAllocatable: [pods, pods]",
            'duplicated enforcements "pods" in enforceNodeAllocatable (--enforce-node-allocatable)',
        ),
        (
            "enforceNodeAllocatable: [none, pods]",
            'may not contain additional enforcements when "none" is specified',
        ),
        (
            "enforceNodeAllocatable: [kube-reserved]",
            'kubeReservedCgroup (--kube-reserved-cgroup) must be specified when "kube-reserved" or '
            '"kube-reserved-compressible" included in enforceNodeAllocatable (--enforce-node-allocatable)',
        ),
        (
            "reservedSystemCPUs: 0-x",
            'reservedSystemCPUs (--reserved-cpus) 0-x, error: strconv.Atoi: parsing "x": invalid',
        ),
        ("reservedSystemCPUs: 3-1", 'error: invalid range "3-1" (3 > 1)'),
        ("containerLogMaxFiles: 1", "containerLogMaxFiles must be greater than 1"),
        (
            "containerLogMonitorInterval: 1s",
            "containerLogMonitorInterval must be a positive time duration greater than",
        ),
        ("podLogsDir: a/b", 'pod logs path "a/b" must be absolute path'),
        ("runOnce: true", "runOnce (--runOnce) true, Runonce mode has been deprecated and should not be set"),
        ("userNamespaces: {idsPerPod: 65537}", "userNamespaces.idsPerPod must be a multiple of 65536"),
        (
            "hairpinMode: x",
            'option "x" specified for hairpinMode (--hairpin-mode). Valid options are "none", "hairpin-',
        ),
    ],
)
def test_what_upstream_refuses(text: str, said: str) -> None:
    with pytest.raises(
        ConfigurationError, match=f"^failed to validate kubelet configuration, error: .*{re.escape(said)}"
    ):
        checked(document(text))


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as found:
        checked(document("maxPods: -1\nregisterWithTaints: [{key: '!', effect: Foo}]\npodsPerCore: -2"))
    assert str(found.value) == (
        "failed to validate kubelet configuration, error: "
        f"[{INVALID}maxPods (--max-pods) -1 must not be a negative number, "
        f"{INVALID}podsPerCore (--pods-per-core) -2 must not be a negative number, invalid taint: {{!  Foo <nil>}}]"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("evictionHard: {foo: 3Mi}", "unsupported eviction signal foo"),
        (
            "evictionSoft: {memory.available: 3Mi}",
            "grace period must be specified for the soft eviction threshold memory",
        ),
        ("systemReserved: {foo: '1'}", '--system-reserved value failed to parse: cannot reserve "foo" resource'),
        ("kubeReserved: {cpu: '-1'}", 'resource quantity for "cpu" cannot be negative: -1'),
        ("kubeReserved: {cpu: x}", '--kube-reserved value failed to parse: failed to parse quantity "x" for "cpu"'),
        ("containerLogMaxSize: x", "quantities must match the regular expression"),
        ("allowedUnsafeSysctls: ['foo.*']", 'the sysctls "foo." are not known to be namespaced'),
        ("cpuManagerPolicy: x", 'unknown policy: "x"'),
        ("clusterDNS: [x]", 'clusterDNS: "x" is no address'),
        ("staticPodPath: here", "staticPodPath: here is no absolute path"),
    ],
)
def test_what_no_kubelet_would_start_with(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        checked(document(text))


def test_defaults() -> None:
    found = completed(document(""))
    assert (found["maxPods"], found["syncFrequency"], found["nodeStatusReportFrequency"]) == (110, "1m0s", "5m0s")
    assert found["authentication"]["webhook"] == {"enabled": True, "cacheTTL": "2m0s"}
    assert found["serializeImagePulls"] is True
    # Others follow from what is given.
    found = completed(
        document("nodeStatusUpdateFrequency: 20s\nmaxParallelImagePulls: 3\npodPidsLimit: -7\nmaxPods: 0")
    )
    assert (found["nodeStatusReportFrequency"], found["serializeImagePulls"]) == ("20s", False)
    assert (found["podPidsLimit"], found["maxPods"]) == (-1, 110)
    assert checked(document(""))["evictionHard"]["nodefs.available"] == "10%"
    assert checked(document("evictionHard: {pid.available: 5%}"))["evictionHard"] == {"pid.available": "5%"}
    merged = checked(document("evictionHard: {memory.available: 1Gi}\nmergeDefaultEvictionSettings: true"))
    assert (merged["evictionHard"]["memory.available"], merged["evictionHard"]["imagefs.available"]) == ("1Gi", "15%")


def test_a_document_without_fields_changes_nothing() -> None:
    found = settings("")
    assert {f: getattr(found, f) for f in KubeletConfig.__dataclass_fields__ if f != "document"} == {
        f: getattr(CONFIG, f) for f in KubeletConfig.__dataclass_fields__ if f != "document"
    } | {"placement": found.placement}


def test_what_the_kubelet_makes_of_it() -> None:
    found = settings(
        "maxPods: 50\nshutdownGracePeriod: 30s\nshutdownGracePeriodCriticalPods: 10s\nclusterDNS: [10.0.0.53]\n"
        "nodeLeaseDurationSeconds: 20\ncrashLoopBackOff: {maxContainerRestartPeriod: 4s}\ncontainerLogMaxSize: 1Mi\n"
        "evictionSoft: {memory.available: 10%}\nevictionSoftGracePeriod: {memory.available: 1m}\n"
        "registryPullQPS: 0\nmaxParallelImagePulls: 4\nresolvConf: ''\nreservedSystemCPUs: 0,1\n"
        "systemReserved: {cpu: 100m, memory: 1Gi}\nkubeReserved: {memory: 512Mi}\nenforceNodeAllocatable: [none]"
    )
    assert (found.max_pods, found.cluster_dns, found.lease_seconds) == (50, ("10.0.0.53",), 5.0)
    assert found.shutdown == ((0, 20), (2_000_000_000, 10))
    assert (found.crash_backoff_base, found.crash_backoff_ceiling) == (4.0, 4.0)
    assert (found.log_max_bytes, found.enforce_allocatable) == (1 << 20, False)
    assert (found.eviction_soft, found.eviction_soft_grace) == ({"memory.available": "10%"}, {"memory.available": "1m"})
    assert (found.pull_limits.serialize, found.pull_limits.parallel, found.pull_limits.per_second) == (False, 4, 0)
    assert str(found.resolv_conf) == "/dev/null"
    assert found.reserved == {"memory": "1610612736", "cpu": "2"}
    assert found.placement.reserved_cpus == {0, 1}


def test_what_pods_may_have_of_the_machine() -> None:
    config = settings(
        "evictionHard: {memory.available: 1Gi, nodefs.available: 10%}\nkubeReserved: {cpu: 300m, memory: 1Gi}"
    )
    found = MACHINE.allocatable(config)
    assert (found["cpu"], found["memory"], found["pods"]) == ("3700m", f"{6 * GI // 1024}Ki", "110")
    assert found["ephemeral-storage"] == str(100 * GI - 100 * GI // 10)
    assert MACHINE.capacity(settings("podsPerCore: 5"))["pods"] == "20"
    assert MACHINE.capacity(settings("podsPerCore: 50"))["pods"] == "110"
    held = limits(settings("systemReserved: {cpu: '1', memory: 2Gi, pid: '1000'}"), MACHINE, 32768)
    assert (held.cpu_shares, held.memory, held.pids) == (3072, 6 * GI, 31768)
    assert limits(settings(""), MACHINE, 32768).pids == 32768
    assert limits(settings(""), MACHINE, 0).pids == 0
    assert MACHINE.allocatable(settings("systemReserved: {memory: 100Gi, cpu: '9'}"))["memory"] == "0Ki"


def test_what_has_no_effect_is_told() -> None:
    assert ignored(document("maxPods: 3\nport: 10250\nhealthzPort: 10248\ntlsMinVersion: ''")) == []
    text = (
        "port: 999\nfeatureGates: {A: true}\nlogging: {verbosity: 3}\nenforceNodeAllocatable: [pods, system-reserved]"
    )
    assert ignored(document(text)) == ["enforceNodeAllocatable", "featureGates", "logging", "port"]


def test_what_holds_is_shown() -> None:
    shown = effective(settings("maxPods: 7\nport: 999\nsystemReserved: {cpu: '1'}"), "unix:///c.sock")
    assert (shown["maxPods"], shown["port"], shown["systemReserved"]) == (7, 10250, {"cpu": "1"})
    assert (shown["containerRuntimeEndpoint"], shown["clusterDNS"]) == ("unix:///c.sock", ["10.96.0.10"])
    assert shown["authentication"]["x509"] == {}
    assert (shown["imageMaximumGCAge"], shown["enableSystemLogQuery"]) == ("0s", False)
    assert "rotateCertificates" not in shown
    assert "singleProcessOOMKill" not in shown
    assert effective(CONFIG, "unix:///c.sock")["evictionHard"]["memory.available"] == "100Mi"


def test_machines_that_a_document_does_not_want(tmp_path: Path) -> None:
    swaps = tmp_path / "swaps"
    swaps.write_text("Filename Type Size\n/swap file 1024\n")
    with pytest.raises(ConfigurationError, match="not run on a host using cgroup v1"):
        check_machine(checked(document("failCgroupV1: true")), unified=False, swaps=swaps)
    with pytest.raises(ConfigurationError, match="running with swap on is not supported, please disable swap or set "):
        check_machine(checked(document("failSwapOn: true")), unified=True, swaps=swaps)
    with pytest.raises(ConfigurationError, match="singleProcessOOMKill must not be explicitly set to false when using"):
        check_machine(checked(document("singleProcessOOMKill: false")), unified=False, swaps=swaps)
    check_machine(checked(document("singleProcessOOMKill: false")), unified=True, swaps=swaps)
    check_machine(checked(document("singleProcessOOMKill: true")), unified=False, swaps=swaps)
    check_machine(checked(document("")), unified=False, swaps=swaps)
    swaps.write_text("Filename Type Size\n")
    check_machine(checked(document("failSwapOn: true\nfailCgroupV1: true")), unified=True, swaps=swaps)


@pytest.mark.parametrize(
    ("text", "single", "limited"),
    [
        ("", False, False),
        ("singleProcessOOMKill: false\nmemorySwap: {swapBehavior: NoSwap}", False, False),
        ("singleProcessOOMKill: true", True, False),
        ("memorySwap: {swapBehavior: LimitedSwap}", False, True),
    ],
)
def test_memory_policy(text: str, single: bool, limited: bool) -> None:
    assert not ignored(document(text))
    assert applied(CONFIG, document(text)).memory_policy == MemoryPolicy(single, limited)
