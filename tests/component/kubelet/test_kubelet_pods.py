"""Pods through a real API server, a real kubelet and a real containerd."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from kumo.api.resources import CONFIGMAPS, PODS, SECRETS, SERVICES, core
from kumo.host.containerd.archive import File, build_image
from kumo.kubernetes.controller_manager.volume_binding.controller import VolumeBindingController
from kumo.machinery.informer import Informers
from support.kubelet import BUSYBOX, Node, phase_is, running, running_node, status_of

pytestmark = [pytest.mark.component, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with running_node(tmp_path_factory.mktemp("node"), resync_seconds=0.3) as found:
        yield found


async def output(node: Node, name: str, container: str = "main") -> str:
    """What an ended or running container wrote, without times."""
    worker = node.kubelet.find_worker("default", name)
    assert worker is not None
    found = worker.state.container(container)
    assert found is not None
    text = await asyncio.to_thread(Path(found.log_path).read_text)
    return "\n".join(line.split(" ", 3)[3] for line in text.splitlines())


async def execute(node: Node, name: str, *command: str, container: str = "main") -> str:
    """A command's standard output."""
    worker = node.kubelet.find_worker("default", name)
    assert worker is not None
    found = worker.state.container(container)
    assert found is not None
    answer = await node.containerd.engine.runtime.exec_sync(found.id, command, 10)
    return (answer.stdout + answer.stderr).decode()


async def test_a_pod_runs_and_says_so(node: Node) -> None:
    await node.create("simple")
    pod = await node.until("simple", running)
    status = pod["status"]
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "PodReadyToStartContainers": "True",
        "Initialized": "True",
        "Ready": "True",
        "ContainersReady": "True",
        "PodScheduled": "True",
    }
    assert status["hostIP"] == "127.0.0.1"
    assert status["podIP"] == "127.0.0.1"
    assert status["qosClass"] == "BestEffort"
    assert status["observedGeneration"] == pod["metadata"]["generation"]
    container = status_of(pod)
    assert container["started"] is True
    assert container["restartCount"] == 0
    assert container["containerID"].startswith("containerd://")
    assert container["image"] == BUSYBOX
    await node.remove("simple")
    reasons = [r for _, r, _ in await node.events("simple")]
    assert reasons == ["Pulled", "Created", "Started", "Killing"]


async def test_a_pod_that_succeeds_and_one_that_fails(node: Node) -> None:
    await node.create("good", "sh", "-c", "echo last words > /dev/termination-log", restartPolicy="Never")
    await node.create("bad", "sh", "-c", "exit 3", restartPolicy="Never")
    pod = await node.until("good", phase_is("Succeeded"))
    ended = status_of(pod)["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (0, "Completed", "last words\n")
    ready = next(c for c in pod["status"]["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "PodCompleted")
    pod = await node.until("bad", phase_is("Failed"))
    assert status_of(pod)["state"]["terminated"]["exitCode"] == 3
    await node.remove("good")
    await node.remove("bad")


async def test_a_crashing_container_is_restarted_with_back_off(node: Node) -> None:
    await node.create("crash", "sh", "-c", "exit 1")
    pod = await node.until("crash", lambda p: status_of(p).get("restartCount", 0) >= 1)
    assert status_of(pod)["lastState"]["terminated"]["exitCode"] == 1 or status_of(pod)["state"]
    pod = await node.until(
        "crash", lambda p: status_of(p)["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff"
    )
    status = status_of(pod)
    assert status["state"]["waiting"]["message"].startswith("back-off ")
    assert status["state"]["waiting"]["message"].endswith(
        f"restarting failed container=main pod=crash_default({pod['metadata']['uid']})"
    )
    assert status["lastState"]["terminated"]["exitCode"] == 1
    assert pod["status"]["phase"] == "Running"
    assert "Back-off restarting failed container main in pod crash_default" in await node.until_event(
        "crash", "BackOff"
    )
    await node.remove("crash")


async def test_on_failure_restarts_until_success(node: Node) -> None:
    script = "if [ -e /keep/once ]; then exit 0; fi; touch /keep/once; exit 1"
    await node.create(
        "retry",
        "sh",
        "-c",
        script,
        restartPolicy="OnFailure",
        volumes=[{"name": "keep", "emptyDir": {}}],
        container={"volumeMounts": [{"name": "keep", "mountPath": "/keep"}]},
    )
    pod = await node.until("retry", phase_is("Succeeded"))
    assert status_of(pod)["restartCount"] == 1
    await node.remove("retry")


async def test_environment_from_everywhere(node: Node) -> None:
    api = node.api.client
    await api.create(CONFIGMAPS, {"metadata": {"name": "settings"}, "data": {"COLOR": "red", "odd": "x"}}, "default")
    secret = {"metadata": {"name": "hidden"}, "data": {"password": base64.b64encode(b"s3cret").decode()}}
    await api.create(SECRETS, secret, "default")
    service = {"metadata": {"name": "my-db"}, "spec": {"ports": [{"name": "sql", "port": 5432}]}}
    made = await api.create(SERVICES, service, "default")
    env = [
        {"name": "A", "value": "1"},
        {"name": "B", "value": "$(A)-$$(A)-$(MY_DB_SERVICE_PORT)-$(NOPE)"},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "hidden", "key": "password"}}},
        {"name": "MISSING", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "k", "optional": True}}},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "TIER", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['tier']"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
    ]
    await node.create(
        "env",
        "sh",
        "-c",
        "env; echo arg $0 $1",
        restartPolicy="Never",
        labels={"tier": "back"},
        container={
            "env": env,
            "envFrom": [{"prefix": "P_", "configMapRef": {"name": "settings"}}],
            "args": ["$(A)", "$(NAME)"],
            "resources": {"limits": {"cpu": "250m", "memory": "64Mi"}},
        },
    )
    await node.until("env", phase_is("Succeeded"))
    text = await output(node, "env")
    lines = text.splitlines()
    for expected in (
        "B=1-$(A)-5432-$(NOPE)",
        "PASSWORD=s3cret",
        "NAME=env",
        "TIER=back",
        "IP=127.0.0.1",
        "CPU=250",
        "P_COLOR=red",
        f"MY_DB_SERVICE_HOST={made['spec']['clusterIP']}",
        "arg 1 env",
    ):
        assert expected in lines, (expected, text)
    assert not any(line.startswith("MISSING") for line in lines)
    await node.remove("env")


async def test_a_missing_reference_is_named_and_waited_for(node: Node) -> None:
    reference = {"configMapKeyRef": {"name": "later", "key": "k"}}
    await node.create("waits", container={"env": [{"name": "K", "valueFrom": reference}]})
    pod = await node.until(
        "waits", lambda p: "waiting" in status_of(p)["state"] and "message" in status_of(p)["state"]["waiting"]
    )
    waiting = status_of(pod)["state"]["waiting"]
    assert waiting == {"reason": "CreateContainerConfigError", "message": 'configmap "later" not found'}
    assert await node.until_event("waits", "Failed") == 'Error: configmap "later" not found'
    await node.api.client.create(CONFIGMAPS, {"metadata": {"name": "later"}, "data": {"k": "v"}}, "default")
    await node.until("waits", running)
    await node.remove("waits")


async def test_volumes_of_every_kind(node: Node, tmp_path: Path) -> None:
    api = node.api.client
    await api.create(
        CONFIGMAPS, {"metadata": {"name": "files"}, "data": {"a.txt": "first", "b.txt": "second"}}, "default"
    )
    image = build_image(files=[File("/disk/disk.img", b"the disk")])
    await node.containerd.engine.images.import_image(image, ["registry.test/disk:1"])
    host = tmp_path / "host"
    host.mkdir()
    (host / "there").write_text("on the host")
    volumes = [
        {"name": "config", "configMap": {"name": "files", "items": [{"key": "b.txt", "path": "deep/b"}]}},
        {"name": "whole", "configMap": {"name": "files", "defaultMode": 0o400}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "host", "hostPath": {"path": str(host), "type": "Directory"}},
        {"name": "new", "hostPath": {"path": str(tmp_path / "made"), "type": "DirectoryOrCreate"}},
        {"name": "pic", "image": {"reference": "registry.test/disk:1", "pullPolicy": "IfNotPresent"}},
        {
            "name": "about",
            "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]},
        },
        {
            "name": "mixed",
            "projected": {
                "sources": [
                    {"configMap": {"name": "files"}},
                    {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
                    {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
                ]
            },
        },
    ]
    mounts = [{"name": v["name"], "mountPath": f"/v/{v['name']}"} for v in volumes]
    mounts.append({"name": "whole", "mountPath": "/one", "subPath": "a.txt"})
    await node.create(
        "volumes",
        volumes=volumes,
        labels={"app": "v"},
        securityContext={"fsGroup": 1234},
        container={"volumeMounts": mounts},
    )
    await node.until("volumes", running)
    read = "cd /v; cat config/deep/b whole/a.txt host/there pic/disk/disk.img about/labels mixed/a.txt mixed/name /one"
    assert await execute(node, "volumes", "sh", "-c", read) == 'secondfirston the hostthe diskapp="v"firstvolumesfirst'
    token = await execute(node, "volumes", "cat", "/v/mixed/token")
    assert token.count(".") == 2
    assert "Read-only file system" in await execute(node, "volumes", "touch", "/v/pic/x")
    assert "tmpfs" in await execute(node, "volumes", "sh", "-c", "df /v/memory | tail -1")
    assert (await execute(node, "volumes", "stat", "-c", "%g", "/v/memory")).strip() == "1234"
    assert (await execute(node, "volumes", "stat", "-L", "-c", "%a %g", "/v/whole/a.txt")).strip() == "440 1234"
    assert (tmp_path / "made").is_dir()
    # A change of the config map arrives.
    await api.patch(CONFIGMAPS, "files", {"data": {"a.txt": "changed"}}, "default")
    async with asyncio.timeout(10):
        while await execute(node, "volumes", "cat", "/v/whole/a.txt") != "changed":
            await asyncio.sleep(0.05)
    uid = (await node.get("volumes"))["metadata"]["uid"]
    await node.remove("volumes")
    assert not (node.config.pods_directory / uid).exists()
    assert uid not in Path("/proc/self/mountinfo").read_text()


async def test_a_claim_is_mounted_and_its_files_outlive_the_pod(node: Node, tmp_path: Path) -> None:
    api = node.api.client
    disk = tmp_path / "disk"
    disk.mkdir()
    node_term = {"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]}
    common = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}
    spec = {**common, "capacity": {"storage": "1Gi"}, "local": {"path": str(disk)}}
    spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [node_term]}}
    await api.create(core("persistentvolumes", False), {"metadata": {"name": "disk"}, "spec": spec})
    use = {
        "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "c"}}],
        "container": {"volumeMounts": [{"name": "d", "mountPath": "/d"}]},
        "restartPolicy": "Never",
    }
    await node.create("writer", "sh", "-c", "echo kept > /d/file", **use)
    missing = 'error processing PVC default/c: failed to fetch PVC from API server: persistentvolumeclaims "c"'
    assert missing in await node.until_event("writer", "FailedMount")
    informers = Informers(api)
    binder = VolumeBindingController(api, informers)
    running_parts = [asyncio.create_task(part.run()) for part in (informers, binder)]
    try:
        claim = {**common, "resources": {"requests": {"storage": "1Gi"}}}
        await api.create(core("persistentvolumeclaims"), {"metadata": {"name": "c"}, "spec": claim}, "default")
        await node.until("writer", phase_is("Succeeded"))
    finally:
        for task in running_parts:
            task.cancel()
        await asyncio.gather(*running_parts, return_exceptions=True)
    await node.remove("writer")
    assert (disk / "file").read_text() == "kept\n"
    await node.create("reader", "cat", "/d/file", **use)
    await node.until("reader", phase_is("Succeeded"))
    assert await output(node, "reader") == "kept"
    await node.remove("reader")


async def test_a_volume_that_is_missing_is_reported(node: Node) -> None:
    await node.create(
        "novolume",
        volumes=[{"name": "s", "secret": {"secretName": "nowhere"}}],
        container={"volumeMounts": [{"name": "s", "mountPath": "/s"}]},
    )
    message = await node.until_event("novolume", "FailedMount")
    assert message == 'MountVolume.SetUp failed for volume "s" : secret "nowhere" not found'
    pod = await node.get("novolume")
    assert status_of(pod)["state"] == {"waiting": {"reason": "ContainerCreating"}}
    await node.remove("novolume")


async def test_init_containers_and_sidecars_in_order(node: Node) -> None:
    shared = {"volumeMounts": [{"name": "s", "mountPath": "/s"}], "image": BUSYBOX}
    init = [
        {"name": "first", "command": ["sh", "-c", "echo first >> /s/log"], **shared},
        {
            "name": "side",
            "restartPolicy": "Always",
            "command": ["sh", "-c", "echo side >> /s/log; trap 'exit 0' TERM; while :; do sleep 0.1; done"],
            "startupProbe": {"exec": {"command": ["test", "-s", "/s/log"]}, "periodSeconds": 1},
            **shared,
        },
        {"name": "last", "command": ["sh", "-c", "echo last >> /s/log"], **shared},
    ]
    await node.create(
        "ordered",
        "sh",
        "-c",
        "echo main >> /s/log; cat /s/log",
        restartPolicy="Never",
        initContainers=init,
        volumes=[{"name": "s", "emptyDir": {}}],
        container={"volumeMounts": shared["volumeMounts"]},
    )
    pod = await node.until("ordered", phase_is("Succeeded"))
    assert (await output(node, "ordered")).split() == ["first", "side", "last", "main"]
    assert status_of(pod, "first")["state"]["terminated"]["reason"] == "Completed"
    assert "terminated" in status_of(pod, "side")["state"]
    await node.remove("ordered")


async def test_a_failing_init_container_fails_a_pod_that_is_never_restarted(node: Node) -> None:
    init = [{"name": "broken", "image": BUSYBOX, "command": ["false"]}]
    await node.create("initfail", initContainers=init, restartPolicy="Never")
    pod = await node.until("initfail", phase_is("Failed"))
    assert status_of(pod)["state"] == {"waiting": {"reason": "PodInitializing"}}
    await node.remove("initfail")


async def test_probes_decide_readiness_and_restarts(node: Node) -> None:
    await node.create(
        "probed",
        volumes=[{"name": "s", "emptyDir": {}}],
        container={
            "volumeMounts": [{"name": "s", "mountPath": "/s"}],
            "readinessProbe": {"exec": {"command": ["test", "-e", "/s/ready"]}, "periodSeconds": 1},
            "livenessProbe": {
                "exec": {"command": ["test", "!", "-e", "/s/sick"]},
                "periodSeconds": 1,
                "failureThreshold": 1,
            },
        },
    )
    pod = await node.until("probed", lambda p: status_of(p).get("started") is True)
    assert status_of(pod)["ready"] is False
    ready = next(c for c in pod["status"]["conditions"] if c["type"] == "Ready")
    assert ready["message"] == "containers with unready status: [main]"
    await execute(node, "probed", "touch", "/s/ready")
    await node.until("probed", running)
    await execute(node, "probed", "touch", "/s/sick")
    pod = await node.until("probed", lambda p: status_of(p).get("restartCount") == 1)
    assert await node.until_event("probed", "Killing") == "Container main failed liveness probe, will be restarted"
    await node.remove("probed")


async def test_deletion_honours_the_grace_period_and_pre_stop(node: Node, tmp_path: Path) -> None:
    script = "trap 'echo term >> /h/log; exit 0' TERM; while :; do sleep 0.05; done"
    await node.create(
        "graceful",
        "sh",
        "-c",
        script,
        terminationGracePeriodSeconds=30,
        volumes=[{"name": "h", "hostPath": {"path": str(tmp_path)}}],
        container={
            "volumeMounts": [{"name": "h", "mountPath": "/h"}],
            "lifecycle": {
                "postStart": {"exec": {"command": ["sh", "-c", "echo begun >> /h/log"]}},
                "preStop": {"exec": {"command": ["sh", "-c", "echo stopping >> /h/log"]}},
            },
        },
    )
    await node.until("graceful", running)
    await node.api.client.delete(PODS, "graceful", "default")
    await node.until_gone("graceful")
    assert (tmp_path / "log").read_text().split() == ["begun", "stopping", "term"]


async def test_a_shorter_grace_period_ends_a_slow_deletion(node: Node) -> None:
    await node.create(
        "stubborn", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done", terminationGracePeriodSeconds=300
    )
    await node.until("stubborn", running)
    await node.api.client.delete(PODS, "stubborn", "default")
    await node.until_event("stubborn", "Killing")
    await node.api.client.delete(PODS, "stubborn", "default", grace_period=1)
    await node.until_gone("stubborn", timeout=15)


async def test_unknown_images(node: Node) -> None:
    await node.create("never", container={"image": "nowhere.test/x:1", "imagePullPolicy": "Never"})
    await node.create("badname", container={"image": "UPPER:1"})
    pod = await node.until(
        "never", lambda p: status_of(p)["state"].get("waiting", {}).get("reason") == "ErrImageNeverPull"
    )
    assert status_of(pod)["state"]["waiting"]["message"] == (
        'Container image "nowhere.test/x:1" is not present with pull policy of Never'
    )
    pod = await node.until(
        "badname", lambda p: status_of(p)["state"].get("waiting", {}).get("reason") == "InvalidImageName"
    )
    assert "repository name must be lowercase" in status_of(pod)["state"]["waiting"]["message"]
    await node.create("nopull", container={"image": "127.0.0.1:1/x:1"})
    pod = await node.until(
        "nopull",
        lambda p: status_of(p)["state"].get("waiting", {}).get("reason") in ("ErrImagePull", "ImagePullBackOff"),
    )
    assert "connection refused" in status_of(pod)["state"]["waiting"]["message"]
    for name in ("never", "badname", "nopull"):
        await node.remove(name)


async def test_limits_reach_the_kernel(node: Node) -> None:
    await node.create(
        "limited",
        container={
            "resources": {"limits": {"cpu": "200m", "memory": "32Mi"}, "requests": {"cpu": "100m", "memory": "16Mi"}}
        },
    )
    pod = await node.until("limited", running)
    assert pod["status"]["qosClass"] == "Burstable"
    group = f"{node.config.cgroup_parent}/pod{pod['metadata']['uid']}"
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        assert (root / group.lstrip("/") / "memory.max").read_text().strip() == str(32 << 20)
    else:
        assert (root / "memory" / group.lstrip("/") / "memory.limit_in_bytes").read_text().strip() == str(32 << 20)
        assert (root / "cpu" / group.lstrip("/") / "cpu.cfs_quota_us").read_text().strip() == "20000"
        assert (root / "cpu" / group.lstrip("/") / "cpu.shares").read_text().strip() == "102"
    await node.remove("limited")
    assert not (root / "memory" / group.lstrip("/")).exists()


async def test_out_of_memory_is_named(node: Node) -> None:
    await node.create(
        "greedy",
        "sh",
        "-c",
        "head -c 100m /dev/zero | tail",
        restartPolicy="Never",
        container={"resources": {"limits": {"memory": "20Mi"}}},
    )
    pod = await node.until("greedy", phase_is("Failed"))
    ended = status_of(pod)["state"]["terminated"]
    assert ended["reason"] == "OOMKilled", ended
    await node.remove("greedy")


async def test_security_context(node: Node) -> None:
    await node.create(
        "secured",
        securityContext={"runAsUser": 1000, "runAsGroup": 2000, "supplementalGroups": [3000], "runAsNonRoot": True},
        container={
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            }
        },
    )
    await node.until("secured", running)
    assert (await execute(node, "secured", "id")).strip() == "uid=1000 gid=2000 groups=2000,3000"
    status = await execute(node, "secured", "cat", "/proc/1/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert (fields["NoNewPrivs"], fields["Seccomp"], fields["CapBnd"]) == ("1", "2", "0" * 16)
    assert "Read-only" in await execute(node, "secured", "touch", "/x")
    await node.create("asroot", securityContext={"runAsNonRoot": True})
    pod = await node.until("asroot", lambda p: "message" in status_of(p)["state"].get("waiting", {}))
    waiting = status_of(pod)["state"]["waiting"]
    assert waiting["reason"] == "CreateContainerConfigError"
    assert waiting["message"].startswith('container has runAsNonRoot and image will run as root (pod: "asroot_default(')
    await node.remove("secured")
    await node.remove("asroot")


async def test_a_program_that_is_not_there(node: Node) -> None:
    await node.create("noprogram", "nosuch", restartPolicy="Never")
    pod = await node.until("noprogram", phase_is("Failed"))
    ended = status_of(pod)["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("StartError", 128)
    assert "executable file not found in $PATH" in ended["message"]
    await node.remove("noprogram")


async def test_a_restarted_kubelet_adopts_and_cleans_up(node: Node) -> None:
    await node.create("kept")
    await node.create("lost")
    before = await node.until("kept", running)
    lost = await node.until("lost", running)
    await node.stop()
    await node.api.client.delete(PODS, "lost", "default", grace_period=0)
    await node.start()
    async with asyncio.timeout(15):
        while [b for b in await node.containerd.engine.runtime.list_sandboxes() if b.metadata.name == "lost"]:
            await asyncio.sleep(0.05)
        while (node.config.pods_directory / lost["metadata"]["uid"]).exists():
            await asyncio.sleep(0.05)
    after = await node.get("kept")
    assert status_of(after)["containerID"] == status_of(before)["containerID"]
    assert status_of(after)["restartCount"] == 0
    await node.create("another")
    await node.until("another", running)
    await node.remove("kept")
    await node.remove("another")


async def test_pods_do_not_notice_that_containerd_was_killed(node: Node) -> None:
    await node.create("steady")
    before = await node.until("steady", running)
    await node.containerd.kill()
    await node.containerd.start()
    await node.create("after")
    await node.until("after", running)
    again = await node.get("steady")
    assert status_of(again) == status_of(before)
    # Its end is still noticed.
    worker = node.kubelet.find_worker("default", "steady")
    assert worker is not None
    pid = await node.containerd.engine.tasks.pid(worker.state.containers[0].id)
    import os

    os.kill(pid, 9)
    pod = await node.until("steady", lambda p: status_of(p).get("restartCount") == 1 and running(p))
    assert status_of(pod)["lastState"]["terminated"]["exitCode"] == 137
    await node.remove("steady")
    await node.remove("after")


async def test_a_killed_sandbox_is_made_again(node: Node) -> None:
    await node.create("boxed")
    await node.until("boxed", running)
    worker = node.kubelet.find_worker("default", "boxed")
    assert worker is not None
    box = worker.state.sandboxes[0].id
    await node.containerd.engine.runtime.stop_sandbox(box)
    await node.until("boxed", lambda p: status_of(p).get("restartCount", 0) >= 1 and running(p))
    assert worker.state.sandboxes[0].id != box
    await node.remove("boxed")
