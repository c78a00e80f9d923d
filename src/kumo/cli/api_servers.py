"""Which API servers a joined node may ask: the one that it was told, and all that the cluster says it has.

The endpoints of the Service `kubernetes` are the living ones. They are remembered in the data directory, so that a node
that starts while the server it joined is away finds another.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path

import structlog

from kumo.api.objects import Object, labels_of, namespace_of
from kumo.api.resources import ENDPOINTSLICES
from kumo.cli.instance import Instance
from kumo.machinery.files import write_file
from kumo.machinery.informer import Informers
from kumo.machinery.servers import Servers

FILE = "api-servers.json"
_SERVICE = ("default", "kubernetes")
_log = structlog.get_logger("kumo.api-servers")


def servers_of(instance: Instance, *, told: bool = False) -> Servers:
    """The servers of a joined node as they were last known. `told`: the log says when another one is asked."""
    return Servers(instance.server, _remembered(instance.root / FILE), _tell if told else None)


def _tell(failed: str, now: str) -> None:
    _log.warning("another API server is asked from now on", failed=failed, now=now)


def _remembered(path: Path) -> list[str]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return []
    return [u for u in found if isinstance(u, str) and u.startswith("https://")] if isinstance(found, list) else []


def urls_of(slices: Iterable[Object]) -> list[str]:
    """The URLs that EndpointSlices of the Service stand for, sorted. Pure."""
    found = set()
    for piece in slices:
        if (namespace_of(piece), labels_of(piece).get("kubernetes.io/service-name")) != _SERVICE:
            continue
        ports = [p.get("port") for p in piece.get("ports") or () if p.get("name") == "https" and p.get("port")]
        for endpoint in piece.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready") is False:
                continue
            for address in endpoint.get("addresses") or ():
                host = f"[{address}]" if ":" in address else address
                found |= {f"https://{host}:{port}" for port in ports}
    return sorted(found)


class ApiServers:
    """Follows the endpoints: tells the transports' `Servers`, and remembers."""

    name = "api-servers"

    def __init__(self, instance: Instance, servers: Servers, informers: Informers) -> None:
        self._path = instance.root / FILE
        self._servers = servers
        self._slices = informers.informer(ENDPOINTSLICES)
        self._wake = asyncio.Event()
        self._slices.on_change(self._changed)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        piece = new or old
        if piece is not None and namespace_of(piece) == _SERVICE[0]:
            self._wake.set()

    async def run(self) -> None:
        """Run until cancelled."""
        await self._slices.wait_synced()
        while True:
            self._wake.clear()
            found = urls_of(self._slices.objects(_SERVICE[0]))
            if found and self._servers.know(found):
                _log.info("API servers", urls=list(self._servers.urls))
            if found and found != _remembered(self._path):
                await asyncio.to_thread(write_file, self._path, json.dumps(found).encode())
            await self._wake.wait()
