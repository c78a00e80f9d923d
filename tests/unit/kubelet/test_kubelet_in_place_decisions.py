"""Decisions about pods that change or that the node refuses: tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kumo.host.containerd.stubs import cri_pb2 as cri
from kumo.kubernetes.kubelet import env_files, labels, sysctls
from kumo.kubernetes.kubelet.admission import judge, lacking
from kumo.kubernetes.kubelet.conditions import restarting_condition
from kumo.kubernetes.kubelet.dns import Dns, within_limits
from kumo.kubernetes.kubelet.http_check import from_action, join, resolve_port
from kumo.kubernetes.kubelet.labels import container_hash
from kumo.kubernetes.kubelet.live_references import mounted
from kumo.kubernetes.kubelet.phase import pod_phase
from kumo.kubernetes.kubelet.plan import Health, make_plan, reset_order, restart_for_resize
from kumo.kubernetes.kubelet.podstate import EXITED, RUNNING, ContainerState, PodState, SandboxState
from kumo.kubernetes.kubelet.resizing import (
    Amounts,
    differs,
    in_progress,
    plan_resize,
    resources_of,
    shrinking_below_use,
    summary,
    with_resources,
)
from kumo.kubernetes.kubelet.resources import Limits, container_limits, oom_score, pod_allocation, pod_limits, qos_class
from kumo.kubernetes.kubelet.restarts import matching_action, restarts_after, restarts_all
from kumo.kubernetes.kubelet.server.routes import running_pods
from kumo.kubernetes.kubelet.static_pods import BadManifest, from_manifest, mirror_of

pytestmark = pytest.mark.unit

BOX = SandboxState("box", True, 1.0, 0, ("10.0.0.2",))
Spec = dict[str, Any]


def pod(*containers: Spec, **spec: Any) -> Spec:
    metadata = {"name": "p", "namespace": "ns", "uid": "u", "generation": 2}
    return {"metadata": metadata, "spec": {"containers": list(containers) or [{"name": "a"}], **spec}}


def given(cpu: str, memory: str, *, limits: bool = True) -> Spec:
    asked = {"cpu": cpu, "memory": memory}
    return {"requests": asked, "limits": dict(asked)} if limits else {"requests": asked}


def running(name: str = "a") -> ContainerState:
    return ContainerState(f"id-{name}", name, RUNNING, "box", 1.0, 2.0)


def exited(name: str = "a", code: int = 0) -> ContainerState:
    return ContainerState(f"id-{name}", name, EXITED, "box", 1.0, 2.0, 3.0, code)


def state(*found: ContainerState) -> PodState:
    return PodState([BOX], list(found))


# -- restart rules ----------------------------------------------------------------------------------------------------


def rule(action: str, operator: str, *values: int) -> Spec:
    return {"action": action, "exitCodes": {"operator": operator, "values": list(values)}}


@pytest.mark.parametrize(
    ("policy", "own", "rules", "code", "again"),
    [
        ("Always", None, [], 0, True),
        ("OnFailure", None, [], 0, False),
        ("OnFailure", None, [], 1, True),
        ("Never", None, [], 1, False),
        ("Never", "Always", [], 0, True),
        ("Always", "Never", [], 1, False),
        ("Always", "OnFailure", [], 0, False),
        ("Always", "Never", [rule("Restart", "In", 1, 42)], 42, True),
        ("Always", "Never", [rule("Restart", "In", 42)], 1, False),
        ("Never", "Never", [rule("Restart", "NotIn", 42)], 1, True),
        ("Never", "Never", [rule("RestartAllContainers", "In", 88)], 88, True),
        ("Never", None, [rule("Restart", "In", 42)], 42, False),  # rules need a policy of the container's own
    ],
)
def test_who_runs_again(policy: str, own: str | None, rules: list[Spec], code: int, again: bool) -> None:
    container: Spec = {"name": "a", "restartPolicyRules": rules} | ({"restartPolicy": own} if own else {})
    assert restarts_after(pod(container, restartPolicy=policy), container, code) is again
    phase = pod_phase(
        pod(container, restartPolicy=policy),
        [{"name": "a", "state": {"terminated": {"exitCode": code}}, "lastState": {}}],
    )
    assert phase == ("Running" if again else "Succeeded" if code == 0 else "Failed")


def test_a_regular_container_with_a_policy_of_its_own_is_no_sidecar() -> None:
    container = {"name": "a", "restartPolicy": "Always"}
    plan = make_plan(pod(container, restartPolicy="Never"), state(exited(code=1)), {})
    assert (plan.start, plan.kill_pod) == ([container], False)
    sick = {"a": Health("id-a", started=True, liveness_failed=True)}
    kills = make_plan(pod(container, restartPolicy="Never"), state(running()), sick).kill
    assert [k.message for k in kills] == ["Container a failed liveness probe, will be restarted"]


def test_the_first_rule_that_matches_counts() -> None:
    container = {"name": "a", "restartPolicyRules": [rule("Restart", "In", 1), rule("RestartAllContainers", "In", 1)]}
    assert matching_action(container, 1) == "Restart"
    assert matching_action(container, 2) == ""


def test_all_containers_are_removed_the_one_that_asked_last() -> None:
    asks = {"name": "a", "restartPolicy": "Never", "restartPolicyRules": [rule("RestartAllContainers", "In", 88)]}
    spec = pod(asks, {"name": "b"}, initContainers=[{"name": "i"}], restartPolicy="Never")
    found = state(exited("a", 88), running("b"), exited("i"))
    assert restarts_all(spec, found, None)
    assert [c.name for c in reset_order(spec, found)] == ["b", "i", "a"]
    assert not restarts_all(spec, state(exited("a", 1), running("b")), None)
    condition = restarting_condition(spec, found, {}, "Running", "now")[0]
    assert (condition["status"], condition["reason"]) == ("True", "RestartAllContainersStarted")
    # Once begun, it goes on until nothing is left.
    begun = {"conditions": [condition]}
    assert restarts_all(spec, state(exited("i")), begun)
    assert restarting_condition(spec, state(), begun, "Running", "now")[0]["status"] == "False"
    assert restarting_condition(spec, state(), begun, "Failed", "now")[0]["reason"] == "PodFailed"


def test_another_image_restarts_the_container() -> None:
    container = {"name": "a", "image": "new"}
    old = ContainerState("id-a", "a", RUNNING, "box", 1.0, 2.0, hash=container_hash({"name": "a", "image": "old"}))
    plan = make_plan(pod(container, restartPolicy="Never"), state(old), {})
    assert [k.message for k in plan.kill] == ["Container a definition changed, will be restarted"]
    assert plan.start == [container]


def test_ephemeral_containers_start_once_and_count_for_nothing() -> None:
    spec = pod({"name": "a"}, ephemeralContainers=[{"name": "d"}], restartPolicy="Never")
    assert [c["name"] for c in make_plan(spec, state(running()), {}).debug] == ["d"]
    plan = make_plan(spec, state(exited(), running("d")), {})
    assert (plan.debug, plan.kill_pod) == ([], True)
    waits = pod({"name": "a"}, initContainers=[{"name": "i"}], ephemeralContainers=[{"name": "d"}])
    assert [c["name"] for c in make_plan(waits, state(running("i")), {}).debug] == ["d"]


# -- resizing ---------------------------------------------------------------------------------------------------------


def test_resources_are_told_apart_by_their_amounts() -> None:
    spec = pod({"name": "a", "resources": given("1", "1Gi")})
    assert not differs(spec, resources_of(pod({"name": "a", "resources": given("1000m", "1024Mi")})))
    assert differs(spec, resources_of(pod({"name": "a", "resources": given("2", "1Gi")})))
    assert with_resources(spec, resources_of(spec)) is spec
    other = with_resources(spec, resources_of(pod({"name": "a", "resources": given("2", "1Gi")})))
    assert other["spec"]["containers"][0]["resources"] == given("2", "1Gi")
    assert Amounts.of({"requests": {"cpu": "1"}}, {"limits": {"cpu": "2", "memory": "1Ki"}}) == (1000, 2000, 0, 1024)


def test_what_shrinks_makes_room_for_what_grows() -> None:
    before = pod({"name": "a", "resources": given("1", "1Gi")}, {"name": "b", "resources": given("2", "2Gi")})
    after = pod({"name": "a", "resources": given("2", "1Gi")}, {"name": "b", "resources": given("1", "3Gi")})
    plan = plan_resize(after, state(running("a"), running("b")), resources_of(before))
    assert [u.container["name"] for u in plan.cpu] == ["b", "a"]
    assert [u.container["name"] for u in plan.memory] == ["b"]
    assert plan.cpu[0].limits == Limits(1024, 100_000, 3 << 30)
    assert in_progress(after, state(running("a"), running("b")), resources_of(before))
    assert not in_progress(after, state(exited("a"), exited("b")), resources_of(before))


@pytest.mark.parametrize(
    ("resource", "restarted"),
    [("cpu", ["a"]), ("memory", [])],
)
def test_a_policy_asks_for_a_restart(resource: str, restarted: list[str]) -> None:
    policy = [{"resourceName": resource, "restartPolicy": "RestartContainer"}]
    after = pod({"name": "a", "resources": given("2", "1Gi"), "resizePolicy": policy})
    before = resources_of(pod({"name": "a", "resources": given("1", "1Gi")}))
    resize = plan_resize(after, state(running()), before)
    assert [c.name for c in resize.restart] == restarted
    plan = make_plan(after, state(running()), {})
    restart_for_resize(after, plan, resize)
    assert [k.message for k in plan.kill] == ["Container a resize requires restart" for _ in restarted]
    assert [c["name"] for c in plan.start] == restarted


def test_memory_is_not_taken_below_its_use() -> None:
    after = pod({"name": "a", "resources": given("1", "1Mi")})
    plan = plan_resize(after, state(running()), resources_of(pod({"name": "a", "resources": given("1", "9Mi")})))
    now, wanted = Limits(memory=9 << 20), Limits(memory=1 << 20)
    assert shrinking_below_use(plan, now, wanted, 5, {"a": 5}) == ""
    assert shrinking_below_use(plan, now, wanted, 2 << 20, {"a": 0}) == (
        "cannot decrease memory limits: attempting to set pod memory limit (1048576) below current usage (2097152)"
    )
    assert shrinking_below_use(plan, now, wanted, 2 << 20, {"a": 2 << 20}).startswith(
        "cannot decrease memory limits: [attempting to set pod"
    )


def test_the_summary_in_events() -> None:
    spec = pod(
        {"name": "a", "resources": {"limits": {"memory": "1024Ki", "cpu": "0.5"}}}, initContainers=[{"name": "i"}]
    )
    assert summary(spec, 3, "no") == (
        '{"initContainers":[{"name":"i","resources":{}}],'
        '"containers":[{"name":"a","resources":{"limits":{"cpu":"500m","memory":"1Mi"}}}],"generation":3,"error":"no"}'
    )


# -- resources of the pod as a whole ----------------------------------------------------------------------------------


def test_a_pod_has_resources_as_a_whole() -> None:
    spec = pod({"name": "a", "resources": {"requests": {"memory": "1Mi"}}}, {"name": "b"}, resources=given("1", "4Mi"))
    assert qos_class(spec) == "Guaranteed"
    assert pod_limits(spec) == Limits(1024, 100_000, 4 << 20)
    assert container_limits(spec, spec["spec"]["containers"][1]) == Limits(2, 100_000, 4 << 20)
    assert pod_allocation(spec, spec) == {
        "allocatedResources": {"cpu": "1", "memory": "4Mi"},
        "resources": {"limits": {"cpu": "1", "memory": "4Mi"}, "requests": {"cpu": "1", "memory": "4Mi"}},
    }
    assert qos_class(pod({"name": "a"}, resources={"requests": {"cpu": "1"}})) == "Burstable"
    assert pod_allocation(pod(), pod()) == {"resources": {}}
    odd = pod({"name": "a"}, resources={"requests": {"cpu": "4m", "memory": "10m"}}, overhead={"cpu": "1m"})
    assert pod_allocation(odd, None)["allocatedResources"] == {"cpu": "5m", "memory": "10m"}
    # What it was given, and what it has still.
    more = with_resources(spec, {"containers": {}, "pod": given("2", "4Mi")})
    found = pod_allocation(more, spec)
    assert (found["allocatedResources"]["cpu"], found["resources"]["limits"]["cpu"]) == ("2", "1")


def test_who_is_killed_first_when_memory_is_short() -> None:
    small = {"name": "a", "resources": {"requests": {"memory": "100Mi"}}}
    sidecar = {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"memory": "1Mi"}}}
    spec = pod(small, initContainers=[sidecar])
    assert oom_score(spec, small, 1000 << 20) == 900
    assert oom_score(spec, sidecar, 1000 << 20) == 900  # not before the one that it serves
    shared = pod({"name": "a"}, {"name": "b"}, resources={"requests": {"memory": "400Mi"}})
    assert oom_score(shared, shared["spec"]["containers"][0], 1000 << 20) == 800


# -- what a node refuses ----------------------------------------------------------------------------------------------

NODE: Spec = {
    "metadata": {"name": "n", "labels": {"disk": "ssd", "kubernetes.io/os": "linux"}},
    "spec": {},
    "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "3", "vendor/card": "1"}},
}


def affinity(key: str, *values: str) -> Spec:
    term = {"matchExpressions": [{"key": key, "operator": "In", "values": list(values)}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"affinity": {"nodeAffinity": required}}


def port(number: int, **more: Any) -> Spec:
    return {"name": "a", "ports": [{"containerPort": number, "hostPort": number, **more}]}


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (pod(), ""),
        (pod(nodeSelector={"disk": "ssd"}), ""),
        (pod(nodeSelector={"disk": "tape"}), "NodeAffinity"),
        (pod(**affinity("disk", "ssd", "tape")), ""),
        (pod(**affinity("disk", "tape")), "NodeAffinity"),
        (pod(nodeName="other"), "NodeName"),
        (pod({"name": "a", "resources": {"requests": {"cpu": "3"}}}), ""),
        (pod({"name": "a", "resources": {"requests": {"cpu": "3500m"}}}), "OutOfcpu"),
        (pod({"name": "a", "resources": {"requests": {"memory": "9Gi"}}}), "OutOfmemory"),
        (pod({"name": "a", "resources": {"requests": {"ephemeral-storage": "1"}}}), "OutOfephemeral-storage"),
        (pod({"name": "a", "resources": {"requests": {"vendor/card": "2"}}}), "OutOfvendor/card"),
        (pod({"name": "a", "resources": {"requests": {"unknown/card": "2"}}}), ""),
        (pod(port(80)), "NodePorts"),
        (pod(port(80, protocol="UDP")), ""),
        (pod(port(81)), ""),
        (pod(os={"name": "windows"}), "PodOSNotSupported"),
        (pod(securityContext={"supplementalGroupsPolicy": "Strict"}), "SupplementalGroupsPolicyNotSupported"),
        (pod(securityContext={"supplementalGroupsPolicy": "Merge"}), ""),
        (pod(securityContext={"appArmorProfile": {"type": "RuntimeDefault"}}), "AppArmor"),
        (pod(securityContext={"appArmorProfile": {"type": "Unconfined"}}), ""),
        (pod(securityContext={"sysctls": [{"name": "kernel.sem", "value": "1"}]}), "SysctlForbidden"),
    ],
)
def test_what_a_node_refuses(spec: Spec, reason: str) -> None:
    other = pod({**port(80), "resources": {"requests": {"cpu": "1"}}})
    found = judge(spec, NODE, [other])
    assert (found.reason if found else "") == reason


def test_taints_and_full_nodes() -> None:
    taint = {"key": "gone", "effect": "NoExecute", "value": "x"}
    tainted = {**NODE, "spec": {"taints": [taint, {"key": "else", "effect": "NoSchedule"}]}}
    found = judge(pod(), tainted, [])
    assert found is not None
    assert found.message == "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"
    for toleration in ({"operator": "Exists"}, {"key": "gone", "value": "x"}, {"key": "gone", "operator": "Exists"}):
        assert judge(pod(tolerations=[toleration]), tainted, []) is None
    assert judge(pod(tolerations=[{"key": "gone", "value": "y"}]), tainted, []) is not None
    static = pod()
    static["metadata"]["annotations"] = {"kubernetes.io/config.source": "file"}
    assert judge(static, tainted, []) is None
    full = lacking(pod(), NODE, [pod(), pod(), pod()])
    assert full is not None
    assert full.message == "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3"


@pytest.mark.parametrize(
    ("name", "spec", "why"),
    [
        ("kernel.shm_rmid_forced", {}, ""),
        ("net/ipv4/ip_local_port_range", {}, ""),
        ("kernel.shm_rmid_forced", {"hostIPC": True}, "not allowed with host IPC enabled"),
        ("net.ipv4.tcp_syncookies", {"hostNetwork": True}, "not allowed with host Net enabled"),
        ("kernel.msgmax", {}, "not allowlisted"),
    ],
)
def test_kernel_settings(name: str, spec: Spec, why: str) -> None:
    found = sysctls.Allowlist().forbidden(pod(**spec, securityContext={"sysctls": [{"name": name, "value": "1"}]}))
    assert found == (f'forbidden sysctl: "{sysctls.normal_name(name)}" {why}' if why else "")


# -- small texts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A='1'\nB='2' # two\n", "2"),
        ("# B='0'\n\n  B='x'", "x"),
        ("B='one\ntwo'", "one\ntwo"),
        ("B= 'x'", ""),
        ("A='1'", ""),
        ("B=''", ""),
    ],
)
def test_variables_in_files(text: str, value: str) -> None:
    assert env_files.value_in(text, "B") == value


@pytest.mark.parametrize("text", ["nothing", "='x'", "B ='x'", "B=x", "B='x", "B='x'y"])
def test_files_that_hold_no_variables(text: str) -> None:
    with pytest.raises(env_files.BadFile):
        env_files.value_in(text, "B")


def test_a_file_is_read_within_its_volume(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "secret").write_text("A='1'")
    (tmp_path / "v" / "link").symlink_to("../secret")
    (tmp_path / "v" / "file").write_text("A='2'")
    assert env_files.read(tmp_path / "v", "file") == "A='2'"
    for path in ("link", "../secret", "."):
        with pytest.raises((env_files.BadFile, OSError)):
            env_files.read(tmp_path / "v", path)


def test_what_a_pod_has_mounted() -> None:
    volumes = [
        {"name": "a", "configMap": {"name": "one"}},
        {"name": "b", "secret": {"secretName": "two"}},
        {"name": "c", "projected": {"sources": [{"secret": {"name": "three"}}, {"downwardAPI": {}}]}},
        {"name": "d", "emptyDir": {}},
    ]
    found = {(gvr.resource, namespace, name) for gvr, namespace, name in mounted(pod(volumes=volumes))}
    assert found == {("configmaps", "ns", "one"), ("secrets", "ns", "two"), ("secrets", "ns", "three")}


def test_dns_that_is_too_much() -> None:
    fits = Dns(("1", "2", "3"), ("a", "b"), ())
    assert within_limits(fits) == (fits, [])
    found, said = within_limits(Dns(("1", "2", "3", "4"), ("x" * 254, "ok"), ()))
    assert (found.servers, found.searches) == (("1", "2", "3"), ("ok",))
    assert said[0].endswith("the applied nameserver line is: 1 2 3")
    assert said[1].endswith("the applied search line is: ok")


def test_http_requests_of_probes() -> None:
    container = {"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}
    made = from_action({"path": "a b?q=1", "port": "web", "scheme": "HTTPS"}, container, "fd00::1")
    assert made.url == "https://[fd00::1]:8080/a%20b?q=1"
    assert dict(made.headers) == {"User-Agent": "kube-probe/1.36", "Accept": "*/*"}
    assert join("10.0.0.1", 80) == "10.0.0.1:80"
    for bad in ("none", 0, 70000):
        with pytest.raises(ValueError, match=r"couldn't find port|invalid port"):
            resolve_port(bad, container)


def test_manifests() -> None:
    text = b"apiVersion: v1\nkind: Pod\nmetadata: {name: web, labels: {a: b}}\nspec: {containers: [{name: c}]}"
    found = from_manifest(text, "/m/web.yaml", "Node-1")
    assert (found["metadata"]["name"], found["metadata"]["namespace"]) == ("web-node-1", "default")
    assert found["metadata"]["uid"] == found["metadata"]["annotations"]["kubernetes.io/config.hash"]
    assert found["spec"]["nodeName"] == "Node-1"
    assert found["spec"]["tolerations"] == [{"operator": "Exists", "effect": "NoExecute"}]
    again = from_manifest(text, "/m/web.yaml", "Node-1")
    assert again["metadata"]["uid"] == found["metadata"]["uid"]
    assert from_manifest(text, "/m/other.yaml", "Node-1")["metadata"]["uid"] != found["metadata"]["uid"]
    mirror = mirror_of(found, {"metadata": {"name": "Node-1", "uid": "n"}})
    assert mirror["metadata"]["annotations"]["kubernetes.io/config.mirror"] == found["metadata"]["uid"]
    assert "uid" not in mirror["metadata"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[",
        b"- a",
        b"kind: Pod",
        b"\xff\xfe\x00",
        b"apiVersion: v1\nkind: Service",
        b"apiVersion: v1\nkind: Pod",
        b"apiVersion: v1\nkind: Pod\nmetadata: {name: x}",
        b"apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [1]}",
        b"[" * 5000,
        *(
            (
                f"apiVersion: v1\nkind: Pod\nmetadata: {{{metadata}}}\n"
                f"spec: {{containers: [{{name: {container}}}]{spec}}}"
            ).encode()
            for metadata, container, spec in (
                ("name: ../x", "c", ""),
                ("name: x, namespace: ../y", "c", ""),
                ("name: x, uid: ../../../etc", "c", ""),
                ("name: x, annotations: [a]", "c", ""),
                ("name: x, labels: 5", "c", ""),
                ("name: x", "../c", ""),
                ("name: x", "c", ", tolerations: 5"),
                ("name: x", "c", ", volumes: [{name: ../v}]"),
                ("name: x", "c", ", initContainers: [a]"),
            )
        ),
    ],
)
def test_what_is_no_manifest(text: bytes) -> None:
    with pytest.raises(BadManifest):
        from_manifest(text, "f", "n")


def test_pods_that_run_according_to_containerd() -> None:
    def found(name: str, uid: str, state: int) -> Any:
        named = {labels.POD_UID: uid, labels.POD_NAME: f"p{uid}", labels.POD_NAMESPACE: "ns"}
        return cri.Container(metadata=cri.ContainerMetadata(name=name), image_ref="i", state=state, labels=named)

    ran = [found("a", "1", cri.CONTAINER_RUNNING), found("b", "1", cri.CONTAINER_RUNNING)]
    listed = running_pods([*ran, found("c", "2", cri.CONTAINER_EXITED)])
    assert [(p["metadata"]["name"], len(p["spec"]["containers"])) for p in listed] == [("p1", 2)]
