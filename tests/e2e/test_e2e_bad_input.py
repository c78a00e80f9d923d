"""Bad input to the API with real clients: the right status and text, quickly, with nothing half-made."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kumo.cli import engines
from kumo.cli.instance import load
from kumo.host.containerd.archive import File, build_image
from kumo.host.containerd.engine import connect
from support.cloud import Cloud, vm_manifest

pytestmark = pytest.mark.e2e
NAMESPACE = "bad-input"
LIMIT = 3145728
MEBIBYTES = 1 << 20


class Raw:
    """curl with the administrator's certificate."""

    def __init__(self, cloud: Cloud, directory: Path) -> None:
        config = yaml.safe_load((cloud.data_dir / "admin.kubeconfig").read_text())
        self.cluster, self.user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.directory = directory
        self.ca = directory / "ca"
        self.ca.write_bytes(base64.b64decode(self.cluster["certificate-authority-data"]))
        for name in ("certificate", "key"):
            (directory / name).write_bytes(base64.b64decode(self.user[f"client-{name}-data"]))

    def post(self, path: str, body: bytes, kind: str = "application/json", *options: str) -> tuple[int, dict[str, Any]]:
        """Status code and the decoded answer."""
        file = self.directory / "body"
        file.write_bytes(body)
        where = ["--cacert", str(self.ca), "--cert", str(self.directory / "certificate")]
        where += ["--key", str(self.directory / "key"), "-H", f"Content-Type: {kind}", *options]
        done = subprocess.run(
            ["curl", "-s", "-m", "20", *where, "-w", "\n%{http_code}", "--data-binary", f"@{file}",
             self.cluster["server"] + path],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        answer, _, code = done.stdout.rpartition("\n")
        return int(code), json.loads(answer)


@pytest.fixture(scope="module")
def space(cloud: Cloud) -> Iterator[Cloud]:
    cloud.kubectl("create", "namespace", NAMESPACE)
    cloud.wait(lambda: cloud.kubectl("-n", NAMESPACE, "get", "serviceaccount", "default"), 10, "the service account")
    yield cloud
    cloud.kubectl("delete", "namespace", NAMESPACE, "--timeout=90s")


@pytest.fixture
def raw(space: Cloud, tmp_path: Path) -> Raw:
    return Raw(space, tmp_path)


def memory(cloud: Cloud) -> int:
    """The control plane's highest resident memory so far, in bytes."""
    text = Path(f"/proc/{cloud.pid('control-plane')}/status").read_text()
    return 1024 * int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmHWM:")))


CONFIGMAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"


def test_bodies_that_are_too_big_too_deep_or_bombs(space: Cloud, raw: Raw) -> None:
    before = memory(space)
    big = b"a" * 100_000_000
    for options in ((), ("-H", "Expect:", "-H", "Transfer-Encoding: chunked")):
        code, status = raw.post(CONFIGMAPS, big, "application/json", *options)
        assert (code, status["reason"]) == (413, "RequestEntityTooLarge")
        assert status["message"] == f"Request entity too large: limit is {LIMIT}"
    labels = {f"label{n}": "x" for n in range(1_000_000)}
    many = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "labels": labels}})
    assert raw.post(CONFIGMAPS, many.encode())[0] == 413
    for deep in (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b"[" * 100_000):
        code, status = raw.post(CONFIGMAPS, deep)
        assert (code, status["reason"]) == (400, "BadRequest")
    bomb = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: bomb}}\ndata:\n  a: &a [{','.join(['lol'] * 9)}]\n"
    for name, of in zip("bcdefghij", "abcdefghi", strict=True):
        bomb += f"  {name}: &{name} [{','.join([f'*{of}'] * 9)}]\n"
    code, status = raw.post(CONFIGMAPS, bomb.encode(), "application/yaml")
    assert (code, "document contains excessive aliasing" in status["message"]) == (400, True)
    assert memory(space) - before < 60 * MEBIBYTES
    names = [c["metadata"]["name"] for c in space.get("configmaps", "-n", NAMESPACE)["items"]]
    assert names in ([], ["kube-root-ca.crt"])


@pytest.mark.parametrize(
    ("path", "body", "code", "text"),
    [
        (CONFIGMAPS, '{"a":', 400, "json parse error"),
        (PODS, "[1, 2]", 400, "couldn't get version/kind"),
        (PODS, "null", 422, "name or generateName is required"),
        (PODS, '{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x"}}', 400, "cannot be handled as a Pod"),
        (PODS, '{"apiVersion":"v1","kind":"Pod","metadata":{"name":7}}', 400, "cannot unmarshal number into Go struct"),
        (PODS, '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{"containers":"x"}}', 400,
         "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container"),
        (PODS, '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"X_"},"spec":{"containers":[]}}', 422, "is invalid"),
    ],
)  # fmt: skip
def test_malformed_and_wrongly_typed(raw: Raw, path: str, body: str, code: int, text: str) -> None:
    found, status = raw.post(path, body.encode())
    assert (found, status["kind"], status["status"], status["code"]) == (code, "Status", "Failure", code)
    assert text in status["message"]


def test_unknown_fields_and_duplicate_names(space: Cloud) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "odd"},
        "spec": {"containers": [{"name": "a", "image": "busybox", "foo": 1}], "bar": 2},
    }
    done = space.kubectl("-n", NAMESPACE, "create", "-f", "-", stdin=json.dumps(pod), check=False)
    assert done.returncode == 1
    assert 'strict decoding error: unknown field "spec.bar", unknown field "spec.containers[0].foo"' in done.stderr
    space.kubectl("-n", NAMESPACE, "create", "configmap", "twice")
    again = space.kubectl("-n", NAMESPACE, "create", "configmap", "twice", check=False)
    assert (again.returncode, again.stderr) == (
        1,
        'error: failed to create configmap: configmaps "twice" already exists\n',
    )
    vm = vm_manifest("odd", namespace=NAMESPACE, zork=1)
    done = space.kubectl("create", "-f", "-", stdin=json.dumps(vm), check=False)
    assert 'strict decoding error: unknown field "spec.zork"' in done.stderr


def test_a_vm_without_memory_says_what_is_missing(space: Cloud) -> None:
    vm = vm_manifest("nomemory", namespace=NAMESPACE)
    vm["spec"]["template"]["spec"]["domain"].pop("resources", None)
    vm["spec"]["template"]["spec"]["domain"].pop("memory", None)
    space.apply(vm)
    text = (
        "no memory requested, at least one of 'spec.domain.memory.guest', 'spec.domain.memory.hugepages.pageSize' or "
        "'spec.domain.resources.requests.memory' must be set"
    )

    def failed() -> bool:
        conditions = space.get("-n", NAMESPACE, "vm", "nomemory")["status"]["conditions"]
        return any(c["type"] == "Failure" and text in c["message"] for c in conditions)

    space.wait(failed, 20, "the condition Failure")
    assert space.get("-n", NAMESPACE, "vmi")["items"] == []
    space.kubectl("-n", NAMESPACE, "delete", "vm", "nomemory")


async def import_two_disks(cloud: Cloud, name: str) -> None:
    instance = load(cloud.data_dir)
    assert instance is not None
    files = [File("/disk", mode=0o755), File("/disk/a.img", b"x"), File("/disk/b.img", b"y")]
    async with connect(engines.containerd(instance).socket) as engine:
        await engine.images.import_image(build_image(files=files), [name], imported=True)


def test_images_that_do_not_exist_or_hold_two_disks(space: Cloud) -> None:
    image = "127.0.0.1:1/nothing:1"
    space.kubectl("-n", NAMESPACE, "run", "unknown", f"--image={image}")

    def reason() -> dict[str, Any]:
        statuses = space.get("-n", NAMESPACE, "pod", "unknown")["status"]["containerStatuses"]
        found: dict[str, Any] = statuses[0]["state"]["waiting"]
        return found

    space.wait(lambda: reason()["reason"] in ("ErrImagePull", "ImagePullBackOff"), 20, "the reason")
    space.wait(lambda: reason()["reason"] == "ImagePullBackOff", 30, "the back-off")
    assert reason()["message"].startswith(f'Back-off pulling image "{image}"')
    space.kubectl("-n", NAMESPACE, "delete", "pod", "unknown", "--now")

    def vm(name: str, disk_image: str) -> None:
        manifest = vm_manifest(name, namespace=NAMESPACE)
        for volume in manifest["spec"]["template"]["spec"]["volumes"]:
            if "containerDisk" in volume:
                volume["containerDisk"] = {"image": disk_image, "imagePullPolicy": "IfNotPresent"}
        space.apply(manifest)

    vm("unpullable", image)
    status = {"ErrImagePull", "ImagePullBackOff"}
    space.wait(
        lambda: space.get("-n", NAMESPACE, "vm", "unpullable")["status"]["printableStatus"] in status, 40, "its status"
    )
    space.kubectl("-n", NAMESPACE, "delete", "vm", "unpullable")

    asyncio.run(import_two_disks(space, "example.invalid/two:1"))
    vm("two", "example.invalid/two:1")

    def told() -> str:
        conditions = space.get("-n", NAMESPACE, "vmi", "two")["status"].get("conditions", [])
        return next((c["message"] for c in conditions if c["type"] == "Synchronized" and c["status"] == "False"), "")

    assert "more than one file found" in space.wait(told, 60, "the condition Synchronized")
    space.kubectl("-n", NAMESPACE, "delete", "vm", "two")


def test_a_foreign_tenant_gets_nowhere(space: Cloud, raw: Raw) -> None:
    space.kubectl("-n", NAMESPACE, "create", "serviceaccount", "foreign")
    token = space.kubectl("-n", NAMESPACE, "create", "token", "foreign").stdout.strip()
    access = ["--kubeconfig", "/dev/null", "--server", raw.cluster["server"]]
    access += ["--certificate-authority", str(raw.ca)]
    user = f"system:serviceaccount:{NAMESPACE}:foreign"

    def refused(*arguments: str, what: str, secret: str = token) -> None:
        done = space.kubectl(*access, "--token", secret, *arguments, check=False)
        assert done.returncode == 1
        assert what in done.stderr

    refused("get", "pods", what=f'pods is forbidden: User "{user}" cannot list resource "pods" in API group ""')
    refused("-n", "kube-system", "get", "secrets", what='in the namespace "kube-system"')
    refused("get", "vm", what="virtualmachines.kubevirt.io is forbidden")
    refused("create", "configmap", "mine", what=f'configmaps is forbidden: User "{user}" cannot create resource')
    refused("get", "nodes", what='cannot list resource "nodes" in API group "" at the cluster scope')
    refused("get", "pods", what="You must be logged in to the server (Unauthorized)", secret="nonsense")
    assert space.kubectl(*access, "--token", token, "auth", "can-i", "get", "pods", check=False).stdout == "no\n"
    path = f"/apis/subresources.kubevirt.io/v1/namespaces/{NAMESPACE}/virtualmachines/x/start"
    done = subprocess.run(
        ["curl", "-s", "--cacert", str(raw.ca), "-H", f"Authorization: Bearer {token}", "-X", "PUT",
         raw.cluster["server"] + path], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["code"] == 403
