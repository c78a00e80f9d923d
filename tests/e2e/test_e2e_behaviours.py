"""Behaviours that no other module shows with real containers: many small checks in few pods, by the real kubectl."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.cloud import Cloud

pytestmark = pytest.mark.e2e
NAMESPACE = "behaviours"
Manifest = dict[str, Any]
LOOP = "while :; do sleep 0.1; done"
WAIT = f"trap 'exit 0' TERM; {LOOP}"


def container(script: str = WAIT, name: str = "main", **fields: Any) -> Manifest:
    command = ["sh", "-c", script]
    return {"name": name, "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": command, **fields}


def pod(name: str, *containers: Manifest, **spec: Any) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": list(containers) or [container()], "terminationGracePeriodSeconds": 1, **spec},
    }


def once(name: str, script: str, *, fields: Manifest | None = None, **spec: Any) -> Manifest:
    """A pod that runs the script and ends."""
    return pod(name, container(script, **(fields or {})), restartPolicy="Never", **spec)


def workload(kind: str, name: str, template: Manifest, api: str = "apps/v1", **spec: Any) -> Manifest:
    labels = {"app": name}
    selector = labels if kind == "ReplicationController" else {"matchLabels": labels}
    inside = {"metadata": {"labels": labels}, "spec": template["spec"]}
    spec = {"selector": selector, "template": inside, **spec}
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec}


class Diary:
    """A file of the node that pods write lines into: in which order things happened."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "diary"
        self.path.touch()

    def pod(self, name: str = "any", **fields: Any) -> Manifest:
        """A pod that writes that it starts, is asked for its readiness the first time, and ends."""
        script = (
            f"echo start $(hostname) $PAGE >> /diary; trap 'echo end $(hostname) $PAGE >> /diary; exit 0' TERM; {LOOP}"
        )
        probe = "[ -e /tmp/asked ] || { touch /tmp/asked; echo ready $(hostname) $PAGE >> /diary; }"
        main = container(script, readinessProbe={"exec": {"command": ["sh", "-c", probe]}, "periodSeconds": 1})
        main |= {"volumeMounts": [{"name": "diary", "mountPath": "/diary"}], "env": [{"name": "PAGE", "value": "one"}]}
        main["volumeMounts"] += fields.pop("mounts", [])
        volumes = [{"name": "diary", "hostPath": {"path": str(self.path), "type": "File"}}]
        return pod(name, main, volumes=volumes, **fields)

    def lines(self) -> list[str]:
        return self.path.read_text().splitlines()

    def numbers(self, word: str) -> list[int]:
        """The positions of the lines that begin with the word."""
        return [n for n, line in enumerate(self.lines()) if line.startswith(word)]


class Space:
    """The tests' namespace in the cloud."""

    def __init__(self, cloud: Cloud, namespace: str = NAMESPACE) -> None:
        self.cloud = cloud
        self.namespace = namespace
        self.wait = cloud.wait

    def kubectl(self, *arguments: str, check: bool = True) -> str:
        done = self.cloud.kubectl("-n", self.namespace, *arguments, check=check)
        return done.stdout + ("" if done.returncode == 0 else done.stderr)

    def apply(self, *manifests: Manifest) -> None:
        self.cloud.kubectl("-n", self.namespace, "apply", "-f", "-", stdin="\n".join(json.dumps(m) for m in manifests))

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def ready(self, *names: str) -> None:
        self.kubectl("wait", "--for=condition=Ready", *(f"pod/{n}" for n in names), "--timeout=60s")

    def exec(self, name: str, script: str, container: str = "main") -> str:
        return self.kubectl("exec", name, "-c", container, "--", "sh", "-c", script).strip()

    def ended(self, name: str) -> Manifest:
        """How the pod's only container ended, once it has."""

        def state() -> Any:
            return self.get("pod", name)["status"]["containerStatuses"][0]["state"].get("terminated")

        found: Manifest = self.wait(state, 60, f"the end of {name}")
        return found

    def told(self, name: str, reason: str) -> str:
        """The message of an event about the object, once there is one."""

        def messages() -> list[str]:
            selector = f"--field-selector=involvedObject.name={name},reason={reason}"
            return [e["message"] for e in self.get("events", selector)["items"]]

        return str(self.wait(messages, 60, f"the event {reason} of {name}")[0])


@pytest.fixture(scope="module")
def space(cloud: Cloud) -> Iterator[Space]:
    cloud.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=60s")
    cloud.kubectl("create", "namespace", NAMESPACE)
    cloud.wait(lambda: cloud.kubectl("-n", NAMESPACE, "get", "serviceaccount", "default"), 60, "the service account")
    yield Space(cloud)
    cloud.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s", check=False)


@pytest.fixture
def diary(tmp_path: Path) -> Diary:
    return Diary(tmp_path)


# -- what a container sees ------------------------------------------------------------------------------------------


def namespaces(space: Space, name: str, container: str = "main") -> dict[str, str]:
    kinds = ("net", "pid", "ipc", "uts")
    links = space.exec(name, f"for n in {' '.join(kinds)}; do readlink /proc/self/ns/$n; done", container).split()
    return dict(zip(kinds, links, strict=True))


def test_namespaces_are_the_pods_the_nodes_or_shared(space: Space) -> None:
    space.apply(
        pod("own", container(), container(name="other")),
        pod("nodes", container(), hostNetwork=True, hostPID=True, hostIPC=True),
        pod("shared", container(), container(name="other"), shareProcessNamespace=True),
    )
    space.ready("own", "nodes", "shared")
    main, other = namespaces(space, "own"), namespaces(space, "own", "other")
    node = space.cloud.pid("node")
    host = {kind: os.readlink(f"/proc/{node}/ns/{kind}") for kind in main}
    assert not set(main.values()) & set(host.values())
    assert {k for k in main if main[k] == other[k]} == {"net", "ipc", "uts"}
    nodes = namespaces(space, "nodes")
    assert {k for k in nodes if nodes[k] == host[k]} >= {"net", "pid", "ipc"}
    assert namespaces(space, "shared")["pid"] == namespaces(space, "shared", "other")["pid"]
    assert space.exec("shared", "cat /proc/1/comm") == "pause"
    assert space.exec("own", "cat /proc/1/comm") == "sh"
    space.kubectl("delete", "pod", "own", "nodes", "shared", "--now", "--wait=false")


def test_kernel_files_names_and_paths_as_the_pod_says(space: Space, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "f").write_text("of plain\n")
    covered = "awk '$5 ~ /^.proc./ {print $5}' /proc/self/mountinfo"  # what is masked or read-only
    look = f"{covered} | grep -xE '/proc/(sys|keys)'; touch /proc/sys/kernel/domainname 2>/dev/null || echo closed"
    path = {"name": "v", "mountPath": "/v", "subPathExpr": "$(POD)"}
    name = {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    space.apply(
        once("plain", f"{look}; cat /v/f", fields={"env": [name], "volumeMounts": [path]},
             volumes=[{"name": "v", "hostPath": {"path": str(tmp_path)}}]),
        once("mighty", f"{look}; grep CapEff /proc/self/status", fields={"securityContext": {"privileged": True}}),
        once("long", "hostname", hostname="one", subdomain="many", setHostnameAsFQDN=True),
    )  # fmt: skip
    unmasked = once("bare", "true", fields={"securityContext": {"procMount": "Unmasked"}})
    refused = space.cloud.kubectl("-n", NAMESPACE, "create", "-f", "-", stdin=json.dumps(unmasked), check=False)
    assert 'procMount: Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`' in refused.stderr
    for pod_name in ("plain", "mighty", "long"):
        assert space.ended(pod_name)["exitCode"] == 0
    assert sorted(space.kubectl("logs", "plain").splitlines()) == ["/proc/keys", "/proc/sys", "closed", "of plain"]
    (capabilities,) = space.kubectl("logs", "mighty").splitlines()
    bounding = next(
        w for w in Path(f"/proc/{space.cloud.pid('node')}/status").read_text().splitlines() if "CapBnd" in w
    )
    assert capabilities.split()[1] == bounding.split()[1]
    assert space.kubectl("logs", "long").strip() == f"one.many.{NAMESPACE}.svc.cluster.local"


def test_last_words_are_in_the_status(space: Space) -> None:
    """From a file of one's own name; from the log, if there is no file and the container failed."""
    words = {"terminationMessagePath": "/tmp/words"}
    from_log = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    space.apply(
        once("file", "echo in the log; echo -n in the file > /tmp/words; exit 7", fields=words),
        once("log", "echo first; echo -n last; exit 9", fields=from_log),
        once("fine", "echo in the log", fields=from_log),
    )
    found = [(e["exitCode"], e["reason"], e.get("message")) for e in map(space.ended, ("file", "log", "fine"))]
    assert found == [(7, "Error", "in the file"), (9, "Error", "first\nlast"), (0, "Completed", None)]


def test_a_runtime_class_adds_what_a_pod_costs(space: Space) -> None:
    """Overhead is in the pod (admission), in its control group (node) and in what the scheduler counts."""
    kind = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "behaviours-heavy"}}
    space.apply({**kind, "handler": "runc", "overhead": {"podFixed": {"memory": "32Mi", "cpu": "100m"}}})
    limits = {"limits": {"memory": "64Mi", "cpu": "100m"}}
    try:
        space.apply(pod("heavy", container(resources=limits), runtimeClassName="behaviours-heavy"))
        space.ready("heavy")
        found = space.get("pod", "heavy")
        assert found["spec"]["overhead"] == {"memory": "32Mi", "cpu": "100m"}
        assert found["status"]["qosClass"] == "Guaranteed"
        uid = found["metadata"]["uid"]
        for pattern in ("memory/**/pod{}/memory.limit_in_bytes", "**/pod{}/memory.max"):
            files = list(Path("/sys/fs/cgroup").glob(pattern.format(uid)))
            if files:
                break
        assert [int(f.read_text()) for f in files] == [96 << 20]
        described = space.cloud.kubectl("describe", "node").stdout
        row = next(line.split() for line in described.splitlines() if line.split()[:2] == [NAMESPACE, "heavy"])
        assert (row[2], row[6]) == ("200m", "96Mi")
    finally:
        space.kubectl("delete", "pod", "heavy", "--now", "--wait=false", check=False)
        space.kubectl("delete", "runtimeclass", "behaviours-heavy")


def test_a_pods_token_is_good_while_the_pod_is(space: Space) -> None:
    space.apply(pod("caller"))
    space.ready("caller")
    folder = "/var/run/secrets/kubernetes.io/serviceaccount"
    token, certificate, own = space.exec("caller", f"cd {folder}; cat token; echo; base64 ca.crt | tr -d '\\n'; echo; cat namespace").split()  # fmt: skip  # noqa: E501
    assert own == NAMESPACE and certificate
    who = ("auth", "whoami", "-o", "json", "--kubeconfig=/dev/null", f"--server=https://127.0.0.1:{space.cloud.port}", "--insecure-skip-tls-verify", f"--token={token}")  # fmt: skip  # noqa: E501
    user = json.loads(space.cloud.kubectl(*who).stdout)["status"]["userInfo"]
    assert user["username"] == f"system:serviceaccount:{NAMESPACE}:default"
    assert user["extra"]["authentication.kubernetes.io/pod-name"] == ["caller"]
    space.kubectl("delete", "pod", "caller", "--now")
    space.wait(lambda: space.cloud.kubectl(*who, check=False).returncode, 60, "the token refused")
    assert "Unauthorized" in space.cloud.kubectl(*who, check=False).stderr


# -- order ------------------------------------------------------------------------------------------------------------


def test_helpers_begin_before_and_end_after_the_main_one(space: Space, diary: Diary) -> None:
    """Init containers one by one, a restartable one stays; hooks that sleep or write; ends in the other order."""

    def said(word: str) -> str:
        return f"echo {word} >> /diary"

    mount = {"volumeMounts": [{"name": "diary", "mountPath": "/diary"}]}
    stay = "trap '{}; exit 0' TERM; " + LOOP
    side = container(f"{said('side')}; " + stay.format(said("side-ends")), "side", restartPolicy="Always", **mount)
    side["startupProbe"] = {"exec": {"command": ["grep", "side", "/diary"]}, "periodSeconds": 1}
    hooks = {"preStop": {"sleep": {"seconds": 1}}, "postStart": {"exec": {"command": ["sh", "-c", said("hook")]}}}
    main = container(f"until grep -q hook /diary; do sleep 0.1; done; {said('main')}; " + stay.format(said("main-ends")), lifecycle=hooks, **mount)  # fmt: skip  # noqa: E501
    init = [container(said("first"), "first", **mount), side, container(said("last"), "last", **mount)]
    volumes = [{"name": "diary", "hostPath": {"path": str(diary.path)}}]
    space.apply(pod("ordered", main, initContainers=init, volumes=volumes))
    space.ready("ordered")
    space.wait(lambda: "main" in diary.lines(), 60, "the main container")
    began = time.monotonic()
    space.kubectl("delete", "pod", "ordered", "--grace-period=20")
    assert 1 <= time.monotonic() - began < 20
    assert diary.lines() == ["first", "side", "last", "hook", "main", "main-ends", "side-ends"]


def test_stateful_sets_in_order_or_at_once_with_claims(space: Space, diary: Diary) -> None:
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "8Mi"}}}
    template = diary.pod(mounts=[{"name": "data", "mountPath": "/data"}])
    kept = {"whenScaled": "Delete", "whenDeleted": "Retain"}
    claims = [{"metadata": {"name": "data"}, "spec": claim}]
    space.apply(
        workload("StatefulSet", "row", template, replicas=2, volumeClaimTemplates=claims,
                 persistentVolumeClaimRetentionPolicy=kept),
        workload("StatefulSet", "flock", pod("any", container("exit 1")), replicas=3, podManagementPolicy="Parallel"),
    )  # fmt: skip
    space.kubectl("rollout", "status", "sts/row", "--timeout=60s")
    assert diary.lines() == [f"{what} row-{n} one" for n in (0, 1) for what in ("start", "ready")]
    space.wait(lambda: len(space.get("pods", "-l", "app=flock")["items"]) == 3, 60, "three though none is ready")
    space.kubectl("delete", "sts", "flock", "--wait=false")

    space.exec("row-0", "echo kept > /data/f")
    before = space.get("pod", "row-0")["metadata"]["uid"]
    space.kubectl("delete", "pod", "row-0")
    space.wait(lambda: space.get("pod", "row-0")["metadata"]["uid"] != before, 60, "another row-0")
    space.ready("row-0")
    assert space.exec("row-0", "cat /data/f") == "kept"
    space.kubectl("patch", "sts", "row", "-p", '{"spec":{"updateStrategy":{"rollingUpdate":{"partition":1}}}}')
    space.kubectl("set", "env", "sts/row", "PAGE=two")
    space.wait(lambda: "ready row-1 two" in diary.lines(), 60, "the second of the new template")
    assert space.exec("row-0", "echo $PAGE") == "one"
    space.kubectl("delete", "pvc", "data-row-0", "--wait=false")
    space.wait(lambda: "deletionTimestamp" in space.get("pvc", "data-row-0")["metadata"], 60, "the deletion asked for")
    assert space.get("pvc", "data-row-0")["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    assert space.exec("row-0", "cat /data/f") == "kept"
    space.kubectl("scale", "sts/row", "--replicas=0")

    def claims_left() -> bool:
        return not space.get("pvc")["items"] and not space.get("pods", "-l", "app=row")["items"]

    space.wait(claims_left, 60, "pods and claims gone")
    ends = [line.split()[1] for line in diary.lines() if line.startswith("end")]
    assert ends == ["row-0", "row-1", "row-1", "row-0"]
    space.kubectl("delete", "sts", "row")


def test_deployments_recreate_pause_fail_and_go_back(space: Space, diary: Diary) -> None:
    space.apply(
        workload("Deployment", "site", diary.pod(), replicas=2, strategy={"type": "Recreate"},
                 revisionHistoryLimit=1),
    )  # fmt: skip
    space.kubectl("rollout", "status", "deployment/site", "--timeout=60s")

    def wanted() -> list[Manifest]:
        found = space.get("pods", "-l", "app=site")["items"]
        return [p for p in found if "deletionTimestamp" not in p["metadata"]]

    def pages() -> set[str]:
        return {p["spec"]["containers"][0]["env"][0]["value"] for p in wanted()}

    space.kubectl("rollout", "pause", "deployment/site")
    space.kubectl("set", "env", "deployment/site", "PAGE=two")
    paused = space.get("deployment", "site")
    generation = paused["metadata"]["generation"]
    space.wait(
        lambda: space.get("deployment", "site")["status"]["observedGeneration"] >= generation, 60, "the change seen"
    )
    assert pages() == {"one"} and len(space.get("rs", "-l", "app=site")["items"]) == 1
    space.kubectl("rollout", "resume", "deployment/site")
    space.wait(lambda: len(diary.numbers("start")) == 4, 60, "new pods")
    assert max(diary.numbers("end")) < diary.numbers("start")[2]  # none of the new before all of the old are gone
    space.kubectl("rollout", "status", "deployment/site", "--timeout=60s")

    deadline = '{"spec":{"progressDeadlineSeconds":%d}}'
    space.kubectl("set", "image", "deployment/site", "main=registry.invalid/none:1")
    space.kubectl("patch", "deployment", "site", "-p", deadline % 1)
    failed = space.kubectl("rollout", "status", "deployment/site", "--timeout=60s", check=False)
    assert 'deployment "site" exceeded its progress deadline' in failed
    space.kubectl("patch", "deployment", "site", "-p", deadline % 600)
    space.kubectl("rollout", "undo", "deployment/site")
    space.kubectl("rollout", "status", "deployment/site", "--timeout=60s")
    assert pages() == {"two"}

    def revisions() -> list[str]:
        return [w for w in space.kubectl("rollout", "history", "deployment/site").split() if w.isdigit()]

    # The first is beyond the limit, the second is the fourth; the history is cut after the status is written.
    space.wait(lambda: revisions() == ["3", "4"], 60, "the history cut")
    old = {p["metadata"]["uid"] for p in wanted()}
    space.kubectl("rollout", "restart", "deployment/site")
    space.kubectl("rollout", "status", "deployment/site", "--timeout=60s")
    assert not old & {p["metadata"]["uid"] for p in wanted()}
    space.kubectl("delete", "deployment", "site", "--wait=false")


def test_older_controllers_and_daemons_by_label(space: Space, diary: Diary) -> None:
    node = space.cloud.get("nodes")["items"][0]["metadata"]["name"]
    selected = pod("any", nodeSelector={"behaviours": "yes"})
    space.apply(
        workload("ReplicationController", "old", pod("any"), "v1", replicas=1),
        workload("DaemonSet", "agent", selected, updateStrategy={"type": "OnDelete"}),
    )
    names = lambda app: {p["metadata"]["name"] for p in space.get("pods", "-l", f"app={app}")["items"]}  # noqa: E731
    (first,) = space.wait(lambda: names("old"), 60, "its pod")
    space.kubectl("delete", "pod", first, "--wait=false")
    space.wait(lambda: names("old") - {first}, 60, "another in its place")
    assert not names("agent")
    space.cloud.kubectl("label", "node", node, "behaviours=yes")
    try:
        (agent,) = space.wait(lambda: names("agent"), 60, "a pod on the node with the label")
        space.ready(agent)
        space.kubectl("set", "env", "ds/agent", "PAGE=two")
        space.wait(lambda: space.get("ds", "agent")["status"]["observedGeneration"] == 2, 60, "the change seen")
        assert names("agent") == {agent}
        space.kubectl("delete", "pod", agent)
        (agent,) = space.wait(lambda: names("agent"), 60, "the next one")
        space.ready(agent)
        assert space.exec(agent, "echo $PAGE") == "two"
    finally:
        space.cloud.kubectl("label", "node", node, "behaviours-")
    space.wait(lambda: not names("agent"), 60, "no pod on the node without the label")
    space.kubectl("delete", "rc,ds", "--all", "--wait=false")


def test_jobs_count_by_index_and_go_when_their_time_is_over(space: Space) -> None:
    def job(name: str, script: str, **spec: Any) -> Manifest:
        template = {"spec": {"containers": [container(script)], "restartPolicy": "Never"}}
        body = {"template": template, **spec}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": body}

    indexed = {"completions": 3, "parallelism": 3, "completionMode": "Indexed", "backoffLimitPerIndex": 0}
    space.apply(
        job("parts", "exit $((JOB_COMPLETION_INDEX == 1))", **indexed),
        job("short", "true", ttlSecondsAfterFinished=0),
    )
    space.kubectl("wait", "--for=condition=Failed", "job/parts", "--timeout=60s")
    status = space.get("job", "parts")["status"]
    assert (status["completedIndexes"], status["failedIndexes"]) == ("0,2", "1")
    assert (status["succeeded"], status["failed"]) == (2, 1)
    space.wait(lambda: not space.kubectl("get", "job,pod", "--no-headers", "-l", "job-name=short", "--ignore-not-found").strip(), 60, "the job gone")  # fmt: skip  # noqa: E501
    space.kubectl("delete", "job", "parts", "--wait=false")


# -- who may go where -------------------------------------------------------------------------------------------------


def test_taints_gates_neighbours_and_rank(space: Space) -> None:
    node = space.cloud.get("nodes")["items"][0]["metadata"]["name"]
    tolerations = [{"key": "behaviours", "operator": "Exists", "effect": "NoSchedule"}]
    thing = "behaviours.kumo.test/thing"
    low, high = container(resources={"limits": {thing: "1"}}), container(resources={"limits": {thing: "1"}})
    rank = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "behaviours"}}
    status = ("patch", "node", node, "--subresource=status", "--type=json", "-p")
    where = f"/status/capacity/{thing.replace('/', '~1')}"
    apart = {"labelSelector": {"matchLabels": {"app": "tolerant"}}, "topologyKey": "kubernetes.io/hostname"}
    anti = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}}
    space.cloud.kubectl(*status, json.dumps([{"op": "add", "path": where, "value": "1"}]))  # offered a little later
    space.cloud.kubectl("taint", "node", node, "behaviours=yes:NoSchedule")
    try:
        space.apply(pod("strange"), pod("tolerant", tolerations=tolerations))
        space.ready("tolerant")
        message = space.told("strange", "FailedScheduling")
        assert message.startswith("0/1 nodes are available: 1 node(s) had untolerated taint(s).")
    finally:
        space.cloud.kubectl("taint", "node", node, "behaviours-", check=False)
    space.ready("strange")

    space.apply(pod("gated", schedulingGates=[{"name": "behaviours.kumo.test/wait"}]), pod("alone", affinity=anti))
    assert "didn't match pod anti-affinity rules" in space.told("alone", "FailedScheduling")
    gate = next(c for c in space.get("pod", "gated")["status"]["conditions"] if c["type"] == "PodScheduled")
    assert (gate["status"], gate["reason"]) == ("False", "SchedulingGated")
    space.kubectl("patch", "pod", "gated", "--type=json", "-p", '[{"op":"remove","path":"/spec/schedulingGates"}]')
    space.kubectl("delete", "pod", "tolerant", "--now", "--wait=false")
    space.ready("gated", "alone")

    try:
        space.apply({**rank, "value": 1000}, pod("low", low))
        space.ready("low")
        space.apply(pod("high", high, priorityClassName="behaviours"))
        space.ready("high")
        assert space.told("low", "Preempted").startswith("Preempted by pod ")
    finally:
        space.cloud.kubectl("delete", "priorityclass", "behaviours", "--ignore-not-found")
        space.cloud.kubectl(*status, json.dumps([{"op": "remove", "path": where}]), check=False)
    space.kubectl("delete", "pod", "strange", "gated", "alone", "high", "--now", "--wait=false")
    space.wait(lambda: thing not in space.cloud.get("node", node)["status"]["allocatable"], 60, "the thing gone")


def test_a_namespace_has_its_limits(cloud: Cloud) -> None:
    name = f"{NAMESPACE}-limited"
    space = Space(cloud, name)
    cloud.kubectl("delete", "namespace", name, "--ignore-not-found", "--timeout=60s")
    cloud.kubectl("create", "namespace", name)
    try:
        item = {"type": "Container", "default": {"memory": "48Mi"}, "max": {"memory": "64Mi"}}
        space.apply(
            {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "r"}, "spec": {"limits": [item]}},
            {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}},
        )
        space.wait(lambda: space.get("quota", "q")["status"]["hard"] == {"pods": "1"}, 60, "the quota counted")
        space.apply(workload("Deployment", "many", pod("any"), replicas=2))
        space.kubectl("wait", "--for=jsonpath={.status.availableReplicas}=1", "deployment/many", "--timeout=60s")
        (running,) = space.get("pods")["items"]
        assert running["spec"]["containers"][0]["resources"]["limits"] == {"memory": "48Mi"}
        files = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null || true"
        assert space.exec(running["metadata"]["name"], files) == str(48 << 20)
        (owner,) = space.get("rs")["items"]
        assert "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1" in space.told(owner["metadata"]["name"], "FailedCreate")  # fmt: skip  # noqa: E501
        failure = {c["type"]: c["reason"] for c in space.get("deployment", "many")["status"]["conditions"]}
        assert failure["ReplicaFailure"] == "FailedCreate"
        big = pod("big", container(resources={"limits": {"memory": "65Mi"}}))
        refused = cloud.kubectl("-n", name, "create", "-f", "-", stdin=json.dumps(big), check=False).stderr
        assert "maximum memory usage per Container is 64Mi, but limit is 65Mi" in refused
    finally:
        cloud.kubectl("delete", "namespace", name, "--timeout=60s", check=False)
