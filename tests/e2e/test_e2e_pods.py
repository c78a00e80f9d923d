"""Pods as kubectl has them: commands in them, files, logs, ports, volumes, limits, Deployments, Services, names."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.cloud import Cloud

pytestmark = pytest.mark.e2e
NAMESPACE = "pods"


def container(name: str = "main", *command: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "image": "busybox",
        "imagePullPolicy": "IfNotPresent",
        "command": list(command) or ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.2; done"],
        **fields,
    }


def pod(name: str, *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": list(containers) or [container()], "terminationGracePeriodSeconds": 2, **spec},
    }


class Space:
    """The namespace of these tests."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.wait = cloud.wait

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.cloud.kubectl("-n", NAMESPACE, *arguments, stdin=stdin, check=check)

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json").stdout)

    def apply(self, *manifests: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", stdin="\n".join(json.dumps(m) for m in manifests))

    def start(self, manifest: dict[str, Any]) -> str:
        """Apply the pod and wait until it is ready; its name."""
        name = str(manifest["metadata"]["name"])
        self.apply(manifest)
        self.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=30s")
        return name

    def status(self, name: str, index: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = self.get("pod", name)["status"]["containerStatuses"][index]
        return found


@pytest.fixture(scope="module")
def space(cloud: Cloud) -> Iterator[Space]:
    cloud.kubectl("create", "namespace", NAMESPACE)
    cloud.wait(lambda: cloud.kubectl("-n", NAMESPACE, "get", "serviceaccount", "default"), 10, "the service account")
    yield Space(cloud)
    cloud.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s")


@pytest.fixture(scope="module")
def busy(space: Space) -> str:
    return space.start(pod("busy"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# -- streams ----------------------------------------------------------------------------------------------------------


def test_exec_has_input_its_end_and_exit_codes(space: Space, busy: str) -> None:
    assert space.kubectl("exec", "-i", busy, "--", "cat", stdin="x\ny\n").stdout == "x\ny\n"
    big = "0123456789abcdef\n" * 60000
    assert (
        space.kubectl("exec", "-i", busy, "--", "md5sum", stdin=big).stdout.split()[0]
        == (subprocess.run(["md5sum"], input=big, capture_output=True, text=True, check=True).stdout.split()[0])
    )
    done = space.kubectl("exec", busy, "--", "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (done.returncode, done.stdout) == (7, "out\n")
    assert done.stderr.splitlines() == ["err", "command terminated with exit code 7"]
    missing = space.kubectl("exec", busy, "--", "nothing-like-it", check=False)
    assert missing.returncode == 126 or missing.returncode == 1 or missing.returncode == 127
    assert "nothing-like-it" in missing.stderr
    absent = space.kubectl("exec", "absent", "--", "true", check=False)
    assert absent.stderr.strip() == 'Error from server (NotFound): pods "absent" not found'


def test_logs_whole_tail_since_follow_and_previous(space: Space) -> None:
    script = "i=0; while [ $i -lt 5 ]; do i=$((i+1)); echo line $i; done; sleep 1; echo last; exit 3"
    space.apply(pod("talker", container("main", "sh", "-c", script)))
    space.wait(lambda: "line 5" in space.kubectl("logs", "talker").stdout, 20, "the log")
    assert space.kubectl("logs", "talker", "--tail=2").stdout.splitlines()[-1] in ("line 5", "last")
    followed = space.kubectl("logs", "-f", "talker").stdout.splitlines()
    assert followed == [f"line {n}" for n in range(1, 6)] + ["last"]
    stamped = space.kubectl("logs", "talker", "--timestamps", "--tail=1", "--previous", check=False)
    space.wait(lambda: space.status("talker")["restartCount"] >= 1, 20, "a restart")
    before = space.kubectl("logs", "talker", "--previous").stdout.splitlines()
    assert before[-1] == "last"
    assert stamped.returncode in (0, 1)
    done = space.status("talker")["lastState"]["terminated"]
    assert (done["exitCode"], done["reason"]) == (3, "Error")
    space.kubectl("delete", "pod", "talker", "--now")


def test_a_container_that_ends_is_started_again_within_a_second_or_two(space: Space, busy: str) -> None:
    before = space.status(busy)
    began = time.monotonic()
    space.kubectl("exec", busy, "--", "kill", "1", check=False)
    space.wait(lambda: space.status(busy)["restartCount"] == before["restartCount"] + 1, 10, "the restart")
    space.wait(lambda: space.status(busy)["ready"], 10, "ready again")
    print(f"restarted in {time.monotonic() - began:.1f} s")
    assert space.status(busy)["containerID"] != before["containerID"]


def test_attach_run_and_copy(space: Space, busy: str, tmp_path: Path) -> None:
    done = space.kubectl(
        "run", "once", "-i", "--rm", "--restart=Never", "--image=busybox", "--image-pull-policy=IfNotPresent",
        "--", "sh", "-c", "read x; echo got $x", stdin="hello\n",
    )  # fmt: skip
    assert "got hello" in done.stdout
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "file").write_bytes(bytes(range(256)) * 4096)
    space.kubectl("cp", str(source), f"{NAMESPACE}/{busy}:/tmp/copied")
    space.kubectl("cp", f"{NAMESPACE}/{busy}:/tmp/copied/deep/file", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == (source / "deep" / "file").read_bytes()


def test_port_forward(space: Space) -> None:
    space.start(pod("web", container("main", "httpd", "-f", "-p", "8080", "-h", "/etc")))
    port = free_port()
    command = ["kubectl", "-n", NAMESPACE, "port-forward", "pod/web", f"{port}:8080"]
    with subprocess.Popen(command, env=space.cloud.env, stdout=subprocess.PIPE, text=True) as forward:
        try:
            assert forward.stdout is not None
            assert forward.stdout.readline() == f"Forwarding from 127.0.0.1:{port} -> 8080\n"
            for _ in range(3):
                page = subprocess.run(
                    ["curl", "-s", f"http://127.0.0.1:{port}/hostname"], capture_output=True, text=True, check=True
                )
                assert page.stdout == "web\n"
        finally:
            forward.terminate()
    space.kubectl("delete", "pod", "web", "--now")


# -- what a pod is given ----------------------------------------------------------------------------------------------


def test_init_containers_environment_and_volumes(space: Space, tmp_path: Path) -> None:
    (tmp_path / "given").write_text("from the host\n")
    space.kubectl("create", "configmap", "settings", "--from-literal=colour=red", "--from-literal=file.conf=a=1")
    space.kubectl("create", "secret", "generic", "keys", "--from-literal=token=s3cret")
    mounts = [
        {"name": "shared", "mountPath": "/shared"},
        {"name": "conf", "mountPath": "/conf"},
        {"name": "keys", "mountPath": "/keys", "readOnly": True},
        {"name": "host", "mountPath": "/host"},
    ]
    env = [
        {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "BOTH", "value": "$(COLOUR)-$(POD)"},
    ]
    manifest = pod(
        "given",
        container(volumeMounts=mounts, env=env),
        initContainers=[container("first", "sh", "-c", "echo made > /shared/made", volumeMounts=mounts)],
        volumes=[
            {"name": "shared", "emptyDir": {}},
            {"name": "conf", "configMap": {"name": "settings"}},
            {"name": "keys", "secret": {"secretName": "keys", "defaultMode": 0o400}},
            {"name": "host", "hostPath": {"path": str(tmp_path), "type": "Directory"}},
        ],
    )
    name = space.start(manifest)

    def ran(script: str) -> str:
        return space.kubectl("exec", name, "--", "sh", "-c", script).stdout.strip()

    assert ran("cat /shared/made /conf/file.conf /keys/token /host/given").split("\n") == [
        "made", "a=1s3cretfrom the host",
    ]  # fmt: skip
    assert ran("echo $COLOUR $TOKEN $POD $BOTH") == "red s3cret given red-given"
    assert ran("stat -L -c %a /keys/token") == "400"
    assert "Read-only" in space.kubectl("exec", name, "--", "touch", "/keys/x", check=False).stderr
    init = space.get("pod", name)["status"]["initContainerStatuses"][0]
    assert init["state"]["terminated"]["reason"] == "Completed"
    space.kubectl("delete", "pod", name, "--now")


def test_a_container_beyond_its_memory_is_killed_and_says_so(space: Space) -> None:
    limits = {"limits": {"memory": "32Mi", "cpu": "500m"}}
    eat = "x=a; while :; do x=$x$x; done"
    space.apply(pod("eater", container("main", "sh", "-c", eat, resources=limits), restartPolicy="Never"))
    space.wait(lambda: space.get("pod", "eater")["status"]["phase"] == "Failed", 30, "the pod failed")
    ended = space.status("eater")["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)
    space.kubectl("delete", "pod", "eater", "--now")


def test_deletion_waits_for_the_grace_that_was_given(space: Space) -> None:
    stubborn = container("main", "sh", "-c", "trap '' TERM; while :; do sleep 0.2; done")
    space.start(pod("stubborn", stubborn, terminationGracePeriodSeconds=3))
    began = time.monotonic()
    space.kubectl("delete", "pod", "stubborn")
    assert 2.5 < time.monotonic() - began < 10
    space.start(pod("polite", terminationGracePeriodSeconds=30))
    began = time.monotonic()
    space.kubectl("delete", "pod", "polite")
    assert time.monotonic() - began < 10


# -- Deployments, Services, names -------------------------------------------------------------------------------------


def deployment(name: str, replicas: int, page: str) -> dict[str, Any]:
    script = f"mkdir /tmp/w && echo {page} $(hostname) > /tmp/w/index.html && exec httpd -f -p 8080 -h /tmp/w"
    probe = {"httpGet": {"path": "/index.html", "port": 8080}, "periodSeconds": 1}
    server = container("web", "sh", "-c", script, readinessProbe=probe)
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [server], "terminationGracePeriodSeconds": 1},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template},
    }


def test_a_deployment_behind_a_service(space: Space, busy: str) -> None:
    space.apply(deployment("shop", 3, "one"))
    space.kubectl("expose", "deployment", "shop", "--port=80", "--target-port=8080")
    space.kubectl("rollout", "status", "deployment/shop", "--timeout=60s")
    pods = {p["metadata"]["name"] for p in space.get("pods", "-l", "app=shop")["items"]}
    assert len(pods) == 3

    def pages(count: int) -> list[str]:
        loop = f"for i in $(seq {count}); do wget -q -O - http://shop/index.html; done"
        return space.kubectl("exec", busy, "--", "sh", "-c", loop).stdout.splitlines()

    space.wait(lambda: len(pages(1)) == 1, 20, "the service's first answer")
    answers = pages(60)
    assert len(answers) == 60
    assert {a.split()[1] for a in answers} == pods
    assert {a.split()[0] for a in answers} == {"one"}

    space.apply(deployment("shop", 3, "two"))
    space.kubectl("rollout", "status", "deployment/shop", "--timeout=60s")
    space.wait(lambda: {a.split()[0] for a in pages(9)} == {"two"}, 20, "the new page only")
    space.kubectl("rollout", "undo", "deployment/shop")
    space.kubectl("rollout", "status", "deployment/shop", "--timeout=60s")
    space.wait(lambda: {a.split()[0] for a in pages(9)} == {"one"}, 20, "the old page again")

    space.kubectl("scale", "deployment/shop", "--replicas=1")
    space.wait(lambda: len({a.split()[1] for a in pages(12)}) == 1, 20, "one answering")
    space.wait(lambda: len(space.get("pods", "-l", "app=shop")["items"]) == 1, 20, "one pod left")
    space.kubectl("delete", "deployment,service", "shop")


def test_names_inside_the_cluster(space: Space, busy: str) -> None:
    dns = space.cloud.get("-n", "kube-system", "service", "kube-dns")["spec"]["clusterIP"]
    resolv = space.kubectl("exec", busy, "--", "cat", "/etc/resolv.conf").stdout
    assert f"nameserver {dns}\n" in resolv
    assert f"search {NAMESPACE}.svc.cluster.local svc.cluster.local cluster.local" in resolv
    kubernetes = space.cloud.get("-n", "default", "service", "kubernetes")["spec"]["clusterIP"]
    for name in ("kubernetes.default", "kubernetes.default.svc.cluster.local"):
        found = space.kubectl("exec", busy, "--", "nslookup", name, check=False).stdout
        if name.endswith("local"):
            assert re.search(rf"Address.*: {re.escape(kubernetes)}\b", found), found
    assert (
        kubernetes in space.kubectl("exec", busy, "--", "ping", "-c1", "-W1", "kubernetes.default", check=False).stdout
    )
    gone = space.kubectl("exec", busy, "--", "nslookup", "absent.default.svc.cluster.local", check=False)
    assert "NXDOMAIN" in gone.stdout + gone.stderr
