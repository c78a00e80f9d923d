"""Where pods reach the API server: the service `default/kubernetes`, and the addresses of all servers that are alive.

Each server of a shared store keeps a key there that lives by a lease; who stops takes it away, who dies loses it within
15 seconds (upstream: the lease endpoint reconciler, `pkg/controlplane/reconcilers`). One that is alone needs no key.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from kumo.api.errors import StatusError, is_already_exists, is_conflict, is_not_found
from kumo.api.objects import Object, is_deleting, labels_of, name_of
from kumo.api.resources import ENDPOINTS, ENDPOINTSLICES, GVR, SERVICES
from kumo.kubernetes.apiserver.attributes import Reader
from kumo.machinery.client import Client
from kumo.store.base import LeaseNotFound, Store, StoreError

PREFIX = "/masterleases/"
_SECONDS = 15.0
_INTERVAL = 10.0
_NAMESPACE, _NAME = "default", "kubernetes"
_OF_SERVICE = "kubernetes.io/service-name"
_log = structlog.get_logger("kumo.apiserver.endpoints")

Member = tuple[str, int]
"""A server's address and port."""


def endpoints_of(members: Sequence[Member]) -> Object:
    """The Endpoints object of these servers."""
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": _NAME,
            "namespace": _NAMESPACE,
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [
            {"addresses": [{"ip": address} for address in addresses], "ports": [_port(port)]}
            for port, addresses in _by_port(members)
        ],
    }


def slices_of(members: Sequence[Member]) -> dict[str, Object]:
    """The EndpointSlices of these servers by name: `kubernetes`, and more for further ports and families."""
    found: dict[str, Object] = {}
    for port, addresses in _by_port(members):
        for version in (4, 6):
            own = [a for a in addresses if ipaddress.ip_address(a).version == version]
            if not own:
                continue
            name = _NAME if not found else f"{_NAME}-ipv{version}-{port}"
            found[name] = {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": name, "namespace": _NAMESPACE, "labels": {_OF_SERVICE: _NAME}},
                "addressType": f"IPv{version}",
                "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in own],
                "ports": [_port(port)],
            }
    return found


def _by_port(members: Sequence[Member]) -> list[tuple[int, list[str]]]:
    ports = sorted({port for _, port in members})
    return [(port, sorted(address for address, own in members if own == port)) for port in ports]


def _port(number: int) -> Object:
    return {"name": "https", "port": number, "protocol": "TCP"}


class OwnEndpoints:
    """Keeps `service` (as it should be made) and the endpoints true for a server at `address` and `port`."""

    def __init__(self, store: Store, reader: Reader, client: Client, service: Object, me: Member) -> None:
        self._store, self._reader, self._client = store, reader, client
        self._service = service
        self._me = me
        self._lease = 0
        self._left = False
        self._changed = asyncio.Event()

    async def start(self) -> None:
        """Announce this server, and listen."""
        await self._announce()
        await self._reconcile()
        for gvr in (SERVICES, ENDPOINTS, ENDPOINTSLICES):
            self._reader.listen(gvr, self._look)

    def _look(self, namespace: str, name: str) -> None:
        if namespace == _NAMESPACE and name.startswith(_NAME):
            self._changed.set()

    async def run(self) -> None:
        """Keep it so, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(None if self._store.exclusive else _INTERVAL):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            try:
                await self._announce()
                await self._reconcile()
            except (StatusError, StoreError) as error:
                if not (isinstance(error, StatusError) and is_conflict(error)):
                    _log.warning("the service kubernetes can't be kept", error=str(error))
                await asyncio.sleep(1.0)
                self._changed.set()

    async def leave(self) -> None:
        """This server stops: the others, if any, take the requests."""
        if self._store.exclusive or not self._lease:
            return
        self._left = True
        try:
            await self._store.revoke(self._lease)
            await self._reconcile()
        except (StatusError, StoreError) as error:
            _log.info("the service kubernetes goes on naming this server for some seconds", error=str(error))

    # -- who is there -----------------------------------------------------------------------------------------------

    async def _announce(self) -> None:
        if self._store.exclusive or self._has_left():
            return
        try:
            if self._lease:
                await self._store.keepalive(self._lease)
                return
        except LeaseNotFound:
            pass
        lease = await self._store.grant(_SECONDS)
        if self._has_left():
            await self._store.revoke(lease)
            return
        self._lease = lease
        await self._store.put(f"{PREFIX}{self._me[0]}/{self._me[1]}", b"", lease=lease)

    def _has_left(self) -> bool:
        return self._left

    async def _members(self) -> list[Member]:
        if self._store.exclusive:
            return [self._me]
        found = []
        for kv in (await self._store.range(PREFIX)).kvs:
            address, _, port = kv.key.removeprefix(PREFIX).rpartition("/")
            if port.isdigit():
                found.append((address, int(port)))
        return found

    # -- what is said of it -----------------------------------------------------------------------------------------

    async def _reconcile(self) -> None:
        if self._reader.get(SERVICES, _NAME, _NAMESPACE) is None:
            await self._create(SERVICES, self._service)
        members = await self._members()
        if not members:
            return  # The last one to go leaves its address, as one that is alone does.
        await self._ensure(ENDPOINTS, endpoints_of(members), ("subsets",))
        wanted = slices_of(members)
        for piece in wanted.values():
            await self._ensure(ENDPOINTSLICES, piece, ("endpoints", "ports"))
        for piece in self._reader.objects(ENDPOINTSLICES, _NAMESPACE):
            name = name_of(piece)
            ours = name.startswith(f"{_NAME}-ipv") and labels_of(piece).get(_OF_SERVICE) == _NAME
            if ours and name not in wanted:
                await self._delete(ENDPOINTSLICES, name)

    async def _ensure(self, gvr: GVR, wanted: Object, fields: Sequence[str]) -> None:
        found = self._reader.get(gvr, name_of(wanted), _NAMESPACE)
        if found is None:
            await self._create(gvr, wanted)
        elif found.get("addressType") != wanted.get("addressType"):
            await self._delete(gvr, name_of(wanted))  # It can't be changed; the event makes a new one.
        elif not is_deleting(found) and any(_plain(found.get(f)) != _plain(wanted[f]) for f in fields):
            await self._client.update(gvr, {**found, **{f: wanted[f] for f in fields}})

    async def _create(self, gvr: GVR, wanted: Object) -> None:
        try:
            await self._client.create(gvr, wanted, _NAMESPACE)
        except StatusError as error:
            if not is_already_exists(error):
                raise

    async def _delete(self, gvr: GVR, name: str) -> None:
        try:
            await self._client.delete(gvr, name, _NAMESPACE)
        except StatusError as error:
            if not is_not_found(error):
                raise


def _plain(value: Any) -> Any:
    """The value without what is null or empty."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items() if v not in (None, "", [], {})}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value
