"""Services as kubectl and pods have them: shared load, load balancers, refusals, names, network policies."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from support.cloud import Cloud

pytestmark = pytest.mark.e2e
NAMESPACE = "services"
SERVER = "mkdir -p /www; hostname > /www/index.html; exec httpd -f -p 8080 -h /www"


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

    def ask(self, pod: str, address: str, port: int = 80, seconds: int = 2) -> str:
        """What the server answers to a GET from the pod; empty when it does not."""
        script = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout {seconds} nc {address} {port} | tail -n 1"
        return self.kubectl("exec", pod, "--", "sh", "-c", script, check=False).stdout.strip()

    def balancer(self, name: str) -> str:
        """The load balancer's address, once there is one."""
        return str(self.wait(lambda: self.get("service", name)["status"]["loadBalancer"]["ingress"][0]["ip"], 30, name))


def server(name: str, replicas: int) -> dict[str, Any]:
    container = {
        "name": "web",
        "image": "busybox",
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", SERVER],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 1},
    }
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 1}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }


def service(name: str, **spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    body = {"selector": {"app": name}, "ports": ports, **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": body}


def policy(name: str, app: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {"podSelector": {"matchLabels": {"app": app}}, **spec},
    }


def get(url: str, seconds: float = 5) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=seconds) as answer:
        return str(answer.read().decode().strip())


def tried(url: str) -> str:
    """The answer, or nothing where there is none yet: what kubectl says is a moment ahead of the kernel's rules."""
    try:
        return get(url)
    except OSError:
        return ""


@pytest.fixture(scope="module")
def space(cloud: Cloud) -> Iterator[Space]:
    cloud.kubectl("create", "namespace", NAMESPACE)
    found = Space(cloud)
    try:
        client = {"name": "c", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sleep", "3600"]}
        spec = {"containers": [client], "terminationGracePeriodSeconds": 0}
        for name in ("friend", "stranger"):
            meta = {"name": name, "labels": {"app": name}}
            found.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        found.apply(server("web", 10), service("web", type="LoadBalancer"))
        found.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
        found.kubectl("wait", "--for=condition=Ready", "pod/friend", "pod/stranger", "--timeout=60s")
        yield found
    finally:
        cloud.kubectl("delete", "namespace", NAMESPACE, check=False)


def test_ten_replicas_share_the_load_evenly_by_every_way_in(space: Space) -> None:
    balancer, found = space.balancer("web"), space.get("service", "web")
    node_port = found["spec"]["ports"][0]["nodePort"]
    space.wait(lambda: tried(f"http://{balancer}/"), 30, "the balancer")
    for url in (f"http://{found['spec']['clusterIP']}/", f"http://{balancer}/", f"http://127.0.0.1:{node_port}/"):
        with ThreadPoolExecutor(4) as threads:
            counts = Counter(threads.map(lambda _, url=url: get(url), range(200)))
        assert len(counts) == 10
        assert all(16 <= n <= 24 for n in counts.values()), counts
    assert {space.ask("friend", name) for name in ("web", f"web.{NAMESPACE}", balancer)} <= set(counts)
    reasons = {e["reason"] for e in space.get("events")["items"] if e["involvedObject"]["kind"] == "Service"}
    assert {"EnsuringLoadBalancer", "EnsuredLoadBalancer"} <= reasons


def test_scaled_to_zero_it_refuses_at_once_and_comes_back(space: Space) -> None:
    address = space.get("service", "web")["spec"]["clusterIP"]
    space.apply(server("brief", 1), service("brief"))
    space.kubectl("rollout", "status", "deployment/brief", "--timeout=60s")
    brief = space.get("service", "brief")["spec"]["clusterIP"]
    space.wait(lambda: tried(f"http://{brief}/").startswith("brief-"), 30, "the first answer")
    space.kubectl("scale", "deployment/brief", "--replicas=0")

    def refused() -> bool:
        began = time.monotonic()
        try:
            get(f"http://{brief}/", 10)
        except OSError as error:
            assert isinstance(getattr(error, "reason", error), ConnectionRefusedError), error
            assert time.monotonic() - began < 1
            return True
        return False

    space.wait(refused, 30, "the refusal")
    assert space.ask("friend", brief) == ""
    assert get(f"http://{address}/")
    space.kubectl("scale", "deployment/brief", "--replicas=1")
    space.kubectl("rollout", "status", "deployment/brief", "--timeout=60s")
    space.wait(lambda: tried(f"http://{brief}/").startswith("brief-"), 30, "the answer")


def test_a_balancer_with_a_local_policy_tells_its_health_and_goes_with_its_service(space: Space) -> None:
    space.apply(service("web", type="LoadBalancer"), {**service("near"), "metadata": {"name": "near"}})
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "selector": {"app": "web"}}
    space.kubectl("patch", "service", "near", "-p", json.dumps({"spec": spec}))
    address = space.balancer("near")
    assert address != space.balancer("web")
    port = space.get("service", "near")["spec"]["healthCheckNodePort"]
    healthy = space.wait(lambda: json.loads(tried(f"http://127.0.0.1:{port}/")), 30, "the health port")
    assert (healthy["service"], healthy["localEndpoints"]) == ({"namespace": NAMESPACE, "name": "near"}, 10)
    space.wait(lambda: tried(f"http://{address}/"), 30, "the answer")
    space.kubectl("delete", "service", "near", "--timeout=30s")

    def held() -> bool:
        return f"inet {address}/32" in space.cloud.run(["ip", "-4", "addr"]).stdout

    space.wait(lambda: not held(), 30, "the address to be taken away")


def test_network_policies_close_and_open_and_new_pods_are_never_open(space: Space) -> None:
    space.apply(server("vault", 1), service("vault"))
    space.kubectl("rollout", "status", "deployment/vault", "--timeout=60s")
    space.wait(lambda: space.ask("stranger", "vault"), 30, "the open service")
    peer = {"podSelector": {"matchLabels": {"app": "friend"}}}
    space.apply(policy("only-friends", "vault", ingress=[{"from": [peer], "ports": [{"port": "http"}]}]))
    space.wait(lambda: not space.ask("stranger", "vault", seconds=1), 30, "the policy")
    assert space.ask("friend", "vault").startswith("vault-")
    # The kubelet's probes pass: a new pod becomes ready, and from its first moment is open to its friends alone.
    knock = "while :; do printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout 1 nc vault 80 | tail -n 1 | grep vault; done"
    command = ["-n", NAMESPACE, "exec", "stranger", "--", "timeout", "20", "sh", "-c", knock]
    kubectl = ["kubectl", "--kubeconfig", str(space.cloud.data_dir / "admin.kubeconfig"), *command]
    with subprocess.Popen(kubectl, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as knocking:
        space.kubectl("rollout", "restart", "deployment/vault")
        space.kubectl("rollout", "status", "deployment/vault", "--timeout=60s")
        assert space.ask("friend", "vault").startswith("vault-")
        knocking.terminate()
        assert knocking.communicate(timeout=60)[0] == ""
    # Out: nothing but names and one service.
    dns = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}
    web = {"podSelector": {"matchLabels": {"app": "web"}}}
    space.apply(policy("narrow", "stranger", policyTypes=["Egress"], egress=[{"to": [dns]}, {"to": [web]}]))
    space.kubectl("delete", "networkpolicy", "only-friends")
    space.wait(lambda: not space.ask("stranger", "vault", seconds=1), 30, "the egress policy")
    assert space.ask("stranger", "web").startswith("web-")
    space.kubectl("delete", "networkpolicy", "narrow")
    space.wait(lambda: space.ask("stranger", "vault", seconds=1), 30, "the open service")


def test_names_of_headless_services_and_ports(space: Space) -> None:
    space.apply({**service("peers", clusterIP="None", selector={"app": "web"}), "metadata": {"name": "peers"}})
    pods = {p["status"]["podIP"] for p in space.get("pods", "-l", "app=web")["items"]}

    def resolved(name: str, kind: str = "a") -> str:
        return space.kubectl("exec", "friend", "--", "nslookup", f"-type={kind}", name, check=False).stdout

    full = f"{NAMESPACE}.svc.cluster.local"
    space.wait(lambda: all(p in resolved(f"peers.{full}") for p in pods), 30, "ten addresses")
    assert f" 80 web.{full}" in resolved(f"_http._tcp.web.{full}", "srv")
    address = space.get("service", "web")["spec"]["clusterIP"]
    reverse = ".".join(reversed(address.split("."))) + ".in-addr.arpa"
    assert f"web.{full}" in resolved(reverse, "ptr")
    space.apply({**service("alias"), "spec": {"type": "ExternalName", "externalName": f"web.{full}"}})
    space.wait(lambda: address in resolved(f"alias.{full}"), 30, "the alias")
