"""The pod network's agent: it answers containerd's CNI calls, and keeps the bridge and the rules.

One instance, one bridge. The forwarder (`host/native/cni.c`) brings each call to the agent's unix socket. While the
agent is down the forwarder answers "try again later" and the kubelet retries; living pods notice nothing, for their
devices and rules are the kernel's.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import structlog

from kumo.host import modules
from kumo.host.network import cni, rules
from kumo.host.network.config import PodNetworkConfig
from kumo.host.network.forwarding import close_forwarding, open_forwarding
from kumo.host.network.leases import Lease, Leases, NoAddressLeft
from kumo.host.network.links import Link, Links
from kumo.host.network.namespaces import is_netns, run_in_netns, set_sysctl
from kumo.host.nftables import Nft, NftError

_log = structlog.get_logger("kumo.network")
_WORKERS = 8
_REQUEST_MAX = 1 << 20
_REQUEST_TIMEOUT = 10.0
_PORT_PREFIX = "kp"


def install(bin_dir: Path, conf_dir: Path, forwarder: Path, config: PodNetworkConfig) -> None:
    """Put the plugin into containerd's `bin_dir` and its configuration into `conf_dir`.

    The forwarder is the plugin `loopback` too, which containerd before 2.0 asks for. What is right is left alone, so
    that a restart succeeds on a disk that is full.
    """
    for directory in (bin_dir, conf_dir):
        directory.mkdir(parents=True, exist_ok=True)
    for name in (cni.PLUGIN, "loopback"):
        link = bin_dir / name
        if link.is_symlink() and link.readlink() == forwarder:
            continue
        fresh = bin_dir / f".{name}.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(forwarder)
        fresh.replace(link)
    path, wanted = conf_dir / "10-kumo.conflist", cni.network_configuration(config.name, str(config.socket))
    if path.is_file() and path.read_bytes() == wanted:
        return
    fresh = conf_dir / ".10-kumo.conflist.new"
    fresh.write_bytes(wanted)
    fresh.replace(path)


class PodNetwork:
    """The pod network of one node. `prepare` (or `run`) makes it, `remove` takes every trace of it away."""

    name = "pod-network"

    def __init__(self, config: PodNetworkConfig, nft: Nft | None = None) -> None:
        self.config = config
        self._lock = threading.Lock()
        self._nft = nft or Nft()
        self._leases: Leases | None = None
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="cni")
        self._mtu = config.mtu
        self._calls: set[asyncio.Task[None]] = set()
        self.gate: Callable[[str, str, tuple[str, ...]], None] | None = None
        """Called in a thread before a pod (`namespace/name`, its UID if known) is connected with its addresses.

        Raises cni.CniError if it must not be connected yet.
        """

    # -- life -------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Make the network and answer calls until cancelled. The network itself stays: pods live on without us."""
        await asyncio.to_thread(self.prepare)
        server = await asyncio.start_unix_server(self._serve, sock=_listen(self.config.socket))
        _log.info("pod network ready", bridge=self.config.bridge, range=self.config.pod_cidr, mtu=self._mtu)
        try:
            async with server:
                await server.serve_forever()
        finally:
            for call in self._calls:
                call.cancel()
            await asyncio.gather(*self._calls, return_exceptions=True)
            self.config.socket.unlink(missing_ok=True)
            self._pool.shutdown(wait=False, cancel_futures=True)

    def prepare(self) -> None:
        """Make the bridge, the kernel's settings and the rules; collect what dead pods left. Blocks; idempotent."""
        config = self.config
        config.directory.mkdir(parents=True, exist_ok=True)
        with self._lock:
            try:
                leases = Leases(config.leases, config.network)
            except ValueError as error:
                _log.error("lost the record of pod addresses", error=str(error))
                leases = Leases(config.leases, config.network)
            with Links() as links:
                if not self._mtu:
                    uplink = links.uplink()
                    self._mtu = (uplink.mtu if uplink else 1500) - config.headroom
                links.create_bridge(config.bridge, mtu=self._mtu)
                for old in links.addresses(config.bridge):  # of a range that the node had before
                    if old != (config.gateway, config.network.prefixlen):
                        links.delete_address(config.bridge, *old)
                links.add_address(config.bridge, config.gateway, config.network.prefixlen)
                if config.network6 is not None:
                    _allow_ipv6(config.bridge, uplink=links.uplink())
                    links.add_address(config.bridge, config.gateway6, config.network6.prefixlen)
                dead = leases.collect(lambda lease: is_netns(lease.netns))
                known = {lease.device for lease in leases.all()}
                bridge = links.get(config.bridge).index
                for link in links.all():
                    if link.name in known and link.master != bridge:
                        links.change(link.name, bridge=config.bridge, up=True)
                        links.set_port(link.name, hairpin=True)
                    elif link.master == bridge and link.name.startswith(_PORT_PREFIX) and link.name not in known:
                        links.delete(link.name)
            _kernel_settings(config.bridge, ipv6=config.network6 is not None)
            self._nft.apply(rules.ruleset(config, leases.all()) + rules.ruleset6(config, leases.all()))
            if open_forwarding(self._nft, config.bridge):
                _log.info("a firewall forwards nothing by itself: made an exception for pods", bridge=config.bridge)
            self._leases = leases
        if dead:
            _log.info("collected the addresses of pods that are gone", count=len(dead))

    def remove(self) -> None:
        """Take away the bridge, every pod's device, the rules and the leases. Blocks."""
        with self._lock, Links() as links:
            bridge = links.find(self.config.bridge)
            if bridge is not None:
                for link in links.all():
                    if link.master == bridge.index and link.name.startswith(_PORT_PREFIX):
                        links.delete(link.name)
                links.delete(self.config.bridge)
            for family in (rules.FAMILY, rules.FAMILY6):
                self._nft.delete_table(family, self.config.table)
            close_forwarding(self._nft, self.config.bridge)
            self.config.leases.unlink(missing_ok=True)
            self.config.socket.unlink(missing_ok=True)
            self._leases = None

    def leases(self) -> list[Lease]:
        """The addresses given out now."""
        with self._lock:
            return self._leases.all() if self._leases is not None else []

    def given(self) -> list[tuple[str, tuple[str, ...]]]:
        """The pods (`namespace/name`) that have addresses now."""
        return [(x.pod, tuple(a.address for a in self._addresses(x))) for x in self.leases() if x.pod]

    def abandon(self, sandboxes: Collection[str]) -> list[Lease]:
        """Take back what belongs to these sandboxes (by their id), which nobody knows any more; what it was. Blocks."""
        gone = [lease for lease in self.leases() if lease.container in sandboxes]
        for lease in gone:
            self._delete(lease.container, lease.interface)
        return gone

    # -- calls ------------------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT):
                raw = await reader.read(_REQUEST_MAX)
                while not reader.at_eof() and len(raw) < _REQUEST_MAX:
                    raw += await reader.read(_REQUEST_MAX)
            loop = asyncio.get_running_loop()
            writer.write(await loop.run_in_executor(self._pool, self.answer, raw))
            await writer.drain()
        except (OSError, TimeoutError) as error:
            _log.warning("a CNI call broke off", error=str(error))
        finally:
            self._calls.discard(task)
            writer.close()

    def answer(self, raw: bytes) -> bytes:
        """One call, from the forwarder's bytes to those for it. Blocks."""
        began = time.monotonic()
        version = "1.0.0"
        try:
            request = cni.parse_request(raw)
            version = request.version
            found = self._carry_out(request)
        except cni.CniError as error:
            _log.warning("CNI call refused", error=error.message, details=error.details)
            return cni.failure(error, version)
        except NoAddressLeft as error:
            return cni.failure(cni.CniError(cni.TRY_AGAIN_LATER, str(error)), version)
        except (OSError, LookupError, NftError) as error:
            _log.warning("CNI call failed", error=str(error))
            return cni.failure(cni.CniError(cni.INTERNAL, f"can't set up the pod's network: {error}"), version)
        milliseconds = round((time.monotonic() - began) * 1000, 1)
        _log.debug("CNI call", command=request.command, pod=request.pod, milliseconds=milliseconds)
        return cni.success(found)

    def _carry_out(self, request: cni.CniRequest) -> dict[str, Any] | None:
        match request.command:
            case "ADD":
                return self._add(request)
            case "DEL":
                self._delete(request.container, request.interface)
                return None
            case "CHECK":
                self._verify(request)
                return None
            case _:
                return cni.versions(request.version)

    def _ready(self) -> Leases:
        if self._leases is None:
            raise cni.CniError(cni.TRY_AGAIN_LATER, "the pod network is not ready")
        return self._leases

    def _add(self, request: cni.CniRequest) -> dict[str, Any]:
        device = _device(request.container, request.interface)
        with self._lock:
            lease = self._ready().add(
                request.container,
                request.interface,
                netns=request.netns,
                device=device,
                pod=request.pod,
                ports=request.ports,
            )
        try:
            if self.gate is not None and lease.pod:
                given = tuple(a.address for a in self._addresses(lease))
                self.gate(lease.pod, request.arguments.get("K8S_POD_UID", ""), given)
            host_mac, mac = self._wire(lease)
            with self._lock:
                self._nft.apply(rules.port_elements("add", self.config, lease))
        except BaseException:
            self._delete(request.container, request.interface)
            raise
        return cni.result(
            request,
            host_interface=device,
            host_mac=host_mac,
            mac=mac,
            addresses=self._addresses(lease),
        )

    def _addresses(self, lease: Lease) -> list[cni.PodAddress]:
        config = self.config
        found = [cni.PodAddress(lease.address, config.network.prefixlen, config.gateway)]
        if config.network6 is not None:
            found.append(cni.PodAddress(config.address6(lease.address), config.network6.prefixlen, config.gateway6))
        return found

    def _wire(self, lease: Lease) -> tuple[str, str]:
        """Make the pair of devices and set up both ends; their MAC addresses."""
        mac = _mac(lease.address)
        config = self.config

        def inside() -> None:
            with Links() as links:
                links.change("lo", up=True)
                links.add_address(lease.interface, lease.address, config.network.prefixlen)
                links.change(lease.interface, up=True)
                for found in self._addresses(lease):
                    links.add_address(lease.interface, found.address, found.prefix_length)
                    links.set_route("default", device=lease.interface, gateway=found.gateway)

        with Links() as links:
            links.delete(lease.device)
            host = links.create_veth(lease.device, lease.interface, peer_netns=lease.netns, mtu=self._mtu, peer_mac=mac)
            links.change(lease.device, bridge=config.bridge, up=True)
            links.set_port(lease.device, hairpin=True)
        run_in_netns(lease.netns, inside)
        return host.mac, mac

    def _delete(self, container: str, interface: str) -> None:
        with self._lock:
            lease = self._ready().get(container, interface)
            if lease is not None and lease.ports:
                # Rules may have been lost to somebody's `nft flush`: a pod must be removable all the same.
                with contextlib.suppress(NftError):
                    self._nft.apply(rules.port_elements("delete", self.config, lease))
            with Links() as links:
                links.delete(_device(container, interface))
            self._ready().remove(container, interface)

    def _verify(self, request: cni.CniRequest) -> None:
        with self._lock:
            lease = self._ready().get(request.container, request.interface)
        if lease is None:
            raise cni.CniError(cni.UNKNOWN_CONTAINER, f"sandbox {request.container} has no address")

        def inside() -> list[str]:
            with Links() as links:
                return [a.address for a in links.addresses(lease.interface)]

        with Links() as links:
            links.get(lease.device)
        if lease.address not in run_in_netns(request.netns, inside):
            raise cni.CniError(cni.INTERNAL, f"{request.interface} does not have the address {lease.address}")


def _device(container: str, interface: str) -> str:
    """The node's end of the pair: unique among all instances, at most 15 characters."""
    digest = hashlib.sha256(f"{container}/{interface}".encode()).hexdigest()
    return _PORT_PREFIX + digest[:12]


def _mac(address: str) -> str:
    """A MAC made from the address, so that a neighbour's entry for an address that is used again is never wrong."""
    return ":".join(f"{b:02x}" for b in b"\x0a\x58" + IPv4Address(address).packed)


def _kernel_settings(bridge: str, *, ipv6: bool) -> None:
    """Forwarding; bridged packets pass the rules (for services between pods of one bridge); ports on localhost."""
    if not set_sysctl("net.ipv4.ip_forward", 1):
        raise OSError(errno.ENOTSUP, "the kernel can't forward IPv4 packets")
    set_sysctl(f"net/ipv4/conf/{bridge}/route_localnet", 1)
    if not ipv6:
        # The pod network is IPv4 only; without this a pod could advertise IPv6 routes to the node.
        set_sysctl(f"net/ipv6/conf/{bridge}/disable_ipv6", 1)
    modules.load("br_netfilter")  # where the kernel has it built in, the settings are there without it
    bridged = [set_sysctl(f"net.bridge.bridge-nf-call-{t}", 1) for t in ("iptables", "ip6tables")]
    if not all(bridged):
        _log.warning(
            "the kernel module br_netfilter is missing: between pods of one node services and policies don't work",
            fix="modprobe br_netfilter",
        )


def _allow_ipv6(bridge: str, *, uplink: Link | None) -> None:
    """Forwarding of IPv6, without losing what the node learns of its own routers (which forwarding would end)."""
    if uplink is not None:
        set_sysctl(f"net/ipv6/conf/{uplink.name}/accept_ra", 2)
    if not set_sysctl("net.ipv6.conf.all.forwarding", 1):
        raise OSError(errno.ENOTSUP, "the kernel can't forward IPv6 packets")
    set_sysctl(f"net/ipv6/conf/{bridge}/disable_ipv6", 0)
    set_sysctl(f"net/ipv6/conf/{bridge}/accept_ra", 0)


def _listen(path: Path) -> socket.socket:
    """A unix socket that listens at `path`, which may be longer than a socket's address."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        listener.bind(f"/proc/self/fd/{directory}/{path.name}")
        path.chmod(0o600)
        listener.listen(128)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    finally:
        os.close(directory)
    return listener
