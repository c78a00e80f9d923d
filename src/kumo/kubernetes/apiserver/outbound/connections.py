"""Connections to webhooks: kept alive, TLS by each webhook's own authorities, services found through their endpoints.

A service's name is looked up at each new connection among its ready endpoints (as upstream with aggregator routing):
that works wherever the API server can reach pods, with or without kube-proxy.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import random
import socket
import ssl
from collections import OrderedDict
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from kumo.api.objects import Object, labels_of
from kumo.api.resources import ENDPOINTSLICES, SERVICES
from kumo.kubernetes.apiserver.attributes import Reader
from kumo.kubernetes.apiserver.outbound.client_config import ClientConfig
from kumo.machinery.tls import client_context

_CONTEXTS = 200
_KEEP_ALIVE = 90.0
_TYPES = ("ClusterIP", "NodePort", "LoadBalancer")


class Unresolved(Exception):
    """The service has no address to connect to; the message is upstream's."""


class BadAuthority(Exception):
    """The caBundle holds no certificate."""


def endpoint(reader: Reader, namespace: str, name: str, port: int) -> tuple[str, int]:
    """The address and port of a ready endpoint of the service's port, or the name of an external one.

    Raises Unresolved.
    """
    service = reader.get(SERVICES, name, namespace)
    if service is None:
        raise Unresolved(f'service "{name}" not found')
    spec = service.get("spec") or {}
    kind = spec.get("type") or "ClusterIP"
    if kind == "ExternalName" and spec.get("externalName"):
        return str(spec["externalName"]), port
    if kind not in _TYPES:
        raise Unresolved(f'unsupported service type "{kind}"')
    ports: list[Object] = spec.get("ports") or []
    wanted = next((p for p in ports if p.get("port") == port), None)
    if wanted is None:
        raise Unresolved(f'no service port {port} found for service "{name}"')
    slices = [s for s in reader.objects(ENDPOINTSLICES, namespace) if labels_of(s).get(_OF_SERVICE) == name]
    random.shuffle(slices)
    family = next(iter(spec.get("ipFamilies") or ()), "")
    slices.sort(key=lambda s: s.get("addressType") != family)
    for piece in slices:
        for offered in piece.get("ports") or ():
            if (offered.get("name") or "") != (wanted.get("name") or "") or not offered.get("port"):
                continue
            ready = [e for e in piece.get("endpoints") or () if _is_ready(e)]
            if ready:
                return str(random.choice(ready)["addresses"][0]), int(offered["port"])
    raise Unresolved(f'no endpoints available for service "{name}"')


_OF_SERVICE = "kubernetes.io/service-name"


def _is_ready(candidate: Object) -> bool:
    return bool(candidate.get("addresses")) and (candidate.get("conditions") or {}).get("ready") is not False


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class ServiceResolver(AbstractResolver):
    """Finds `{name}.{namespace}.svc` among endpoints, for aiohttp's connector."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The one endpoint to connect to, or the addresses of an external name. Raises Unresolved, OSError."""
        name, namespace, _ = host.split(".")
        address, number = endpoint(self._reader, namespace, name, port)
        if not _is_address(address):
            return await self._named(host, address, number)
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [
            ResolveResult(hostname=host, host=address, port=number, family=kind, proto=0, flags=socket.AI_NUMERICHOST)
        ]

    async def _named(self, host: str, name: str, port: int) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        return [
            ResolveResult(
                hostname=host, host=str(where[0]), port=int(where[1]), family=kind, proto=0, flags=socket.AI_NUMERICHOST
            )
            for kind, _, _, _, where in found
        ]

    async def close(self) -> None:
        """Nothing to let go of."""


class Connections:
    """One pool for webhooks behind services, one for those by URL; both made at the first call."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._services: aiohttp.ClientSession | None = None
        self._urls: aiohttp.ClientSession | None = None
        self._contexts: OrderedDict[str, ssl.SSLContext] = OrderedDict()

    def session(self, client: ClientConfig) -> aiohttp.ClientSession:
        """The session for a webhook's requests."""
        if client.service is not None:
            if self._services is None:
                self._services = _session(resolver=ServiceResolver(self._reader), use_dns_cache=False)
            return self._services
        if self._urls is None:
            self._urls = _session(resolver=aiohttp.ThreadedResolver())
        return self._urls

    def context(self, client: ClientConfig) -> ssl.SSLContext:
        """The TLS settings for a webhook: its authorities, else the system's. Raises BadAuthority."""
        found = self._contexts.get(client.ca_bundle)
        if found is None:
            found = self._contexts[client.ca_bundle] = _context(client.ca_bundle)
            if len(self._contexts) > _CONTEXTS:
                self._contexts.popitem(last=False)
        else:
            self._contexts.move_to_end(client.ca_bundle)
        return found

    async def close(self) -> None:
        """Close every connection."""
        for session in (self._services, self._urls):
            if session is not None:
                await session.close()
        self._services = self._urls = None


def _session(**options: Any) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE, **options)
    return aiohttp.ClientSession(
        connector=connector, timeout=aiohttp.ClientTimeout(total=None), cookie_jar=aiohttp.DummyCookieJar()
    )


def _context(bundle: str) -> ssl.SSLContext:
    if not bundle:
        return client_context()
    try:
        return client_context(ca_data=base64.b64decode(bundle).decode("ascii"))
    except (ssl.SSLError, binascii.Error, ValueError):
        raise BadAuthority("unable to load root certificates: unable to parse bytes as PEM block") from None
