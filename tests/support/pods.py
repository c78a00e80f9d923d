"""Network namespaces that are pods as far as the network knows: a bridge of their own, addresses, servers, clients."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import threading
import uuid
from pathlib import Path

from kumo.host.network.agent import PodNetwork
from kumo.host.network.config import PodNetworkConfig
from kumo.host.network.namespaces import run_in_netns


class PodLab:
    """A pod network on the machine, under names and ranges of its own, gone after `close`."""

    def __init__(self, directory: Path, *, dual: bool = False) -> None:
        ident = uuid.uuid4().hex[:6]
        second, third = 64 + int(ident[:2], 16) % 64, int(ident[2:4], 16)
        self.ident = ident
        self.config = PodNetworkConfig(
            f"kt{ident}",
            f"100.{second}.{third}.0/24",
            f"kt-{ident}",
            directory,
            pod_cidr6=f"fd7e:{ident[:4]}:{ident[4:]}::/64" if dual else "",
        )
        self.service_cidr = f"198.{18 + second % 2}.{third}.0/24"
        self.service_cidr6 = f"fd7f:{ident[:4]}:{ident[4:]}::/112" if dual else ""
        self.network = PodNetwork(self.config)
        self._names: list[str] = []
        self._sockets: list[socket.socket] = []

    async def open(self) -> PodLab:
        """Make the bridge."""
        await asyncio.to_thread(self.network.prepare)
        return self

    async def pod(self, pod: str = "", uid: str = "") -> Pod:
        """A namespace with an address on the bridge, of the pod `namespace/name` as far as the network knows."""
        name = f"kt{uuid.uuid4().hex[:10]}"
        subprocess.run(["ip", "netns", "add", name], check=True)
        self._names.append(name)
        head = f"CNI_COMMAND=ADD\nCNI_CONTAINERID={name}\nCNI_NETNS=/run/netns/{name}\nCNI_IFNAME=eth0\n"
        if pod:
            namespace, _, short = pod.partition("/")
            head += f"CNI_ARGS=K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={short};K8S_POD_UID={uid}\n"
        head += "\n"
        answer = await asyncio.to_thread(self.network.answer, head.encode() + b'{"cniVersion":"1.0.0"}')
        code, _, body = answer.partition(b"\n")
        assert code == b"0", body
        addresses = [ip["address"].split("/")[0] for ip in json.loads(body)["ips"]]
        return Pod(self, f"/run/netns/{name}", *addresses)

    def keep(self, found: socket.socket) -> None:
        """Close the socket at the end."""
        self._sockets.append(found)

    async def close(self) -> None:
        """Leave nothing."""
        for found in self._sockets:
            found.close()
        for name in self._names:
            subprocess.run(["ip", "netns", "del", name], check=False)
        await asyncio.to_thread(self.network.remove)


class Pod:
    """One namespace. Servers answer with the client's address as they see it, then a space and their own name."""

    def __init__(self, lab: PodLab, netns: str, address: str, address6: str = "") -> None:
        self._lab = lab
        self.netns = netns
        self.address = address
        self.address6 = address6

    def serve_tcp(self, port: int, name: str, *, six: bool = False) -> None:
        """Answer every connection, on IPv4 or on IPv6."""
        family = socket.AF_INET6 if six else socket.AF_INET
        where = ("::" if six else "0.0.0.0", port)
        listener = run_in_netns(self.netns, lambda: socket.create_server(where, family=family, backlog=64))
        self._lab.keep(listener)

        def work() -> None:
            try:
                while True:
                    connection, (address, *_) = listener.accept()
                    with connection:
                        connection.sendall(f"{address} {name}".encode())
            except OSError:
                return

        threading.Thread(target=work, daemon=True).start()

    def serve_udp(self, port: int, name: str, *, six: bool = False) -> None:
        """Answer every datagram, on IPv4 or on IPv6."""

        def make() -> socket.socket:
            found = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
            if six:
                found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            found.bind(("::" if six else "0.0.0.0", port))
            return found

        server = run_in_netns(self.netns, make)
        self._lab.keep(server)

        def work() -> None:
            try:
                while True:
                    _, address = server.recvfrom(100)
                    server.sendto(f"{address[0]} {name}".encode(), address)
            except OSError:
                return

        threading.Thread(target=work, daemon=True).start()

    async def ask_tcp(self, address: str, port: int, timeout: float = 3) -> tuple[str, str]:
        """The client's address as the server sees it, and the server's name; raises OSError."""
        return await ask_tcp(address, port, timeout, self.netns)

    def udp_client(self, address: str, port: int, timeout: float = 3) -> socket.socket:
        """A connected socket of this pod."""

        def make() -> socket.socket:
            found = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
            found.settimeout(timeout)
            found.connect((address, port))
            return found

        found = run_in_netns(self.netns, make)
        self._lab.keep(found)
        return found


async def ask_tcp(address: str, port: int, timeout: float = 3, netns: str = "") -> tuple[str, str]:
    """Connect from the node (or the namespace); the client's address as the server sees it, and the server's name."""

    def call() -> tuple[str, str]:
        def connect() -> socket.socket:
            return socket.create_connection((address, port), timeout=timeout)

        with run_in_netns(netns, connect) if netns else connect() as connection:
            client, _, name = connection.recv(100).decode().partition(" ")
        return client, name

    return await asyncio.to_thread(call)


async def ask_udp(client: socket.socket) -> tuple[str, str]:
    """Send a datagram on a connected socket; who the server saw, and its name."""

    def call() -> tuple[str, str]:
        client.send(b"?")
        seen, _, name = client.recv(100).decode().partition(" ")
        return seen, name

    return await asyncio.to_thread(call)
