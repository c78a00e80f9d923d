"""The real kubectl against the API server over HTTPS: what people type, and what they see."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import yaml

from kumo.api.resources import NAMESPACES
from support.apiserver import RunningApiServer, running_apiserver

pytestmark = pytest.mark.component
Kubectl = Callable[..., Awaitable[str]]


class Failed(Exception):
    """kubectl ended with an error; its text."""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningApiServer]:
    async with running_apiserver(tmp_path, https=True) as running:
        yield running


@pytest.fixture
def kubectl(server: RunningApiServer, tmp_path: Path) -> Kubectl:
    async def run(*words: str, stdin: object = None) -> str:
        argv = ["kubectl", "--kubeconfig", server.kubeconfig, "--cache-dir", str(tmp_path / "cache"), *words]
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        text = "" if stdin is None else stdin if isinstance(stdin, str) else yaml.safe_dump(stdin)
        try:
            async with asyncio.timeout(30):
                out, err = await process.communicate(text.encode())
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        errors = "\n".join(line for line in err.decode().splitlines() if not line.startswith("WARNING: version"))
        if process.returncode:
            raise Failed(errors)
        return out.decode() + errors

    return run


DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "labels": {"app": "web"}},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "nginx", "ports": [{"containerPort": 80}]}]},
        },
    },
}


async def test_create_commands_send_protobuf(kubectl: Kubectl) -> None:
    commands = [
        ("create", "namespace", "n"),
        ("create", "serviceaccount", "x"),
        ("create", "configmap", "c", "--from-literal=a=b"),
        ("create", "secret", "generic", "s", "--from-literal=a=b"),
        ("create", "deployment", "d", "--image=nginx", "--replicas=0", "--port=80"),
        ("create", "job", "j", "--image=busybox", "--", "date"),
        ("create", "cronjob", "cj", "--image=busybox", "--schedule=* * * * *", "--", "date"),
        ("create", "role", "r", "--verb=get", "--resource=pods"),
        ("create", "rolebinding", "rb", "--role=r", "--serviceaccount=default:x"),
        ("create", "quota", "q", "--hard=pods=5"),
        ("create", "service", "clusterip", "svc", "--tcp=80:8080"),
        ("create", "ingress", "i", "--rule=foo.example/=svc:80"),
        ("create", "poddisruptionbudget", "p", "--selector=a=b", "--min-available=1"),
        ("create", "priorityclass", "pc", "--value=-5"),
    ]
    for command in commands:
        assert "created" in await kubectl(*command), command
    deployment = json.loads(await kubectl("get", "deploy", "d", "-o", "json"))
    assert deployment["spec"]["replicas"] == 0 and "paused" not in deployment["spec"]
    assert json.loads(await kubectl("get", "secret", "s", "-o", "json"))["data"] == {"a": "Yg=="}
    service = json.loads(await kubectl("get", "svc", "svc", "-o", "json"))
    assert service["spec"]["ports"] == [{"name": "80", "port": 80, "protocol": "TCP", "targetPort": 8080}] or (
        service["spec"]["ports"][0]["targetPort"] == 8080
    )
    assert (await kubectl("create", "token", "x")).count(".") == 2
    assert "kubernetes-admin" in await kubectl("auth", "whoami")
    assert "yes" in await kubectl("auth", "can-i", "get", "pods", "--as=system:serviceaccount:default:x")


async def test_apply_and_change(kubectl: Kubectl) -> None:
    assert "created" in await kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    assert "unchanged" in await kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    changed = json.loads(json.dumps(DEPLOYMENT))
    changed["spec"]["replicas"] = 3
    assert "configured" in await kubectl("apply", "-f", "-", stdin=changed)
    assert "scaled" in await kubectl("scale", "deploy", "web", "--replicas=5")
    assert "image updated" in await kubectl("set", "image", "deploy/web", "c=nginx:2")
    assert "labeled" in await kubectl("label", "deploy", "web", "x=y")
    assert "annotated" in await kubectl("annotate", "deploy", "web", "a=b")
    assert "restarted" in await kubectl("rollout", "restart", "deploy/web")
    patch = '[{"op":"replace","path":"/spec/replicas","value":1}]'
    assert "patched" in await kubectl("patch", "deploy", "web", "--type=json", "-p", patch)
    assert "(no change)" in await kubectl("patch", "deploy", "web", "--type=json", "-p", patch)
    found = json.loads(await kubectl("get", "deploy", "web", "-o", "json"))
    assert found["spec"]["replicas"] == 1 and found["metadata"]["labels"]["x"] == "y"
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:2"
    described = await kubectl("describe", "deploy", "web")
    assert "Replicas:               1 desired" in described and "RollingUpdateStrategy" in described
    server_side = await kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=DEPLOYMENT)
    assert "serverside-applied" in server_side
    assert '"web" deleted' in await kubectl("delete", "deploy", "web")


async def test_tables_and_outputs(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    lines = (await kubectl("get", "deploy")).splitlines()
    assert lines[0].split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert lines[1].split()[:4] == ["web", "0/2", "0", "0"]
    wide = (await kubectl("get", "deploy", "-o", "wide")).splitlines()[0].split()
    assert wide[-3:] == ["CONTAINERS", "IMAGES", "SELECTOR"]
    assert (await kubectl("get", "deploy", "-o", "name")).strip() == "deployment.apps/web"
    assert "web" in await kubectl("get", "deploy", "-l", "app=web", "-A")
    assert "No resources found" in await kubectl("get", "pods", "-l", "a=b")
    assert "services" in await kubectl("api-resources", "--api-group=")
    assert "apps/v1" in await kubectl("api-versions")
    assert "v1.36.0" in await kubectl("version")
    assert "readyz check passed" in await kubectl("get", "--raw", "/readyz?verbose")
    metrics = await kubectl("get", "--raw", "/metrics")
    assert any(x.startswith("apiserver_request_total{") and 'code="200"' in x for x in metrics.splitlines())


async def test_refusals_read_as_upstream(kubectl: Kubectl) -> None:
    with pytest.raises(Failed) as missing:
        await kubectl("get", "pod", "nope")
    assert str(missing.value) == 'Error from server (NotFound): pods "nope" not found'
    with pytest.raises(Failed) as unknown:
        await kubectl("get", "nothings")
    assert str(unknown.value) == 'error: the server doesn\'t have a resource type "nothings"'
    with pytest.raises(Failed) as forbidden:
        await kubectl("get", "pods", "--as=bob")
    assert str(forbidden.value) == (
        'Error from server (Forbidden): pods is forbidden: User "bob" cannot list resource "pods" in API group "" '
        'in the namespace "default"'
    )
    bad = json.loads(json.dumps(DEPLOYMENT))
    bad["spec"]["bogus"] = 1
    with pytest.raises(Failed) as strict:
        await kubectl("create", "-f", "-", stdin=bad)
    assert 'strict decoding error: unknown field "spec.bogus"' in str(strict.value)


async def test_watch_and_wait(kubectl: Kubectl, server: RunningApiServer) -> None:
    await kubectl("create", "configmap", "c")
    waiting = asyncio.create_task(kubectl("wait", "--for=jsonpath={.data.done}=yes", "cm/c", "--timeout=20s"))
    await kubectl("patch", "cm", "c", "-p", '{"data":{"done":"yes"}}')
    assert "condition met" in await waiting
    gone = asyncio.create_task(kubectl("wait", "--for=delete", "cm/c", "--timeout=20s"))
    await kubectl("delete", "cm", "c")
    await gone
    watch = await asyncio.create_subprocess_exec(
        "kubectl", "--kubeconfig", server.kubeconfig, "get", "ns", "-w", stdout=asyncio.subprocess.PIPE
    )
    assert watch.stdout is not None
    try:
        async with asyncio.timeout(20):
            await watch.stdout.readline()
            await server.client.create(NAMESPACES, {"metadata": {"name": "fresh"}})
            while b"fresh" not in await watch.stdout.readline():
                pass
    finally:
        watch.terminate()
        await watch.wait()


async def test_custom_resources(kubectl: Kubectl) -> None:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.dev"},
        "spec": {
            "group": "example.dev",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
                }
            ],
        },
    }
    await kubectl("apply", "-f", "-", stdin=definition)
    await kubectl("wait", "--for=condition=Established", "crd/widgets.example.dev", "--timeout=10s")
    widget = {"apiVersion": "example.dev/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 3}}
    assert "created" in await kubectl("apply", "-f", "-", stdin=widget)
    assert [line.split()[:2] for line in (await kubectl("get", "wd")).splitlines()] == [["NAME", "SIZE"], ["w", "3"]]
    widget["spec"] = {"size": 4}
    assert "configured" in await kubectl("apply", "-f", "-", stdin=widget)
    assert "size" in await kubectl("explain", "widget.spec")
    assert "deleted" in await kubectl("delete", "crd", "widgets.example.dev", "--timeout=10s")
    with pytest.raises(Failed):
        await kubectl("get", "widgets.example.dev")


async def test_lists_are_checked_by_kubectl_itself(kubectl: Kubectl) -> None:
    """For a `kind: List` kubectl asks for the whole schema in its binary form, and validates before it sends."""
    items = {"apiVersion": "v1", "kind": "List", "items": [DEPLOYMENT]}
    assert await kubectl("apply", "-f", "-", stdin=items) == "deployment.apps/web created\n"
    wrong = {**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], "replica": 2}}
    with pytest.raises(Failed, match=r'unknown field "replica" in io\.k8s\.api\.apps\.v1\.DeploymentSpec'):
        await kubectl("apply", "-f", "-", stdin={**items, "items": [wrong]})
    shown = await kubectl("get", "deployments", "-o", "yaml")
    assert "deployment.apps/web" in await kubectl("apply", "-f", "-", stdin=shown)
