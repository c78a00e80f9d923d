"""The Pod Security Standards: labels, checks by version, the plugin's three modes."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.api.resources import GVK, GVR, NAMESPACES, PODS, core
from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.admission.config import plugin_options
from kumo.kubernetes.apiserver.admission.namespaces import NamespaceTable
from kumo.kubernetes.apiserver.admission.pod_security import PodSecurity, PodSecurityConfig
from kumo.kubernetes.apiserver.admission.pod_security.evaluation import described, evaluate
from kumo.kubernetes.apiserver.admission.pod_security.policy import LATEST, LevelVersion, Policy, policy_of
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Operation
from support.reader import MemoryReader

pytestmark = pytest.mark.unit

PREFIX = "pod-security.kubernetes.io/"
HARDENED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
UNHARDENED = (
    'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), '
    'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), '
    'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), '
    'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or '
    '"Localhost")'
)


def spec(context: dict[str, Any] | None = None, **more: Any) -> Object:
    container = {"name": "c", "image": "i", **({"securityContext": context} if context is not None else {})}
    return {"containers": [container], **more}


def labels(**modes: str) -> dict[str, str]:
    return {PREFIX + mode.replace("_", "-"): value for mode, value in modes.items()}


@pytest.mark.parametrize(
    ("stated", "wanted", "faults"),
    [
        ({}, Policy(), 0),
        ({"app": "x"}, Policy(), 0),
        (
            labels(enforce="restricted"),
            Policy(LevelVersion("restricted"), LevelVersion(), LevelVersion("restricted")),
            0,
        ),
        (
            labels(enforce="baseline", enforce_version="v1.20", warn_version="v1.3"),
            Policy(LevelVersion("baseline", 20), LevelVersion(), LevelVersion("baseline", 3)),
            0,
        ),
        (
            labels(enforce="baseline", warn="privileged"),
            Policy(LevelVersion("baseline"), LevelVersion(), LevelVersion()),
            0,
        ),
        (labels(enforce="strict"), Policy(LevelVersion("restricted")), 1),
        (labels(audit="strict", warn="strict", audit_version="v1.01", warn_version="1.2"), Policy(), 4),
    ],
)
def test_policies_of_labels(stated: dict[str, str], wanted: Policy, faults: int) -> None:
    policy, found = policy_of(stated, Policy())
    assert policy == wanted
    assert len(found) == faults


BASELINE_CASES: list[tuple[Object, Object, str]] = [
    (spec({"privileged": True}), {}, 'privileged (container "c" must not set securityContext.privileged=true)'),
    (spec(hostNetwork=True, hostIPC=True), {}, "host namespaces (hostNetwork=true, hostIPC=true)"),
    (spec(volumes=[{"name": "v", "hostPath": {}}]), {}, 'hostPath volumes (volume "v")'),
    (
        {"containers": [{"name": n, "ports": [{"hostPort": 80}, {"hostPort": 9}]} for n in "ab"]},
        {},
        'hostPort (containers "a", "b" use hostPorts 80, 9)',
    ),
    (
        {"containers": [], "initContainers": [{"name": "i", "livenessProbe": {"httpGet": {"host": "h"}}}]},
        {},
        'probe or lifecycle host (container "i" uses probe or lifecycle host "h")',
    ),
    (
        spec({"capabilities": {"add": ["NET_RAW", "CHOWN"]}}),
        {},
        'non-default capabilities (container "c" must not include "NET_RAW" in securityContext.capabilities.add)',
    ),
    (
        spec({"seLinuxOptions": {"type": "spc_t", "role": "r"}}, securityContext={"seLinuxOptions": {"user": "u"}}),
        {},
        'seLinuxOptions (pod and container "c" set forbidden securityContext.seLinuxOptions: type "spc_t"; '
        "user may not be set; role may not be set)",
    ),
    (
        spec({"procMount": "Unmasked"}),
        {},
        'procMount (container "c" must not set securityContext.procMount to "Unmasked")',
    ),
    (
        spec(securityContext={"seccompProfile": {"type": "Unconfined"}}),
        {},
        'seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")',
    ),
    (
        spec(securityContext={"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}]}),
        {},
        "forbidden sysctls (kernel.msgmax)",
    ),
    (
        spec(securityContext={"windowsOptions": {"hostProcess": True}}),
        {},
        "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
    ),
    (
        spec({"appArmorProfile": {"type": "Unconfined"}}),
        {"annotations": {"container.apparmor.security.beta.kubernetes.io/c": "x"}},
        'forbidden AppArmor profiles (container "c" and annotation must not set AppArmor profile type to '
        '"Unconfined", "container.apparmor.security.beta.kubernetes.io/c="x"")',
    ),
]


@pytest.mark.parametrize(("pod", "meta", "words"), BASELINE_CASES)
def test_baseline_forbids(pod: Object, meta: Object, words: str) -> None:
    assert described(evaluate(LevelVersion("baseline"), meta, pod)) == words
    assert evaluate(LevelVersion("privileged"), meta, pod) == ()


@pytest.mark.parametrize(
    ("pod", "words"),
    [
        (spec(), UNHARDENED),
        (spec(HARDENED), ""),
        (spec({**HARDENED, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}), ""),
        (spec({**HARDENED, "runAsUser": 0}), 'runAsUser=0 (container "c" must not set runAsUser=0)'),
        (spec({**HARDENED, "runAsUser": 0}, hostUsers=False), ""),
        (
            spec({**HARDENED, "runAsNonRoot": False}, securityContext={"runAsNonRoot": True}),
            'runAsNonRoot != true (container "c" must not set securityContext.runAsNonRoot=false)',
        ),
        (
            spec(HARDENED, volumes=[{"name": "a", "nfs": {}}, {"name": "b", "hostPath": {}}, {"name": "d", "csi": {}}]),
            'restricted volume types (volumes "a", "b" use restricted volume types "hostPath", "nfs")',
        ),
        (
            spec({**HARDENED, "procMount": "Unmasked"}, hostUsers=False),
            'procMount (container "c" must not set securityContext.procMount to "Unmasked")',
        ),
        (spec({"runAsNonRoot": True}, os={"name": "windows"}), ""),
    ],
)
def test_restricted_forbids(pod: Object, words: str) -> None:
    assert described(evaluate(LevelVersion("restricted"), {}, pod)) == words


@pytest.mark.parametrize(
    ("level", "minor", "pod", "reasons"),
    [
        ("restricted", 7, spec(), ["runAsNonRoot != true"]),
        ("restricted", 8, spec(), ["allowPrivilegeEscalation != false", "runAsNonRoot != true"]),
        ("restricted", 22, spec({**HARDENED, "runAsUser": 0}), []),
        ("restricted", 23, spec({**HARDENED, "runAsUser": 0}), ["runAsUser=0"]),
        ("restricted", 24, spec({"runAsNonRoot": True}, os={"name": "windows"}), 3),
        ("baseline", 33, BASELINE_CASES[4][0], []),
        ("baseline", 34, BASELINE_CASES[4][0], ["probe or lifecycle host"]),
        ("baseline", 34, spec({"procMount": "Unmasked"}, hostUsers=False), ["procMount"]),
        ("baseline", 35, spec({"procMount": "Unmasked"}, hostUsers=False), []),
        ("baseline", 18, spec({"seccompProfile": {"type": "Unconfined"}}), []),
        ("baseline", 31, spec(securityContext={"sysctls": [{"name": "net.ipv4.tcp_rmem"}]}), ["forbidden sysctls"]),
        ("baseline", 32, spec(securityContext={"sysctls": [{"name": "net.ipv4.tcp_rmem"}]}), []),
        ("baseline", 99, spec({"privileged": True}), ["privileged"]),
    ],
)
def test_versions(level: str, minor: int, pod: Object, reasons: Any) -> None:
    found = [finding.reason for finding in evaluate(LevelVersion(level, minor), {}, pod)]
    assert found == reasons if isinstance(reasons, list) else len(found) == reasons


# -- the plugin ------------------------------------------------------------------------------------------------------


class World:
    def __init__(self, stated: dict[str, str], config: PodSecurityConfig | None = None) -> None:
        self.reader = MemoryReader()
        self.reader.put(NAMESPACES, {"metadata": {"name": "ns", "labels": stated}})
        self.plugin = PodSecurity(self.reader, NamespaceTable(self.reader), config or PodSecurityConfig())


def write(gvr: GVR, obj: Object, operation: Operation = "CREATE", **more: Any) -> AdmissionAttributes:
    obj = {"metadata": {"name": "x", **obj.pop("metadata", {})}, **obj}
    namespace = "ns" if gvr.namespaced else ""
    kind = GVK(gvr.group, gvr.version, "Thing")
    return AdmissionAttributes(operation, kind, gvr, namespace, "x", UserInfo("jane", ()), object=obj, **more)


def test_enforce_audit_and_warn_go_their_own_ways() -> None:
    world = World(labels(enforce="baseline", audit="restricted", warn="restricted"))
    attrs = write(PODS, {"spec": spec()})
    world.plugin.validate_pod(attrs)
    assert attrs.warnings == [f'would violate PodSecurity "restricted:latest": {UNHARDENED}']
    assert attrs.audit_annotations == {
        f"{PREFIX}enforce-policy": "baseline:latest",
        f"{PREFIX}audit-violations": attrs.warnings[0],
    }
    attrs = write(PODS, {"spec": spec(hostPID=True)})
    with pytest.raises(StatusError) as refusal:
        world.plugin.validate_pod(attrs)
    assert refusal.value.code == 403
    assert refusal.value.message == (
        'pods "x" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostPID=true)'
    )
    assert not attrs.warnings and f"{PREFIX}audit-violations" in attrs.audit_annotations


def test_updates_count_only_when_images_or_containers_change() -> None:
    world = World(labels(enforce="restricted"))
    old = {"spec": spec()}
    world.plugin.validate_pod(write(PODS, {"spec": spec(activeDeadlineSeconds=1)}, "UPDATE", old_object=old))
    more = spec(ephemeralContainers=[{"name": "e", "image": "i"}])
    with pytest.raises(StatusError):
        world.plugin.validate_pod(write(PODS, {"spec": more}, "UPDATE", old_object=old))


def test_templates_are_warned_of_and_never_refused() -> None:
    world = World(labels(enforce="restricted"))
    jobs = GVR("batch", "v1", "cronjobs")
    inner = {"spec": {"template": {"spec": spec()}}}
    for gvr, obj in ((GVR("apps", "v1", "deployments"), inner), (jobs, {"spec": {"jobTemplate": inner}})):
        attrs = write(gvr, obj)
        world.plugin.validate_template(attrs)
        assert attrs.warnings == [f'would violate PodSecurity "restricted:latest": {UNHARDENED}']
    bare = write(core("replicationcontrollers"), {"spec": {}})
    world.plugin.validate_template(bare)
    assert not bare.warnings


def test_the_exempt_are_left_alone() -> None:
    config = plugin_options(
        {
            "kind": "AdmissionConfiguration",
            "plugins": [
                {
                    "name": "PodSecurity",
                    "configuration": {
                        "defaults": {"enforce": "restricted", "enforce-version": "v1.20"},
                        "exemptions": {"usernames": ["jane"], "runtimeClasses": ["safe"]},
                    },
                }
            ],
        }
    )["pod_security"]
    assert config.defaults.enforce == LevelVersion("restricted", 20)
    world = World({}, config)
    attrs = write(PODS, {"spec": spec()})
    world.plugin.validate_pod(attrs)
    assert attrs.audit_annotations == {f"{PREFIX}exempt": "user"}
    attrs = write(PODS, {"spec": spec(runtimeClassName="safe")})
    attrs.user = UserInfo("joe", ())
    world.plugin.validate_pod(attrs)
    assert attrs.audit_annotations == {f"{PREFIX}exempt": "runtimeClass"}
    attrs = write(PODS, {"spec": spec()})
    attrs.user = UserInfo("joe", ())
    with pytest.raises(StatusError):
        world.plugin.validate_pod(attrs)


@pytest.mark.parametrize(
    "stated", [{"kind": "Other"}, {"kind": "AdmissionConfiguration", "plugins": [{"name": "Unknown"}]}]
)
def test_configuration_that_is_none(stated: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Other|Unknown"):
        plugin_options(stated)


async def test_a_stricter_label_names_the_pods_that_break_it() -> None:
    world = World({})
    owner = {"kind": "ReplicaSet", "name": "r", "uid": "u", "controller": True}
    for name in ("b", "a", "d"):
        meta = {"name": name, "namespace": "ns", "ownerReferences": [owner] if name != "d" else []}
        world.reader.put(PODS, {"metadata": meta, "spec": spec(hostPID=True)})
    world.reader.put(PODS, {"metadata": {"name": "c", "namespace": "ns"}, "spec": spec({"privileged": True})})
    new = {"metadata": {"name": "ns", "labels": labels(enforce="baseline", enforce_version="v1.30")}}
    attrs = write(NAMESPACES, new, "UPDATE", old_object={"metadata": {"name": "ns"}})
    await world.plugin.validate_namespace(attrs)
    assert attrs.warnings == [
        'existing pods in namespace "ns" violate the new PodSecurity enforce level "baseline:v1.30"',
        "a (and 2 other pods): host namespaces",
        "c: privileged",
    ]


async def test_bad_labels_of_a_namespace_are_refused_unless_they_were_there() -> None:
    world = World({})
    bad = {"metadata": {"name": "n", "labels": labels(enforce="x", warn_version="v2")}}
    with pytest.raises(StatusError) as refusal:
        await world.plugin.validate_namespace(write(NAMESPACES, dict(bad)))
    assert refusal.value.code == 422
    assert refusal.value.message == (
        'Namespace "n" is invalid: '
        '[metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "x": must be one of privileged, '
        "baseline, restricted, metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: "
        '"v2": must be "latest" or "v1.x"]'
    )
    await world.plugin.validate_namespace(write(NAMESPACES, dict(bad), "UPDATE", old_object=bad))


def test_latest_reads_as_such() -> None:
    assert str(LevelVersion("baseline", LATEST)) == "baseline:latest"
