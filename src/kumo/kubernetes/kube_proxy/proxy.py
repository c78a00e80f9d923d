"""kube-proxy's shell: informers in, transactions out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import structlog

from kumo.api.objects import Key, Object
from kumo.host.fragments import FragmentTable
from kumo.host.network.links import Links
from kumo.host.nftables import Nft, NftError
from kumo.kubernetes.kube_proxy import conntrack, rules
from kumo.kubernetes.kube_proxy.announcement import Announcer
from kumo.kubernetes.kube_proxy.config import KubeProxyConfig, Network
from kumo.kubernetes.kube_proxy.figures import Figures
from kumo.kubernetes.kube_proxy.health import ProxyHealth, ProxyPages, ServiceHealth
from kumo.kubernetes.kube_proxy.services import ServicePort
from kumo.kubernetes.kube_proxy.world import World
from kumo.machinery.events import WARNING, EventRecorder
from kumo.machinery.informer import Informers

_log = structlog.get_logger("kumo.kube-proxy")
_RETRY_FIRST, _RETRY_LONGEST = 0.1, 30.0
Ports = dict[Key, list[ServicePort]]


class _Half:
    """One family: its table, and what the kernel has of it."""

    def __init__(self, config: KubeProxyConfig, network: Network) -> None:
        self.network = network
        self.family = network.family
        self.table = FragmentTable(self.family.keyword, config.table)
        self.writer = rules.Writer(network)
        self.ports: Ports = {}

    def settle(self, keys: Iterable[Key], found: Ports) -> None:
        """Remember what the kernel has been given."""
        for key in keys:
            if found.get(key):
                self.ports[key] = found[key]
            else:
                self.ports.pop(key, None)

    def flows(self, keys: Iterable[Key], found: Ports) -> conntrack.Answerers:
        """The ways whose UDP flows have to be looked at after the change."""
        keys = list(keys)
        before = conntrack.answerers(p for k in keys for p in self.ports.get(k, ()))
        after = conntrack.answerers(p for k in keys for p in found.get(k, ()))
        return conntrack.disturbed(before, after)

    def without_local(self) -> dict[str, int]:
        """How many ports have a Local policy and no endpoint here, though there are some elsewhere."""
        elsewhere = [p for ports in self.ports.values() for p in ports if p.anywhere and not p.local]
        return {
            "internal": sum(p.internal_local for p in elsewhere),
            "external": sum(p.external_local for p in elsewhere),
        }


class KubeProxy:
    """Keeps the tables as Services and EndpointSlices want them.

    At start the tables are replaced in one transaction, so that neither leftovers of a killed run nor a gap matter;
    then each change is a transaction of its own. The rules stay when the proxy stops: pods go on using Services.
    """

    name = "kube-proxy"

    def __init__(
        self,
        config: KubeProxyConfig,
        informers: Informers,
        recorder: EventRecorder | None = None,
        nft: Nft | None = None,
    ) -> None:
        self.config = config
        self.ready = asyncio.Event()
        """Set once the first transaction is in the kernel."""
        self._recorder = recorder
        self._nft = nft or Nft()
        self._halves = [_Half(config, n) for n in config.networks]
        families = tuple(h.family for h in self._halves)
        self.figures = Figures(families)
        self.health = ProxyHealth(tuple(f.kind for f in families), time.monotonic)
        self._service_health = ServiceHealth(self.health)
        self._announcer = Announcer(config.bridge or "lo")
        self._announced: dict[Key, set[str]] = {}
        self._dirty: set[Key] = set()
        self._whole = True
        self._own_addresses: tuple[str, ...] = ()
        self._wake = asyncio.Event()
        self._world = World(config, informers, self._changed, self._moved)
        self._pages = ProxyPages(self.health, self.figures, lambda: self._world.node, config.healthz, config.metrics)

    def _changed(self, key: Key, piece: bool) -> None:
        self._dirty.add(key)
        figures = self.figures
        if piece:
            figures.endpoints, figures.pending_endpoints = figures.endpoints + 1, figures.pending_endpoints + 1
        else:
            figures.services, figures.pending_services = figures.services + 1, figures.pending_services + 1
        self._noticed()

    def _moved(self) -> None:
        self._dirty |= self._world.keys()
        if self._world.own_addresses != self._own_addresses:
            self._whole = True  # Guards of source ranges may let the node in.
        self._noticed()

    def _noticed(self) -> None:
        self.figures.queued()
        self.health.queued()
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled; it may be called again after a failure."""
        self._whole = True
        await self._world.wait_synced()
        try:
            await self._keep()
        finally:
            await self._pages.stop()
            await self._service_health.close()

    async def _keep(self) -> None:
        delay, served = _RETRY_FIRST, False
        while True:
            self._wake.clear()
            dirty = set(self._dirty)
            self._dirty.clear()
            began, whole = time.monotonic(), self._whole
            try:
                await (self._sync_all() if whole else self._sync(dirty))
            except (NftError, OSError, LookupError) as error:
                # Whatever the kernel has now, the next attempt replaces it.
                _log.error("can't write the services' rules", error=str(error), again_in=delay)
                for half in self._halves:
                    self.figures.failures[half.family.kind] += 1
                self._whole = True
                await asyncio.sleep(delay)
                delay = min(delay * 2, _RETRY_LONGEST)
                continue
            self.figures.done(tuple(h.family.kind for h in self._halves), time.monotonic() - began, whole=whole)
            delay, self._whole = _RETRY_FIRST, False
            if not self._dirty:
                self.health.updated()
            if not served:
                await self._pages.start()  # The bridge has its address now.
                served = True
                self.ready.set()
            await self._wake.wait()

    async def remove(self) -> None:
        """Take the tables and the routes away."""
        await asyncio.to_thread(self._remove)

    def _remove(self) -> None:
        with Links() as links:
            for half in self._halves:
                self._nft.delete_table(half.family.keyword, self.config.table)
                if self.config.bridge:
                    links.delete_route(half.network.service_cidr, device=self.config.bridge)

    async def _sync_all(self) -> None:
        began = time.monotonic()
        await asyncio.to_thread(self._set_routes)
        keys, commands = self._world.keys(), ""
        self._own_addresses = self._world.own_addresses
        found = [{k: p for k in keys if (p := self._world.ports(k, h.family))} for h in self._halves]
        for half, ports in zip(self._halves, found, strict=True):
            half.writer = rules.Writer(half.network, self._own_addresses)
            half.table.clear()
            commands += rules.base(self.config, half.network)
            commands += half.table.change({k: half.writer.fragment(listed) for k, listed in ports.items()})
        await self._nft.apply_async(commands)
        for half, ports in zip(self._halves, found, strict=True):
            half.ports = ports
            every = conntrack.answerers(port for listed in ports.values() for port in listed)
            await self._forget(half, every)
        await self._tell(keys)
        milliseconds = round((time.monotonic() - began) * 1000, 1)
        _log.info("services' rules written", services=len(keys), milliseconds=milliseconds)

    async def _sync(self, keys: set[Key]) -> None:
        commands = ""
        changes: list[tuple[_Half, Ports, set[Key]]] = []
        for half in self._halves:
            after = {key: self._world.ports(key, half.family) for key in keys}
            changed = {key for key in keys if after[key] != half.ports.get(key, [])}
            if changed:
                commands += half.table.change({k: half.writer.fragment(after[k]) for k in changed})
                changes.append((half, after, changed))
        if commands:
            await self._nft.apply_async(commands)
        for half, after, changed in changes:
            flows = half.flows(changed, after)
            half.settle(changed, after)
            await self._forget(half, flows)
        await self._tell(keys)

    async def _forget(self, half: _Half, flows: conntrack.Answerers) -> None:
        kind = half.family.kind
        self.figures.without_local[kind] = half.without_local()
        if not flows:
            return
        began = time.monotonic()
        try:
            self.figures.forgotten[kind] += await asyncio.to_thread(conntrack.forget, flows, half.family)
        except OSError as error:
            _log.warning("can't forget UDP flows to endpoints that are gone", error=str(error))
        self.figures.forgetting[kind].observe(time.monotonic() - began)

    async def _tell(self, keys: set[Key]) -> None:
        """Answer those who ask for the Services' health, and for the balancers' addresses."""
        states = {key: self._world.health(key) for key in keys}
        ports, counts = {k: s[0] for k, s in states.items()}, {k: s[1] for k, s in states.items()}
        for key, port, error in await self._service_health.change(ports, counts):
            self._complain(self._world.service(key), key, port, error)
        for key in keys:
            found = self._world.announced(key)
            if found:
                self._announced[key] = found
            else:
                self._announced.pop(key, None)
        await asyncio.to_thread(self._announcer.hold, set().union(*self._announced.values()))

    def _complain(self, service: Object | None, key: Key, port: int, error: str) -> None:
        text = f'node {self.config.node_name} failed to start healthcheck "{key}" on port {port}: {error}'
        _log.warning("a service's health-check port is not served", service=str(key), port=port, error=error)
        if self._recorder is not None and service is not None:
            self._recorder.event(service, WARNING, "FailedToStartServiceHealthcheck", text)

    def _set_routes(self) -> None:
        """The node's own connections to Services need a way to take before their address is translated."""
        if not self.config.bridge:  # Another pod network's affair: they take the default route.
            return
        with Links() as links:
            for half in self._halves:
                network = half.network
                links.set_route(network.service_cidr, device=self.config.bridge, source=network.gateway)
