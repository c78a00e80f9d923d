"""A cloud whose objects are in etcd: it starts, stops and starts again, and waits for an etcd that is not there."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kumo.machinery import tls
from support.cloud import KUMO, Cloud, fresh
from support.etcd import EtcdCluster

pytestmark = pytest.mark.e2e
DATA_DIR = Path("/var/tmp/kumo-e2e-store")
PORT = 16493


@pytest.fixture
def own() -> Iterator[Cloud]:
    """An instance that does not run yet; removed in the end."""
    found = fresh(DATA_DIR, PORT)
    yield found
    found.reset()


@pytest.fixture
def etcd() -> Iterator[EtcdCluster]:
    """Three members with TLS, not started yet."""
    cluster = EtcdCluster()
    yield cluster
    cluster.stop()


def store(etcd: EtcdCluster) -> list[str]:
    """The options that lead to the cluster."""
    tls_files = ["--store-ca", str(etcd.ca), "--store-cert", str(etcd.client.cert), "--store-key", str(etcd.client.key)]
    return ["--store", str(etcd.address()), *tls_files]


def kill_all(etcd: EtcdCluster) -> None:
    for member in range(3):
        etcd.kill(member)


def test_a_cloud_on_etcd(etcd: EtcdCluster, own: Cloud, tmp_path: Path) -> None:
    other = tls.ensure_ca(tmp_path).files.cert
    # What can't heal ends at once, and says what to do.
    etcd.start()
    wrong = ["--store", str(etcd.address()), "--store-ca", str(other)]
    refused = own.kumo("up", "--detach", "--no-node", "--port", str(PORT), *wrong, check=False)
    assert refused.returncode == 1 and "not issued by the CA given with --store-ca" in refused.stderr
    # What can is waited for, from the very first start.
    kill_all(etcd)
    argv = [KUMO, "up", "--no-node", "--port", str(PORT), *own.where, *store(etcd)]
    with subprocess.Popen(argv, env=own.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as up:
        assert up.stdout is not None
        told = next(line for line in up.stdout if "waiting" in line)
        assert "… waiting for the store: etcd (127.0.0.1:" in told and "nothing listens there" in told
        etcd.revive()
        ready = next(line for line in up.stdout if line.startswith("Ready in"))
        assert ready
        own.kubectl("create", "configmap", "kept", "--from-literal=a=b")
        before = own.get("configmap", "kept")
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=20)
    # Without options: the store is remembered.
    own.up("--no-node")
    after = own.get("configmap", "kept")
    assert after == before
    control_plane = own.pid("control-plane")
    # It is killed while etcd is away: it waits, says so, and is ready when etcd is.
    kill_all(etcd)
    subprocess.run(["kill", "-9", str(control_plane)], check=True)
    log = DATA_DIR / "logs" / "supervisor.log"
    own.wait(lambda: "waiting for the store: etcd" in log.read_text(), 20, "word of the wait")
    status = own.kumo("status", check=False)
    assert (status.returncode, "waiting for the store: etcd (" in status.stdout) == (1, True), status
    etcd.revive()
    own.wait(lambda: own.get("configmap", "kept") == before, 20, "the object's return")
    # It serves on when etcd goes and comes.
    control_plane = own.pid("control-plane")
    kill_all(etcd)
    down = own.kubectl("get", "configmap", "kept", "--request-timeout=3s", check=False)
    assert down.returncode != 0
    etcd.revive()
    own.wait(lambda: own.get("configmap", "kept") == before, 20, "the object's return")
    own.kubectl("create", "configmap", "later")
    assert own.pid("control-plane") == control_plane, "a short absence of etcd needs no restart"
    own.kumo("down")
