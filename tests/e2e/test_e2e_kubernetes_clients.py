"""Clients of others against a real cloud: the official Python client, kr8s, and an operator written with kopf."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kumo.machinery import tls
from support.cloud import ROOT, Cloud

pytestmark = pytest.mark.e2e
CLIENTS = ROOT / ".clients" / "kubernetes" / "bin"
SCRIPTS = ROOT / "tests" / "support" / "kubernetes_clients"
ROBOTS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "robots.kopf.example"},
    "spec": {
        "group": "kopf.example",
        "names": {"plural": "robots", "singular": "robot", "kind": "Robot"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "properties": {"size": {"type": "integer"}}},
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}
PEERINGS: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "kopfpeerings.kopf.dev"},
    "spec": {
        "group": "kopf.dev",
        "names": {"plural": "kopfpeerings", "singular": "kopfpeering", "kind": "KopfPeering"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {"status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                    }
                },
            }
        ],
    },
}


def robot(size: int) -> dict[str, Any]:
    meta = {"name": "r2", "namespace": "robots"}
    return {"apiVersion": "kopf.example/v1", "kind": "Robot", "metadata": meta, "spec": {"size": size}}


@pytest.mark.parametrize("script", ["official.py", "asynchronous.py"])
def test_e2e_clients_of_python(cloud: Cloud, script: str) -> None:
    done = cloud.run([str(CLIENTS / "python"), str(SCRIPTS / script), script.removesuffix(".py")], timeout=90)
    assert done.stdout.strip() == "ok"


@pytest.fixture
def operator(cloud: Cloud, tmp_path: Path) -> Iterator[Path]:
    """The operator's log, while it runs in the namespace `robots`."""
    for definition in (ROBOTS, PEERINGS):
        cloud.apply(definition)
        cloud.kubectl("wait", f"crd/{definition['metadata']['name']}", "--for=condition=Established", "--timeout=10s")
    cloud.kubectl("create", "namespace", "robots")
    peering = {"apiVersion": "kopf.dev/v1", "kind": "KopfPeering", "metadata": {"name": "test", "namespace": "robots"}}
    cloud.apply(peering)
    authority = tls.ensure_ca(tmp_path)
    pair = tls.ensure_server_certificate(authority, tmp_path)
    for name, file in (("tls.crt", pair.cert), ("tls.key", pair.key), ("ca.crt", authority.files.cert)):
        (tmp_path / name).write_bytes(file.read_bytes()) if (tmp_path / name) != file else None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {**cloud.env, "WEBHOOK_DIR": str(tmp_path), "WEBHOOK_PORT": str(port)}
    log = tmp_path / "operator.log"
    words = ["run", "--namespace", "robots", "--peering", "test", "--verbose", str(SCRIPTS / "operator_of_tests.py")]
    with log.open("wb") as output:
        running = subprocess.Popen([str(CLIENTS / "kopf"), *words], env=env, stdout=output, stderr=output)
    try:
        yield log
    finally:
        running.terminate()
        try:
            running.wait(10)
        finally:
            running.kill()
            cloud.kubectl("patch", "robot", "r2", "-n", "robots", "--type=merge", "-p", _FREE, check=False)
            cloud.kubectl("delete", "crd", "robots.kopf.example", "kopfpeerings.kopf.dev", "--timeout=20s", check=False)
            cloud.kubectl("delete", "namespace", "robots", "--wait=false", check=False)
            for kind in ("validating", "mutating"):
                cloud.kubectl("delete", f"{kind}webhookconfigurations", "kopf.example", check=False)


_FREE = json.dumps({"metadata": {"finalizers": None}})


def test_e2e_clients_operator(cloud: Cloud, operator: Path) -> None:
    def status() -> Any:
        return cloud.get("robot", "r2", "-n", "robots").get("status") or {}

    def registered() -> bool:
        hooks = cloud.get("validatingwebhookconfigurations", "kopf.example").get("webhooks") or []
        return bool(hooks) and "robots" in hooks[0]["rules"][0]["resources"]

    try:
        cloud.wait(registered, 20, "the operator's webhook")
        refused = cloud.run(["kubectl", "create", "-f", "-"], stdin=json.dumps(robot(-1)), check=False)
        assert "a robot has a size" in refused.stderr, refused
        made = cloud.run(["kubectl", "create", "-f", "-"], stdin=json.dumps(robot(101)))
        assert "Warning: a giant" in made.stderr, made
        cloud.wait(lambda: status().get("created") == {"size": 101}, 15, "the handler of creations")
        cloud.wait(lambda: status().get("ticks") == 3, 15, "the timer")
        cloud.wait(lambda: "[robots/r2] alive" in operator.read_text(), 5, "the daemon")
        live = cloud.get("robot", "r2", "-n", "robots")["metadata"]
        assert live["finalizers"] == ["kopf.example/hold"]
        assert live["labels"] == {"color": "grey"}
        cloud.kubectl("patch", "robot", "r2", "-n", "robots", "--type=merge", "-p", '{"spec":{"size":7}}')
        cloud.wait(lambda: status().get("grown/spec.size") == {"from": 101, "to": 7}, 15, "the handler of changes")
        assert cloud.get("kopfpeering", "test", "-n", "robots")["status"]
        cloud.kubectl("delete", "robot", "r2", "-n", "robots", "--timeout=15s")
        log = cloud.wait(
            lambda: "scrapped" in operator.read_text() and operator.read_text(), 5, "its deletion's handler"
        )
        assert "[robots/r2] stopped" in log
    except AssertionError as error:
        raise AssertionError(f"{error}\n{operator.read_text()[-4000:]}") from error


def test_e2e_clients_are_there() -> None:
    assert os.access(CLIENTS / "python", os.X_OK), "`make setup` makes .clients/kubernetes"
