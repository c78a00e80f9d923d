"""Three machines, one cloud: `kumo up` on the first, `kumo join` on the others, and what becomes of nodes."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from ipaddress import IPv6Address, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import pytest

from kumo.api.node_components import INGRESS_LABEL
from kumo.kubernetes.kube_proxy.announcement import chosen
from kumo.machinery import tls
from support.cloud import vm_manifest
from support.machines import NETWORK, Machine, machines

pytestmark = pytest.mark.e2e
DIRECTORY = Path(os.environ.get("KUMO_E2E_DIR", "/var/tmp/kumo-e2e"))
LAB = f"kl{int(os.environ.get('KUMO_E2E_PORT', '16443')) % 1000}"
GRACE = "8"
BALANCERS = f"{NETWORK}.128/28"
"""On the machines' own segment: who wants to talk to a load balancer asks his neighbours for it."""
OPTIONS = ("--node-monitor-grace-period", GRACE, "--load-balancer-range", BALANCERS)
OPTIONS += ("--service-cidr", "10.97.0.0/16,fd00:97::/112")
SERVE = "mkdir /www; echo $NODE > /www/index.html; echo serves on $NODE; exec httpd -f -v -p 8080 -h /www"
WAIT = 90


def container(command: str) -> dict[str, Any]:
    node = {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    return {
        "name": "main",
        "image": "busybox",
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", command],
        "env": [node],
    }


def pod_spec(command: str = SERVE, **more: Any) -> dict[str, Any]:
    return {"terminationGracePeriodSeconds": 0, "containers": [container(command)]} | more


def workload(kind: str, name: str, spec: dict[str, Any], **more: Any) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": spec}
    body = {"selector": {"matchLabels": labels}, "template": template, **more}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": body}


def not_ready_tolerations(seconds: int) -> list[dict[str, Any]]:
    keys = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
    return [{"key": k, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds} for k in keys]


@pytest.fixture(scope="module")
def lab() -> Iterator[list[Machine]]:
    """m1 with the control plane and a node, m2 and m3 with nodes; a DaemonSet `web` with a Service on all."""
    with machines(LAB, 3, DIRECTORY) as made:
        first = made[0]
        first.up(*OPTIONS)
        for machine in made[1:]:
            machine.join(first)
        for machine in made:
            equip(first, machine)
        first.apply(workload("DaemonSet", "web", pod_spec(nodeSelector={"images": "there"})))
        ports = [{"port": 80, "targetPort": 8080, "nodePort": 30080}]
        families = {"ipFamilyPolicy": "RequireDualStack"}
        spec = {"type": "NodePort", "selector": {"app": "web"}, "ports": ports, **families}
        first.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec})
        first.kubectl("rollout", "status", "ds/web", "--timeout=90s")
        yield made


def equip(first: Machine, machine: Machine) -> None:
    """Give the machine the image of the tests, and let the DaemonSet come to it."""
    machine.import_busybox()
    first.kubectl("label", "node", machine.name, "images=there")


def pods_by_node(first: Machine, app: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for pod in first.get("pods", "-l", f"app={app}")["items"]:
        found.setdefault(pod["spec"].get("nodeName", ""), []).append(pod)
    return found


def name(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["name"])


def ask(first: Machine, pod: str, hosts: list[str], port: int) -> list[str]:
    """What the servers say to a pod that asks each of them."""
    each = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 $h {port} | tail -n 1"
    command = f"for h in {' '.join(hosts)}; do {each}; done"
    return first.kubectl("exec", pod, "--", "sh", "-c", command).stdout.split()


def fetch(first: Machine, pod: str, host: str) -> str:
    """What the server of the pod at `host` says to a pod that asks it."""
    return " ".join(ask(first, pod, [host], 8080))


def ready(first: Machine, node: str) -> str:
    conditions = first.get("node", node)["status"]["conditions"]
    return str(next(c["status"] for c in conditions if c["type"] == "Ready"))


def living(first: Machine, app: str) -> list[dict[str, Any]]:
    return [
        p
        for p in first.get("pods", "-l", f"app={app}")["items"]
        if not p["metadata"].get("deletionTimestamp")
        and any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions", ()))
    ]


def on_node(first: Machine, node: str) -> list[dict[str, Any]]:
    """The DaemonSet's ready pods on a node: a rollout may be called done before its pod is made."""
    return [p for p in living(first, "web") if p["spec"]["nodeName"] == node]


def test_pods_of_all_nodes_reach_each_other_and_services(lab: list[Machine]) -> None:
    first = lab[0]
    nodes = {n["metadata"]["name"]: n for n in first.get("nodes")["items"]}
    ranges = {n["spec"]["podCIDR"] for n in nodes.values()}
    assert set(nodes) == {"m1", "m2", "m3"} and len(ranges) == 3
    pods = {node: found[0] for node, found in pods_by_node(first, "web").items()}
    assert set(pods) == set(nodes)
    addresses = {node: pod["status"]["podIP"] for node, pod in pods.items()}
    for node, pod in pods.items():
        assert ask(first, name(pod), list(addresses.values()), 8080) == list(addresses)
        assert set(ask(first, name(pod), ["web"] * 12, 80)) == set(nodes), f"the Service, from {node}"
    heard = first.kubectl("logs", name(pods["m3"])).stdout
    assert all(f"{addresses[n]}]" in heard for n in nodes), "between pods nothing is masqueraded"
    for machine in lab:  # from outside, to each node, whoever answers
        answers = {
            first.run(["curl", "-s", "-m", "5", f"http://{machine.address}:30080/"]).stdout.strip() for _ in range(12)
        }
        assert answers == set(nodes)
    for node, pod in pods.items():
        assert first.kubectl("logs", name(pod)).stdout.startswith(f"serves on {node}\n")
        assert first.kubectl("exec", name(pod), "--", "sh", "-c", "echo $NODE").stdout.strip() == node
    csrs = first.get("csr")["items"]
    signers = {(c["spec"]["username"], c["spec"]["signerName"].partition("/")[2]) for c in csrs}
    assert ("system:node:m2", "kubelet-serving") in signers
    slices = first.get("endpointslices", "-n", "kube-system", "-l", "kubernetes.io/service-name=kube-dns")["items"]
    assert {s["endpoints"][0]["nodeName"] for s in slices} == set(nodes)


def test_pods_of_all_nodes_reach_each_other_by_ipv6(lab: list[Machine]) -> None:
    """Both families over one overlay: pods, the Service, node ports, and packets as large as they may be."""
    first = lab[0]
    pods = {node: found[0] for node, found in pods_by_node(first, "web").items()}
    addresses = {node: pod["status"]["podIPs"][1]["ip"] for node, pod in pods.items()}
    ranges = {n["metadata"]["name"]: n["spec"]["podCIDRs"][1] for n in first.get("nodes")["items"]}
    assert all(IPv6Address(addresses[n]) in IPv6Network(ranges[n]) for n in ranges) and len(set(ranges.values())) == 3
    (service,) = [a for a in first.get("service", "web")["spec"]["clusterIPs"] if ":" in a]
    for node, pod in pods.items():
        assert ask(first, name(pod), list(addresses.values()), 8080) == list(addresses)
        assert set(ask(first, name(pod), [service] * 12, 80)) == set(pods), f"the Service, from {node}"
    heard = first.kubectl("logs", name(pods["m3"])).stdout
    assert all(f"[{addresses[n]}]" in heard for n in pods), "between pods nothing is masqueraded"
    largest = 1500 - 50 - 40 - 8  # VXLAN's share, IPv6's header, ICMP's
    ping = ("ping", "-6", "-c", "1", "-W", "5", "-s", str(largest), addresses["m2"])
    assert " 0% packet loss" in first.kubectl("exec", name(pods["m3"]), "--", *ping).stdout
    for machine in lab:  # from outside, to each node's own address
        url = f"http://[{machine.address6}]:30080/"
        answers = {first.run(["curl", "-s", "-m", "5", url]).stdout.strip() for _ in range(12)}
        assert answers == set(pods)
    internal = {a["address"] for a in first.get("node", "m2")["status"]["addresses"] if a["type"] == "InternalIP"}
    assert internal == {lab[1].address, lab[1].address6}


def test_network_policies_hold_over_nodes(lab: list[Machine]) -> None:
    first = lab[0]
    pods = {node: found[0] for node, found in pods_by_node(first, "web").items()}
    addresses = {node: pod["status"]["podIP"] for node, pod in pods.items()}
    first.kubectl("label", "pod", name(pods["m2"]), "friend=yes")
    peer = {"podSelector": {"matchLabels": {"friend": "yes"}}}
    spec = {"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [{"from": [peer]}]}
    meta = {"name": "friends"}
    first.apply({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": spec})

    def heard(asker: str, asked: str) -> bool:
        command = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 1 {addresses[asked]} 8080 | tail -n 1"
        return first.kubectl("exec", name(pods[asker]), "--", "sh", "-c", command, check=False).stdout.strip() == asked

    # A pod may always talk to itself, and a friend to everybody; nobody else to anybody on any node.
    wanted = {(a, b): a in (b, "m2") for a in pods for b in pods}
    first.wait(lambda: {pair: heard(*pair) for pair in wanted} == wanted, WAIT, "the policy on all nodes")
    first.kubectl("delete", "networkpolicy", "friends")
    first.wait(lambda: all(heard(*pair) for pair in wanted), WAIT, "the open network")


def test_one_node_answers_for_a_balancers_address(lab: list[Machine]) -> None:
    first = lab[0]
    ports = [{"port": 80, "targetPort": 8080}]
    spec = {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": ports}
    first.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "balanced"}, "spec": spec})

    def address() -> str:
        return str(first.get("service", "balanced")["status"]["loadBalancer"]["ingress"][0]["ip"])

    balancer = first.wait(address, WAIT, "an address")
    assert str(balancer).startswith(f"{NETWORK}.1")

    def holders() -> list[str]:
        return [m.name for m in lab if f"inet {balancer}/32" in m.run(["ip", "-4", "addr"]).stdout]

    first.wait(lambda: len(holders()) == 1, WAIT, "one node to hold it")
    for machine in lab:
        answers = {machine.run(["curl", "-s", "-m", "5", f"http://{balancer}/"]).stdout.strip() for _ in range(12)}
        assert answers == {"m1", "m2", "m3"}
    first.kubectl("delete", "service", "balanced")
    first.wait(lambda: not holders(), WAIT, "nobody to hold it")


def test_a_labelled_node_serves_ingresses(lab: list[Machine], tmp_path: Path) -> None:
    first, second = lab[:2]
    ca = tls.ensure_ca(tmp_path)
    pair = tls.ensure_server_certificate(ca, tmp_path, "site", names=("site.example.com",))
    first.kubectl("create", "secret", "tls", "site", f"--cert={pair.cert}", f"--key={pair.key}")
    first.kubectl("create", "ingress", "site", "--rule=site.example.com/*=web:80,tls=site")

    def served() -> dict[str, str]:
        selector = "kubernetes.io/service-name=kumo-ingress"
        found = first.get("endpointslices", "-n", "kube-system", "-l", selector)["items"]
        return {s["endpoints"][0]["nodeName"]: s["endpoints"][0]["addresses"][0] for s in found}

    def asked(machine: Machine, scheme: str = "https", port: int = 10443) -> str:
        """What haproxy on the machine itself answers."""
        host = f"site.example.com:{port}"
        command = ["curl", "-s", "-m", "5", "--cacert", str(ca.files.cert), "-w", "%{redirect_url}"]
        return machine.run([*command, "--resolve", f"{host}:{served()[machine.name]}", f"{scheme}://{host}/"]).stdout

    first.wait(lambda: set(served()) == {"m1"}, WAIT, "the control plane's node alone to serve")
    first.kubectl("label", "node", "m2", f"{INGRESS_LABEL}=true")
    first.wait(lambda: set(served()) == {"m1", "m2"}, WAIT, "the labelled node to serve")
    first.wait(lambda: asked(second).strip() in pods_by_node(first, "web"), WAIT, "the page, with its certificate")
    assert asked(second, "http", 10080) == "https://site.example.com/"
    first.kubectl("label", "node", "m2", f"{INGRESS_LABEL}-")
    first.wait(lambda: set(served()) == {"m1"}, WAIT, "it to serve no more")
    first.kubectl("delete", "ingress/site", "secret/site")


def test_a_port_is_forwarded_to_a_pod_on_another_node(lab: list[Machine]) -> None:
    first = lab[0]
    pod = name(pods_by_node(first, "web")["m3"][0])
    command = [*first.prefix, "kubectl", "port-forward", pod, ":8080"]
    forward = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=first.env)
    try:
        assert forward.stdout is not None
        line = forward.stdout.readline()
        port = line.split(" -> ")[0].rpartition(":")[2]
        assert first.run(["curl", "-s", "-m", "10", f"http://127.0.0.1:{port}/"]).stdout.strip() == "m3"
    finally:
        forward.kill()
        forward.communicate()


def test_volumes_are_made_where_pods_go_and_copies_where_their_source_is(lab: list[Machine]) -> None:
    first = lab[0]
    size = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "32Mi"}}}
    group = "snapshot.storage.k8s.io"

    def start(pod: str, source: dict[str, Any] | None = None, **more: Any) -> None:
        spec = size if source is None else {**size, "dataSource": source}
        first.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": pod}, "spec": spec})
        main = container("[ -e /data/f ] || echo $NODE > /data/f; sync; exec sleep 3600")
        main["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
        volume = {"name": "data", "persistentVolumeClaim": {"claimName": pod}}
        spec = {"terminationGracePeriodSeconds": 1, "containers": [main], "volumes": [volume], **more}
        first.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod}, "spec": spec})
        first.wait(lambda: first.kubectl("exec", pod, "--", "cat", "/data/f").stdout, WAIT, f"{pod} running")

    start("kept", nodeSelector={"kubernetes.io/hostname": "m2"})
    snapshot = {"apiVersion": f"{group}/v1", "kind": "VolumeSnapshot", "metadata": {"name": "kept"}}
    first.apply(snapshot | {"spec": {"source": {"persistentVolumeClaimName": "kept"}}})
    first.kubectl("wait", "volumesnapshot/kept", "--for=jsonpath={.status.readyToUse}=true", "--timeout=60s")
    copies = {f"copy{n}": {"apiGroup": group, "kind": "VolumeSnapshot", "name": "kept"} for n in range(2)}
    copies["clone"] = {"kind": "PersistentVolumeClaim", "name": "kept"}
    for copy, source in copies.items():
        start(copy, source, nodeSelector={"images": "there"})
        assert first.kubectl("exec", copy, "--", "cat", "/data/f").stdout == "m2\n"
        assert first.get("pod", copy)["spec"]["nodeName"] == "m2"
    for kind in ("pod", "pvc", "volumesnapshot"):
        first.kubectl("delete", kind, *(["kept"] if kind == "volumesnapshot" else ["kept", *copies]), "--timeout=60s")
    first.wait(lambda: not first.get("pv")["items"], WAIT, "no volumes left")


def test_a_node_says_who_it_is_and_may_do_nothing_else(lab: list[Machine]) -> None:
    """NodeRestriction and the node authorizer hold for joined nodes, with the certificate that they were given."""
    first, second = lab[:2]
    pem = str(second.data_dir / "pki" / "kubelet-client.pem")
    ca = str(second.data_dir / "pki" / "ca.crt")
    url = f"https://{first.address}:{first.port}"
    kubectl = ["--kubeconfig=/dev/null", f"--server={url}", f"--certificate-authority={ca}"]
    kubectl += [f"--client-certificate={pem}", f"--client-key={pem}"]
    assert second.kubectl(*kubectl, "get", "node", "m2", "-o", "name").stdout == "node/m2\n"
    for refused in (["label", "node", "m3", "x=y"], ["get", "secrets", "-A"], ["taint", "node", "m2", "a=b:NoExecute"]):
        done = second.kubectl(*kubectl, *refused, check=False)
        assert done.returncode and "orbidden" in done.stderr, refused
    secrets = [*kubectl, "--as=system:serviceaccount:kubevirt:kubevirt-handler", "get", "secrets", "-A"]
    assert "orbidden" in second.kubectl(*secrets, check=False).stderr, "nor as one of its components"
    again = second.kumo("join", "--detach", check=False)
    assert again.returncode == 1 and "kumo already runs" in again.stderr
    report = json.loads(second.kumo("status", "-o", "json").stdout)
    assert report["nodes"] == {"m2": True} and report["url"] == url


def test_a_virtual_machine_runs_on_a_node_that_has_joined(lab: list[Machine]) -> None:
    first, second = lab[:2]
    second.import_disk()
    manifest = vm_manifest("far")
    manifest["spec"]["template"]["spec"] |= {
        "nodeSelector": {"kubernetes.io/hostname": "m2"},
        "terminationGracePeriodSeconds": 0,
    }
    first.apply(manifest)

    def status() -> dict[str, Any]:
        found: dict[str, Any] = first.get("vmi", "far")["status"]
        return found

    first.wait(lambda: status()["phase"] == "Running", WAIT, "the guest is started")
    assert status()["nodeName"] == "m2"
    first.virt("pause", "vm", "far")  # virt-api asks virt-handler on the other machine.
    first.wait(lambda: any(c["type"] == "Paused" for c in status()["conditions"]), WAIT, "it rests")
    first.kubectl("delete", "vm", "far", "--timeout=90s")


def test_drain_obeys_budgets_and_uncordon_lets_pods_come_again(lab: list[Machine]) -> None:
    first = lab[0]
    spread = [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"app": "shop"}},
        }
    ]
    first.apply(workload("Deployment", "shop", pod_spec(topologySpreadConstraints=spread), replicas=3))
    first.kubectl("rollout", "status", "deploy/shop", "--timeout=90s")
    assert set(pods_by_node(first, "shop")) == {"m1", "m2", "m3"}
    first.kubectl("create", "pdb", "shop", "--selector=app=shop", "--min-available=3")
    first.wait(lambda: first.get("pdb", "shop")["status"]["currentHealthy"] == 3, WAIT, "the budget is counted")
    drain = ("drain", "m3", "--ignore-daemonsets", "--delete-emptydir-data")
    refused = first.kubectl(*drain, "--timeout=3s", check=False)
    assert refused.returncode and "would violate the pod's disruption budget" in refused.stdout + refused.stderr
    assert len(living(first, "shop")) == 3
    first.kubectl("patch", "pdb", "shop", "--type=merge", "-p", '{"spec":{"minAvailable":2}}')
    first.kubectl(*drain, "--timeout=60s")
    first.wait(lambda: len(living(first, "shop")) == 3, WAIT, "the pods run elsewhere")
    assert "m3" not in pods_by_node(first, "shop") and "m3" in pods_by_node(first, "web")
    assert "SchedulingDisabled" in first.kubectl("get", "node", "m3").stdout
    first.kubectl("uncordon", "m3")
    first.kubectl("scale", "deploy/shop", "--replicas=6")
    first.wait(lambda: "m3" in pods_by_node(first, "shop"), WAIT, "pods come to the node again")
    first.kubectl("delete", "deploy/shop", "pdb/shop", "--wait=false")


def test_noexecute_taints_evict_in_their_time(lab: list[Machine]) -> None:
    first = lab[0]
    toleration = {"key": "maintenance", "operator": "Exists", "effect": "NoExecute"}
    kinds: dict[str, list[dict[str, Any]]] = {
        "at-once": [],
        "in-time": [{**toleration, "tolerationSeconds": 3}],
        "never": [toleration],
    }
    for each, tolerations in kinds.items():
        spec = pod_spec("exec sleep 1000", nodeName="m2", tolerations=tolerations)
        meta = {"name": each, "labels": {"app": "taint"}}
        first.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    first.kubectl("wait", "--for=condition=Ready", "pod", "-l", "app=taint", "--timeout=60s")
    began = time.monotonic()
    first.kubectl("taint", "node", "m2", "maintenance=now:NoExecute")
    try:
        first.kubectl("wait", "--for=delete", "pod/at-once", "--timeout=60s")
        first.kubectl("wait", "--for=delete", "pod/in-time", "--timeout=60s")
        assert time.monotonic() - began >= 3
        assert first.get("pod", "never")["status"]["phase"] == "Running"
    finally:
        first.kubectl("taint", "node", "m2", "maintenance-")
        first.kubectl("delete", "pod", "-l", "app=taint", "--force", "--grace-period=0")
    first.kubectl("rollout", "status", "ds/web", "--timeout=90s")


def test_a_node_that_dies_loses_its_pods_and_comes_back_clean(lab: list[Machine]) -> None:
    first, second, _ = lab
    spec = pod_spec(
        tolerations=not_ready_tolerations(1), nodeSelector={"role": "worker"}, terminationGracePeriodSeconds=1
    )
    first.kubectl("label", "node", "m2", "role=worker")
    first.apply(workload("Deployment", "work", spec, replicas=2))
    first.kubectl("rollout", "status", "deploy/work", "--timeout=90s")
    lost = {p["metadata"]["uid"] for p in pods_by_node(first, "work")["m2"]}
    assert len(lost) == 2
    second.kill()
    first.kubectl("label", "node", "m3", "role=worker")
    first.wait(lambda: ready(first, "m2") == "Unknown", WAIT, "the silence is noticed")
    first.wait(
        lambda: len([p for p in living(first, "work") if p["spec"]["nodeName"] == "m3"]) == 2, WAIT, "others take over"
    )
    node = first.get("node", "m2")
    taints = {(t["key"], t["effect"]) for t in node["spec"]["taints"]}
    assert taints == {("node.kubernetes.io/unreachable", e) for e in ("NoSchedule", "NoExecute")}
    reasons = {c["reason"] for c in node["status"]["conditions"] if c["status"] == "Unknown"}
    assert reasons == {"NodeStatusUnknown"}
    shown = {p["metadata"]["uid"] for p in pods_by_node(first, "work")["m2"]}
    assert shown == lost, "nobody can say that they have ended, so they stay until the node can"
    web = pods_by_node(first, "web")["m2"][0]
    assert web["metadata"].get("deletionTimestamp") is None, "daemon pods tolerate it"
    second.kumo("join", "--detach")
    first.wait(lambda: ready(first, "m2") == "True", WAIT, "the node is back")
    first.wait(lambda: "m2" not in pods_by_node(first, "work"), WAIT, "the lost pods are gone")
    first.wait(lambda: not first.get("node", "m2")["spec"].get("taints"), WAIT, "the taints are gone")
    first.kubectl("rollout", "status", "ds/web", "--timeout=90s")
    back = pods_by_node(first, "web")["m2"][0]
    assert back["metadata"]["uid"] == web["metadata"]["uid"], "the same pod, started anew"
    assert fetch(first, name(pods_by_node(first, "web")["m1"][0]), back["status"]["podIP"]) == "m2"
    left = list((second.data_dir / "node" / "pods").iterdir())
    assert not {p.name for p in left} & lost, "no directory of a lost pod"
    first.kubectl("delete", "deploy/work", "--wait=false")


def neighbour_of(lab: list[Machine], node: str) -> str:
    """A free address of the pool for which just this node is the one to answer."""
    names = [m.name for m in lab]
    services = lab[0].get("services", "--all-namespaces")["items"]
    taken = {i["ip"] for s in services for i in s["status"]["loadBalancer"].get("ingress") or ()}
    hosts = [str(a) for a in ip_network(BALANCERS).hosts()]
    return next(a for a in hosts if a not in taken and chosen(a, names) == node)


def test_a_partition_heals(lab: list[Machine]) -> None:
    first, _, third = lab
    balancer = neighbour_of(lab, "m3")
    ports = [{"port": 80, "targetPort": 8080}]
    spec = {"type": "LoadBalancer", "loadBalancerIP": balancer, "selector": {"app": "web"}, "ports": ports}
    first.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "moving"}, "spec": spec})

    def asked() -> str:
        """From the segment, by a machine that is no node."""
        command = ["nsenter", f"--net=/run/netns/{LAB}-sw", "curl", "-s", "-m", "2", f"http://{balancer}/"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    first.wait(asked, WAIT, "the balancer, by m3")
    first.kubectl("label", "node", "m3", "role=cut", "--overwrite")
    spec = pod_spec(tolerations=not_ready_tolerations(1), nodeSelector={"role": "cut"}, terminationGracePeriodSeconds=1)
    first.apply(workload("Deployment", "cut", spec, replicas=1))
    first.kubectl("rollout", "status", "deploy/cut", "--timeout=90s")
    (lost,) = pods_by_node(first, "cut")["m3"]
    before = pods_by_node(first, "web")["m3"][0]
    third.link(up=False)
    try:
        first.wait(lambda: ready(first, "m3") == "Unknown", WAIT, "the silence is noticed")
        noticed = time.monotonic()
        first.wait(lambda: asked() in ("m1", "m2"), WAIT, "the balancer, by another node")
        assert time.monotonic() - noticed < 10, "the neighbours were told"
        first.wait(lambda: "deletionTimestamp" in first.get("pod", name(lost))["metadata"], WAIT, "its pod is given up")
        lone = third.run(["curl", "-s", "-m", "5", f"http://{before['status']['podIP']}:8080/"]).stdout
        assert lone.strip() == "m3", "what runs there runs on"
    finally:
        third.link(up=True)
    first.wait(lambda: ready(first, "m3") == "True", WAIT, "the node is heard again")
    first.kubectl("wait", "--for=delete", f"pod/{name(lost)}", "--timeout=90s")
    first.wait(lambda: not first.get("node", "m3")["spec"].get("taints"), WAIT, "the taints are gone")
    first.wait(lambda: living(first, "cut"), WAIT, "the pod is made anew")
    first.kubectl("rollout", "status", "ds/web", "--timeout=90s")
    after = pods_by_node(first, "web")["m3"][0]
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert [c["restartCount"] for c in after["status"]["containerStatuses"]] == [0], "it never stopped"
    assert fetch(first, name(pods_by_node(first, "web")["m1"][0]), after["status"]["podIP"]) == "m3"
    first.wait(lambda: asked() in ("m1", "m2", "m3"), WAIT, "the balancer, by m3 again")
    first.kubectl("delete", "deploy/cut", "service/moving", "--wait=false")


def test_down_and_join_again_then_a_node_leaves_for_good(lab: list[Machine]) -> None:
    first, second, third = lab
    second.kumo("down")
    assert second.kumo("status", check=False).returncode == 3
    second.kumo("join", "--detach")
    first.kubectl("rollout", "status", "ds/web", "--timeout=90s")
    # A node that is deleted while it runs is made anew.
    uid = first.get("node", "m2")["metadata"]["uid"]
    first.kubectl("delete", "node", "m2")
    first.wait(lambda: first.get("node", "m2")["metadata"]["uid"] != uid and ready(first, "m2") == "True", WAIT, "m2")
    first.kubectl("label", "node", "m2", "images=there")
    first.kubectl("rollout", "status", "ds/web", "--timeout=90s")
    gone = first.get("node", "m3")
    first.kubectl("drain", "m3", "--ignore-daemonsets", "--force", "--timeout=60s")
    told = third.kumo("reset", "--yes").stdout
    assert f"Its Node is still known at https://{first.address}:6443: there, type 'kubectl delete node m3'." in told
    first.kubectl("delete", "node", "m3")
    first.wait(lambda: gone["spec"]["podCIDR"] not in first.run(["ip", "route"]).stdout, WAIT, "nothing leads there")
    first.wait(
        lambda: first.kubectl("get", "endpointslice", "-n", "kube-system", "kube-dns-m3", check=False).returncode,
        WAIT,
        "its DNS is told no more",
    )
    first.wait(
        lambda: first.kubectl("get", "lease", "-n", "kube-node-lease", "m3", check=False).returncode, WAIT, "its lease"
    )
    third.join(first)
    equip(first, third)
    (new,) = first.wait(lambda: on_node(first, "m3"), WAIT, "the pod there")
    assert first.get("node", "m3")["metadata"]["uid"] != gone["metadata"]["uid"]
    assert fetch(first, name(pods_by_node(first, "web")["m2"][0]), new["status"]["podIP"]) == "m3"


def test_the_pod_network_may_be_anothers(lab: list[Machine], tmp_path: Path) -> None:
    """Debian's bridge plugin on one machine: its pods are not the others' neighbours, but Services and names work."""
    first, _, third = lab
    third.reset()
    first.kubectl("delete", "node", "m3")
    ranges = {"dataDir": str(tmp_path / "ipam"), "ranges": [[{"subnet": "10.199.7.0/24"}]]}
    ipam = {"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}], **ranges}
    bridge = {
        "type": "bridge",
        "bridge": "other0",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": ipam,
    }
    config = {"cniVersion": "1.0.0", "name": "other", "plugins": [bridge]}
    (tmp_path / "10-other.conflist").write_text(json.dumps(config))
    made_with = ("--node-labels", "tier=edge,disk=ssd", "--register-with-taints", "edge=yes:PreferNoSchedule")
    third.join(first, "--cni-conf", str(tmp_path), "--ca-file", str(first.data_dir / "pki" / "ca.crt"), *made_with)
    node = first.get("node", "m3")
    assert node["metadata"]["labels"].items() >= {"tier": "edge", "disk": "ssd"}.items()
    assert {"key": "edge", "value": "yes", "effect": "PreferNoSchedule"} in node["spec"]["taints"]
    first.kubectl("label", "node", "m3", "node-role.kubernetes.io/edge=")
    assert first.kubectl("get", "node", "m3", "--no-headers").stdout.split()[2] == "edge"
    equip(first, third)
    (new,) = first.wait(lambda: on_node(first, "m3"), WAIT, "the pod there")
    assert new["status"]["podIP"].startswith("10.199.7.")
    knock = "nc -w 5 kubernetes.default 443 < /dev/null && echo reached"
    assert first.kubectl("exec", name(new), "--", "sh", "-c", knock).stdout.strip() == "reached", "a name and a Service"
    links = third.run(["ip", "-br", "link"]).stdout
    assert "other0" in links and "kumo" not in links
