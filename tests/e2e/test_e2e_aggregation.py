"""An API server of another program behind kumo's, used by an unmodified kubectl: get, top, explain, api-resources."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kumo.machinery import tls
from support.cloud import ROOT, Cloud
from support.extension_server import GROUP
from support.extension_server import ROOT as API

pytestmark = pytest.mark.e2e
NAMESPACE = "metering"
NAME = f"v1beta1.{GROUP}"


@pytest.fixture(scope="module")
def extension(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server as a program of this machine, behind a Service without a selector; its address and port."""
    where = tmp_path_factory.mktemp("extension")
    cloud.kubectl("delete", "apiservice", NAME, "--ignore-not-found")
    cloud.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
    cloud.kubectl("create", "namespace", NAMESPACE)
    cloud.kubectl("create", "serviceaccount", "meter", "-n", NAMESPACE)
    account = f"--serviceaccount={NAMESPACE}:meter"
    reader = "extension-apiserver-authentication-reader"
    cloud.kubectl("create", "clusterrolebinding", "meter-auth", "--clusterrole=system:auth-delegator", account)
    cloud.kubectl("create", "clusterrolebinding", "meter-reads", "--clusterrole=system:node", account)
    cloud.kubectl("create", "rolebinding", "meter-auth", "-n", "kube-system", f"--role={reader}", account)
    token = cloud.kubectl("create", "token", "meter", "-n", NAMESPACE).stdout.strip()
    config = json.loads(cloud.kubectl("config", "view", "--raw", "-o", "json").stdout)
    config["users"][0]["user"] = {"token": token}
    (where / "kubeconfig").write_text(json.dumps(config))
    (address,) = [
        a["address"] for a in cloud.get("nodes")["items"][0]["status"]["addresses"] if a["type"] == "InternalIP"
    ]
    ca = tls.ensure_ca(where)
    names = (f"meter.{NAMESPACE}.svc",)
    pair = tls.ensure_certificate(ca, where, "meter", common_name="meter", names=names, server=True, client=False)
    command = [sys.executable, "-m", "support.extension_server"]
    process = subprocess.Popen(
        [*command, str(where / "kubeconfig"), str(pair.cert), str(pair.key), address],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests")},
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        _register(cloud, address, port, ca.files.cert)
        yield f"{address}:{port}"
    finally:
        process.kill()
        process.communicate()
        cloud.kubectl("delete", "apiservice", NAME, "--ignore-not-found")
        cloud.kubectl("delete", "clusterrolebinding", "meter-auth", "meter-reads")
        cloud.kubectl("delete", "rolebinding", "meter-auth", "-n", "kube-system")
        cloud.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def _register(cloud: Cloud, address: str, port: int, ca: Path) -> None:
    meta = {"name": "meter", "namespace": NAMESPACE}
    spec = {"ports": [{"port": 443, "targetPort": port}]}
    cloud.apply({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec})
    labels = {"kubernetes.io/service-name": "meter"}
    cloud.apply(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**meta, "labels": labels},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
            "ports": [{"name": "", "port": port, "protocol": "TCP"}],
        }
    )
    service = {"namespace": NAMESPACE, "name": "meter", "port": 443}
    bundle = base64.b64encode(ca.read_bytes()).decode()
    priorities = {"groupPriorityMinimum": 100, "versionPriority": 100}
    cloud.apply(
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": NAME},
            "spec": {"group": GROUP, "version": "v1beta1", "service": service, "caBundle": bundle, **priorities},
        }
    )
    cloud.kubectl("wait", "--for=condition=Available", "apiservice", NAME, "--timeout=20s")


def test_kubectl_uses_it_like_any_other(cloud: Cloud, extension: str) -> None:
    node = cloud.get("nodes")["items"][0]["metadata"]["name"]
    shown = cloud.kubectl("get", "apiservice", NAME).stdout.splitlines()[1].split()
    assert shown[:3] == [NAME, f"{NAMESPACE}/meter", "True"]
    assert "NodeMetrics" in cloud.kubectl("api-resources", f"--api-group={GROUP}").stdout
    assert f"{GROUP}/v1beta1" in cloud.kubectl("api-versions").stdout.splitlines()
    assert cloud.get(f"nodes.{GROUP}", node)["usage"] == {"cpu": "250m", "memory": "1Gi"}
    assert cloud.kubectl("get", f"nodes.v1beta1.{GROUP}", "-o", "name").stdout == f"nodemetrics.{GROUP}/{node}\n"
    top = cloud.kubectl("top", "nodes").stdout.splitlines()
    assert top[1].split()[:2] == [node, "250m"] and "1024Mi" in top[1]
    explained = cloud.kubectl("explain", "nodes.window", f"--api-version={GROUP}/v1beta1").stdout
    assert "Window is the time that the usage was measured over." in explained
    groups = json.loads(cloud.kubectl("get", "--raw", "/apis").stdout)["groups"]
    assert GROUP in [g["name"] for g in groups]


def test_it_knows_who_asks_and_what_they_may(cloud: Cloud, extension: str) -> None:
    asked = json.loads(cloud.kubectl("get", "--raw", f"{API}/nodes?echo=1").stdout)
    assert asked["user"] == "kubernetes-admin" and "system:masters" in asked["groups"]
    refused = cloud.kubectl("get", f"nodes.{GROUP}", "--as=eve", check=False)
    assert (
        refused.returncode and 'User "eve" cannot list resource "nodes" in API group "metrics.k8s.io"' in refused.stderr
    )
    # Straight to the server, past the aggregator: a token is reviewed, and its user's rights are.
    token = cloud.kubectl("create", "token", "meter", "-n", NAMESPACE).stdout.strip()

    def straight(*more: str) -> str:
        return cloud.run(["curl", "-sk", *more, f"https://{extension}{API}/nodes?echo=1"]).stdout

    assert json.loads(straight("-H", "X-Remote-User: kubernetes-admin"))["code"] == 401, "anybody can write a header"
    assert json.loads(straight("-H", f"Authorization: Bearer {token}"))["code"] == 403
    try:
        cloud.kubectl("create", "clusterrole", "sees-metrics", "--verb=list", f"--resource=nodes.{GROUP}")
        binding = ("create", "clusterrolebinding", "sees-metrics", "--clusterrole=sees-metrics")
        cloud.kubectl(*binding, f"--serviceaccount={NAMESPACE}:meter")
        found = json.loads(straight("-H", f"Authorization: Bearer {token}"))
        assert found["user"] == f"system:serviceaccount:{NAMESPACE}:meter"
    finally:
        cloud.kubectl("delete", "clusterrolebinding", "sees-metrics", "--ignore-not-found")
        cloud.kubectl("delete", "clusterrole", "sees-metrics", "--ignore-not-found")


def test_a_machine_with_a_token_finds_the_cluster(cloud: Cloud) -> None:
    """What `kubeadm join --discovery-token` reads, without any credentials."""
    secret = {"token-id": "e2etok", "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true"}
    meta = {"name": "bootstrap-token-e2etok", "namespace": "kube-system"}
    kind = {"apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token"}
    cloud.apply({**kind, "metadata": meta, "stringData": secret})
    try:
        (address,) = [
            a["address"] for a in cloud.get("nodes")["items"][0]["status"]["addresses"] if a["type"] == "InternalIP"
        ]
        url = f"https://{address}:{cloud.port}/api/v1/namespaces/kube-public/configmaps/cluster-info"

        def signed() -> dict[str, str]:
            data = json.loads(cloud.run(["curl", "-sk", url]).stdout)["data"]
            return data if "jws-kubeconfig-e2etok" in data else {}

        data = cloud.wait(signed, 20, "the signature of the token")
        assert data["jws-kubeconfig-e2etok"].count(".") == 2
        assert f"server: https://{address}:{cloud.port}" in data["kubeconfig"]
        assert (
            cloud.run(["curl", "-sk", url.replace("cluster-info", "kube-root-ca.crt")]).stdout.count('"code":403') == 1
        )
    finally:
        cloud.kubectl("delete", "secret", meta["name"], "-n", "kube-system", "--ignore-not-found")
