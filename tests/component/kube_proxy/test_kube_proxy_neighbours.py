"""Balancers' addresses as neighbours on the segment see them: one node has them, then another, then nobody."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress

import pytest

from kumo.host.network.links import Links
from kumo.host.network.namespaces import run_in_netns, set_sysctl
from kumo.kubernetes.kube_proxy.announcement import Announcer

pytestmark = [
    pytest.mark.component,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces and links"),
]
FOUR, SIX, PORT = "192.0.2.200", "fd0a::200", 5353


class Machine:
    """A namespace with an uplink and a bridge, and a server that tells its number to whoever asks."""

    def __init__(self, lab: str, number: int) -> None:
        self.path, self.number = f"/run/netns/{lab}-{number}", number
        self.announcer = Announcer("pods")
        subprocess.run(["ip", "netns", "add", f"{lab}-{number}"], check=True)
        switch = f"/run/netns/{lab}"

        def plug() -> None:
            with Links() as links:
                links.create_veth(f"p{number}", "eth0", peer_netns=self.path)
                links.change(f"p{number}", bridge="br0", up=True)

        run_in_netns(switch, plug)
        run_in_netns(self.path, self._begin)
        self.servers = [run_in_netns(self.path, lambda six=six: self._server(six)) for six in (False, True)]

    def _begin(self) -> None:
        with Links() as links:
            links.change("lo", up=True)
            links.add_address("eth0", f"192.0.2.{self.number}", 24)
            links.add_address("eth0", f"fd0a::{self.number}", 64)
            links.change("eth0", up=True)
            links.set_route("default", device="eth0", gateway="192.0.2.254")
            links.create_bridge("pods")
        set_sysctl("net.ipv6.conf.all.forwarding", 1)

    def rise(self) -> None:
        """Be there again after the uplink was down."""
        with Links() as links:
            links.change("eth0", up=True)
            links.add_address("eth0", f"fd0a::{self.number}", 64)
            links.set_route("default", device="eth0", gateway="192.0.2.254")

    def _server(self, six: bool) -> socket.socket:
        made = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
        if six:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(("::" if six else "0.0.0.0", PORT))

        def work() -> None:
            try:
                while True:
                    _, peer = made.recvfrom(10)
                    made.sendto(str(self.number).encode(), peer)
            except OSError:
                return

        threading.Thread(target=work, daemon=True).start()
        return made

    def hold(self, *addresses: str) -> None:
        run_in_netns(self.path, lambda: self.announcer.hold(set(addresses)))

    def ask(self, address: str, seconds: float = 20) -> str:
        """Which machine answers at the address; empty if none does."""

        def opened() -> socket.socket:
            return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)

        with run_in_netns(self.path, opened) as client:
            client.settimeout(0.2)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                with suppress(OSError):  # the first packet may go while the neighbour is looked for
                    client.sendto(b"?", (address, PORT))
                    return client.recv(10).decode()  # under another address of its: it has no connection
        return ""


@pytest.fixture
def machines() -> Iterator[list[Machine]]:
    lab, made = f"kn{uuid.uuid4().hex[:8]}", []
    subprocess.run(["ip", "netns", "add", lab], check=True)

    def switch() -> None:
        with Links() as links:
            links.create_bridge("br0")

    try:
        run_in_netns(f"/run/netns/{lab}", switch)
        for number in (1, 2, 3):
            made.append(Machine(lab, number))
        yield made
    finally:
        for machine in made:
            for server in machine.servers:
                server.close()
        for name in [lab, *(f"{lab}-{n}" for n in (1, 2, 3))]:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def test_addresses_are_answered_for_and_move(machines: list[Machine]) -> None:
    one, two, asker = machines
    assert (asker.ask(FOUR, 0.3), asker.ask(SIX, 0.3)) == ("", "")
    one.hold(FOUR, SIX)
    assert (asker.ask(FOUR), asker.ask(SIX)) == ("1", "1")
    # The neighbours that know the address elsewhere are told at once, though its last holder says nothing any more.
    run_in_netns(one.path, lambda: subprocess.run(["ip", "link", "set", "eth0", "down"], check=True))
    two.hold(FOUR, SIX)
    began = time.monotonic()
    assert (asker.ask(FOUR), asker.ask(SIX)) == ("2", "2")
    assert time.monotonic() - began < 4  # sooner than a neighbour is doubted
    run_in_netns(one.path, one.rise)
    two.hold(FOUR)
    one.hold(SIX)
    assert (asker.ask(FOUR), asker.ask(SIX)) == ("2", "1")
    # What a killed run has left is found by the next one.
    one.announcer = Announcer("pods")
    one.hold()
    two.announcer = Announcer("pods")
    two.hold(FOUR)
    run_in_netns(asker.path, lambda: subprocess.run(["ip", "neigh", "flush", "all"], check=True))
    assert (asker.ask(FOUR), asker.ask(SIX, 0.3)) == ("2", "")
