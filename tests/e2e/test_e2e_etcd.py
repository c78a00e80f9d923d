"""`kumo up --store etcd://...`: two control planes that share etcd and a token, restarts, and a node of both."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kumo.cli.instance import load
from kumo.cli.leftovers import end_processes
from kumo.cli.status import children
from kumo.cli.supervisor import lock_holder
from support.cloud import Cloud, fresh
from support.etcd import EtcdCluster

pytestmark = pytest.mark.e2e
RANGES = "10.77.0.0/16,fd00:77::/112"
DIRECTORY = Path(os.environ.get("KUMO_E2E_DIR", "/var/tmp/kumo-e2e"))
PORT = int(os.environ.get("KUMO_E2E_PORT", "16443"))


@pytest.fixture(scope="module")
def etcd() -> Iterator[list[str]]:
    """An etcd with TLS; the options of `kumo up` that lead to it."""
    cluster = EtcdCluster(1)
    try:
        cluster.start()
        where = cluster.address("/cloud-a")
        yield [f"--store={where}", f"--store-ca={where.ca}", f"--store-cert={where.cert}", f"--store-key={where.key}"]
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def planes(etcd: list[str]) -> Iterator[tuple[Cloud, Cloud]]:
    """Two control planes without nodes, the second of which has joined the first."""
    clouds = [fresh(DIRECTORY.with_name(f"{DIRECTORY.name}-{n}"), PORT + 100 + 10 * i) for i, n in enumerate("ab")]
    first, second = clouds
    try:
        grace = ("--node-monitor-grace-period", "8")  # nodes tell every two seconds that they live
        first.up("--no-node", "--encrypt-secrets", f"--service-cidr={RANGES}", *grace, *etcd)
        refused = second.kumo("up", "--detach", "--no-node", "--port", str(second.port), *etcd, check=False)
        assert refused.returncode == 1 and "--server-token FILE" in refused.stderr
        second.up("--no-node", f"--server-token={first.data_dir / 'server-token'}", *etcd)
        yield first, second
    finally:
        for cloud in clouds:
            if (cloud.data_dir / "instance.json").exists():
                cloud.reset()


def test_two_control_planes_are_one_cloud(planes: tuple[Cloud, Cloud]) -> None:
    first, second = planes
    first.kubectl("create", "secret", "generic", "shared", "--from-literal=word=hello")
    assert second.get("secret", "shared")["data"]["word"] == "aGVsbG8=", "read at once, and decrypted"
    # A token of the one is good at the other: they sign and trust alike.
    token = first.kubectl("create", "token", "default").stdout.strip()
    config = json.loads(second.kubectl("config", "view", "--raw", "-o", "json").stdout)
    config["users"][0]["user"] = {"token": token}
    path = second.data_dir / "by-token.kubeconfig"
    path.write_text(json.dumps(config))
    who = second.kubectl("--kubeconfig", str(path), "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")
    assert who.stdout == "system:serviceaccount:default:default"
    # An administrator's certificate, too, and the CA is the same.
    assert second.kubectl("--kubeconfig", str(first.data_dir / "admin.kubeconfig"), "get", "ns", "default").stdout
    second.kubectl("create", "deployment", "web", "--image=busybox", "--replicas=2")
    first.wait(
        lambda: len(first.get("pods", "-l", "app=web")["items"]) == 2, 20, "the controllers' work, in one of them"
    )
    holders = first.get("lease", "kumo-controllers", "-n", "kube-system")["spec"]["holderIdentity"]
    assert holders.count("_") == 1
    made = [c.kubectl("create", "service", "clusterip", f"s{i}", "--tcp=80").stdout for i, c in enumerate(planes)]
    assert len(made) == 2
    names = {a["metadata"]["name"] for a in first.get("ipaddresses")["items"]}
    assert names >= {s["spec"]["clusterIP"] for s in second.get("services")["items"]}


def test_services_have_addresses_of_two_families(planes: tuple[Cloud, Cloud]) -> None:
    first, second = planes
    assert first.get("servicecidr", "kubernetes")["spec"]["cidrs"] == RANGES.split(",")
    spec = {"ipFamilyPolicy": "RequireDualStack", "ports": [{"port": 80}]}
    second.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "dual"}, "spec": spec})
    four, six = first.get("service", "dual")["spec"]["clusterIPs"]
    assert four.startswith("10.77.") and six.startswith("fd00:77::")
    assert first.get("ipaddress", six)["spec"]["parentRef"]["name"] == "dual"


def test_they_come_back(planes: tuple[Cloud, Cloud], etcd: list[str]) -> None:
    first, second = planes
    first.kubectl("create", "configmap", "kept")
    first.kumo("down")
    assert second.get("configmap", "kept")["metadata"]["name"] == "kept", "the other goes on alone"
    subsets = second.get("endpoints", "kubernetes", "-n", "default")["subsets"]
    assert [p["port"] for s in subsets for p in s["ports"]] == [second.port], "who has stopped is named no more"
    second.kubectl("create", "configmap", "meanwhile")
    first.up("--no-node")  # Store and secrets are remembered.
    assert first.get("configmap", "meanwhile")
    second.kumo("down")
    second.up("--no-node")
    assert second.get("secret", "shared")["data"] == {"word": "aGVsbG8="}


def test_a_joined_node_turns_to_the_control_plane_that_lives(planes: tuple[Cloud, Cloud]) -> None:
    """The one that it joined is killed: the node's heartbeat and its pods go on by the other one."""
    first, second = planes
    node = fresh(DIRECTORY.with_name(f"{DIRECTORY.name}-n"), PORT + 130)
    words = first.kumo("token", "create", "--print-join-command").stdout.split()[1:]
    try:
        node.kumo(*words, "--node-name", "far", "--port", str(node.port), "--detach")
        urls = node.data_dir / "api-servers.json"
        node.wait(lambda: len(json.loads(urls.read_text())) == 2, 60, "it knows both")
        lease = ("lease", "far", "-n", "kube-node-lease")
        heard = second.get(*lease)["spec"]["renewTime"]
        kill(first)
        began = time.monotonic()
        second.kubectl("label", "node", "far", "seen=yes")
        second.wait(
            lambda: second.get("lease", "far", "-n", "kube-node-lease")["spec"]["renewTime"] > heard,
            60,
            "its heartbeat",
        )
        assert time.monotonic() - began < 30, "seconds, not until somebody calls it lost"
        log = (node.data_dir / "logs" / "node.log").read_text()
        assert "another API server is asked from now on" in log
        node.kumo("down")
        node.kumo("join", "--detach")  # The one that it knows by name is away still.
        assert json.loads(node.kumo("status", "-o", "json").stdout)["nodes"] == {"far": True}
        conditions = second.get("node", "far")["status"]["conditions"]
        assert next(c["status"] for c in conditions if c["type"] == "Ready") == "True"
    finally:
        if (node.data_dir / "instance.json").exists():
            node.reset()
        first.up("--no-node")
    second.kubectl("delete", "node", "far")


def kill(cloud: Cloud) -> None:
    """The machine of a control plane loses its power: nothing is written or told."""
    instance = load(cloud.data_dir)
    assert instance is not None
    pid = lock_holder(instance)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    end_processes([pid, *children(pid)])
