"""A real etcd cluster on loopback for tests: three members with TLS and client certificates, which one can kill.

cluster = EtcdCluster(directory); cluster.start(); store = EtcdStore(cluster.address()); ...; cluster.stop()
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from kumo.machinery import tls
from kumo.store.etcd.address import EtcdAddress


def free_ports(count: int) -> list[int]:
    """Ports of loopback that are free now, below those that the kernel gives to clients: a dead member's port stays."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in found:
                found.append(port)
    return found


class EtcdCluster:
    """`size` members; `secure` with TLS. `flags` are more arguments for each."""

    def __init__(self, size: int = 3, *, secure: bool = True, flags: tuple[str, ...] = ()) -> None:
        # Not below pytest's directories: nobody looks at it afterwards, and it must not stay.
        for left in Path("/var/tmp").glob("kumo-etcd-*-*"):
            if not Path("/proc", left.name.split("-")[2]).exists():
                shutil.rmtree(left, ignore_errors=True)  # A killed run's: its members died with it.
        self.directory = Path(mkdtemp(prefix=f"kumo-etcd-{os.getpid()}-", dir="/var/tmp"))
        self.secure = secure
        self._flags = flags
        self._prefixes = 0
        ports = free_ports(2 * size)
        self.client_ports, self._peer_ports = ports[:size], ports[size:]
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * size
        if secure:
            pki = self.directory / "pki"
            pki.mkdir()
            authority = tls.ensure_ca(pki)
            self.ca = authority.files.cert
            self.server = tls.ensure_certificate(
                authority, pki, "server", common_name="etcd", organizations=(), names=("127.0.0.1",), server=True,
                client=True,
            )  # fmt: skip
            self.client = tls.ensure_client_certificate(authority, pki, "client", "kumo", [])

    def address(self, prefix: str = "/kumo", members: list[int] | None = None) -> EtcdAddress:
        """The address of the cluster, or of some of its members."""
        ports = self.client_ports if members is None else [self.client_ports[m] for m in members]
        hosts = tuple(f"127.0.0.1:{port}" for port in ports)
        if not self.secure:
            return EtcdAddress(hosts, prefix)
        return EtcdAddress(hosts, prefix, self.ca, self.client.cert, self.client.key)

    def fresh(self) -> EtcdAddress:
        """The address with a prefix that nobody has used."""
        self._prefixes += 1
        return self.address(f"/test-{self._prefixes}")

    def start(self) -> EtcdCluster:
        """Start every member and wait until the cluster has a leader."""
        for member in range(len(self._processes)):
            self.start_member(member)
        self.wait()
        return self

    def start_member(self, member: int) -> None:
        """Start one member; after a kill, from what it has on disk."""
        scheme = "https" if self.secure else "http"
        client = f"{scheme}://127.0.0.1:{self.client_ports[member]}"
        peer = f"{scheme}://127.0.0.1:{self._peer_ports[member]}"
        peers = ",".join(f"m{i}={scheme}://127.0.0.1:{port}" for i, port in enumerate(self._peer_ports))
        # It dies with us. (A function to run in the child would do, but for a fork: gRPC's threads don't survive one.)
        argv = [
            "setpriv", "--pdeathsig", "KILL",
            "etcd", "--name", f"m{member}", "--data-dir", str(self.directory / f"m{member}"),
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", peers, "--initial-cluster-state", "new", "--logger", "zap", "--log-level", "error",
            "--heartbeat-interval", "50", "--election-timeout", "500", "--grpc-keepalive-min-time", "500ms",
            *self._flags,
        ]  # fmt: skip
        if self.secure:
            argv += [
                "--client-cert-auth", "--trusted-ca-file", str(self.ca),
                "--cert-file", str(self.server.cert), "--key-file", str(self.server.key),
                "--peer-client-cert-auth", "--peer-trusted-ca-file", str(self.ca),
                "--peer-cert-file", str(self.server.cert), "--peer-key-file", str(self.server.key),
            ]  # fmt: skip
        log = (self.directory / f"m{member}.log").open("ab")
        self._processes[member] = subprocess.Popen(argv, stdout=log, stderr=log)
        log.close()

    def wait(self, timeout: float = 30.0) -> None:
        """Wait until the cluster answers writes."""
        deadline = time.monotonic() + timeout
        while True:
            found = self.ctl("endpoint", "health", check=False)
            if found.returncode == 0:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"etcd did not start: {found.stderr}")
            time.sleep(0.05)

    def ctl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run etcdctl."""
        alive = [f"127.0.0.1:{p}" for p, process in zip(self.client_ports, self._processes) if process]
        argv = ["etcdctl", "--endpoints", ",".join(alive), "--command-timeout=5s"]
        if self.secure:
            argv += ["--cacert", str(self.ca), "--cert", str(self.client.cert), "--key", str(self.client.key)]
        return subprocess.run(
            [*argv, *arguments], env={"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
            check=check,
        )  # fmt: skip

    def leader(self) -> int:
        """The number of the member that leads."""
        status: list[dict[str, Any]] = json.loads(self.ctl("endpoint", "status", "-w", "json").stdout)
        for found in status:
            if found["Status"]["leader"] == found["Status"]["header"]["member_id"]:
                return self.client_ports.index(int(found["Endpoint"].rpartition(":")[2]))
        raise LookupError("no member leads")

    def kill(self, member: int) -> None:
        """End a member as a power cut would."""
        process = self._processes[member]
        assert process is not None
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()
        self._processes[member] = None

    def pause(self, member: int) -> None:
        """Let a member fall silent; its connections stay."""
        process = self._processes[member]
        assert process is not None
        process.send_signal(signal.SIGSTOP)

    def resume(self, member: int) -> None:
        """Let it go on."""
        process = self._processes[member]
        assert process is not None
        process.send_signal(signal.SIGCONT)

    def revive(self) -> bool:
        """Bring back every member that was killed or paused, without waiting for it; whether there was any.

        To be called in the main thread: a member dies with the thread that started it.
        """
        hurt = False
        for member, process in enumerate(self._processes):
            if process is None or process.poll() is not None:
                self.start_member(member)
                hurt = True
            elif _is_stopped(process.pid):
                process.send_signal(signal.SIGCONT)
                hurt = True
        return hurt

    def heal(self) -> None:
        """Bring all members back, and wait until they answer."""
        if self.revive():
            self.wait()

    def stop(self) -> None:
        """End every member and remove its data."""
        for member, process in enumerate(self._processes):
            if process is not None:
                self.kill(member)
        shutil.rmtree(self.directory, ignore_errors=True)


def _is_stopped(pid: int) -> bool:
    """Whether the process is stopped by a signal (its state in /proc/PID/stat is T)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
