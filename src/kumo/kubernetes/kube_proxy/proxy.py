"""kube-proxy's shell: informers in, transactions out."""

from __future__ import annotations

import asyncio
import time

import structlog

from kumo.api.objects import Key, Object, key_of, labels_of, namespace_of
from kumo.api.resources import ENDPOINTSLICES, SERVICES
from kumo.host.network.links import Links
from kumo.host.nftables import Nft, NftError
from kumo.kubernetes.kube_proxy import conntrack, rules
from kumo.kubernetes.kube_proxy.config import KubeProxyConfig
from kumo.kubernetes.kube_proxy.services import SERVICE_NAME_LABEL, ServicePort, service_ports
from kumo.kubernetes.kube_proxy.table import Table
from kumo.machinery.informer import Informers

_log = structlog.get_logger("kumo.kube-proxy")
_INDEX = "service"
_RETRY_FIRST, _RETRY_LONGEST = 0.1, 30.0


class KubeProxy:
    """Keeps the table as Services and EndpointSlices want it.

    At start the whole table is replaced in one transaction, so that neither leftovers of a killed run nor a gap matter;
    then each change is a transaction of its own. The rules stay when the proxy stops: pods go on using Services.
    """

    name = "kube-proxy"

    def __init__(self, config: KubeProxyConfig, informers: Informers) -> None:
        self.config = config
        self.ready = asyncio.Event()
        """Set once the first transaction is in the kernel."""
        self._services = informers.informer(SERVICES)
        self._slices = informers.informer(ENDPOINTSLICES)
        self._slices.add_index(_INDEX, lambda o: [str(k)] if (k := _service_of(o)) else [])
        self._nft = Nft()
        self._table = Table(config.table)
        self._ports: dict[Key, list[ServicePort]] = {}
        self._dirty: set[Key] = set()
        self._wake = asyncio.Event()
        self._services.on_change(self._changed)
        self._slices.on_change(self._changed)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        for obj in (old, new):
            if obj is not None:
                key = _service_of(obj) if obj.get("kind") == "EndpointSlice" else key_of(obj)
                if key:
                    self._dirty.add(key)
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        await self._services.wait_synced()
        await self._slices.wait_synced()
        delay, whole = _RETRY_FIRST, True
        while True:
            self._wake.clear()
            dirty = set(self._dirty)
            self._dirty.clear()
            try:
                await (self._sync_all() if whole else self._sync(dirty))
                delay, whole = _RETRY_FIRST, False
                self.ready.set()
            except (NftError, OSError, LookupError) as error:
                # Whatever the kernel has now, the next attempt replaces it.
                _log.error("can't write the services' rules", error=str(error), again_in=delay)
                whole = True
                await asyncio.sleep(delay)
                delay = min(delay * 2, _RETRY_LONGEST)
                continue
            await self._wake.wait()

    async def remove(self) -> None:
        """Take the table and the route away."""
        await asyncio.to_thread(self._remove)

    def _remove(self) -> None:
        self._nft.delete_table(rules.FAMILY, self.config.table)
        with Links() as links:
            links.delete_route(self.config.service_cidr, device=self.config.bridge)

    async def _sync_all(self) -> None:
        began = time.monotonic()
        await asyncio.to_thread(self._set_route)
        self._table.clear()
        keys = {key_of(s) for s in self._services.objects()}
        ports = {key: found for key in keys if (found := self._wanted(key))}
        fragments = {key: rules.fragment(found, self.config) for key, found in ports.items()}
        await self._nft.apply_async(rules.base(self.config) + self._table.change(fragments))
        self._ports = ports
        milliseconds = round((time.monotonic() - began) * 1000, 1)
        _log.info("services' rules written", services=len(ports), milliseconds=milliseconds)

    async def _sync(self, keys: set[Key]) -> None:
        after = {key: self._wanted(key) for key in keys}
        before = {key: self._ports.get(key, []) for key in keys}
        changed = {key for key in keys if after[key] != before[key]}
        if not changed:
            return
        await self._nft.apply_async(self._table.change({k: rules.fragment(after[k], self.config) for k in changed}))
        for key in changed:
            if after[key]:
                self._ports[key] = after[key]
            else:
                self._ports.pop(key, None)
        flows, woken = conntrack.stale_flows(before, after)
        if flows or woken:
            try:
                await asyncio.to_thread(conntrack.forget, flows, woken)
            except OSError as error:
                _log.warning("can't forget UDP flows to endpoints that are gone", error=str(error))

    def _wanted(self, key: Key) -> list[ServicePort]:
        service = self._services.get_key(key)
        if service is None:
            return []
        return service_ports(service, self._slices.by_index(_INDEX, str(key)), self.config.node_name)

    def _set_route(self) -> None:
        """The node's own connections to Services need a way to take before their address is translated."""
        with Links() as links:
            links.set_route(self.config.service_cidr, device=self.config.bridge, source=self.config.gateway)


def _service_of(piece: Object) -> Key | None:
    name = labels_of(piece).get(SERVICE_NAME_LABEL)
    return Key(namespace_of(piece), name) if name else None
