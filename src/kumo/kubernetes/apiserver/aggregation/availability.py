"""Whether an aggregated server can be asked: its service, its endpoints, and an answer at its discovery path.

Reasons and messages are upstream's (`kube-aggregator/pkg/controllers/status/remote`).
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import msgspec

from kumo.api.objects import Object, labels_of
from kumo.api.resources import ENDPOINTSLICES, SERVICES
from kumo.api.users import MASTERS_GROUP, UserInfo
from kumo.kubernetes.apiserver.aggregation.backends import Backend, BadTrust, Transports
from kumo.kubernetes.apiserver.aggregation.forwarding import identity_headers
from kumo.kubernetes.apiserver.attributes import Reader
from kumo.kubernetes.apiserver.outbound.connections import Unresolved, endpoint
from kumo.kubernetes.apiserver.outbound.network_errors import told

_ATTEMPTS = 5
_PATIENCE = 5.0
_LARGEST = 8 << 20
_PROBER = UserInfo("system:kube-aggregator", (MASTERS_GROUP,))


class Unanswered(Exception):
    """The backend did not answer as it should; the message is the condition's."""


def condition(status: str, reason: str, message: str) -> Object:
    """The condition Available."""
    return {"type": "Available", "status": status, "reason": reason, "message": message}


def missing(reader: Reader, backend: Backend) -> Object | None:
    """The condition of a backend whose service or endpoints are not there; None when it can be asked."""
    name, namespace = backend.service, backend.namespace
    what = f'service/{name} in "{namespace}"'
    service = reader.get(SERVICES, name, namespace)
    if service is None:
        return condition("False", "ServiceNotFound", f"{what} is not present")
    spec = service.get("spec") or {}
    if (spec.get("type") or "ClusterIP") != "ClusterIP":
        return None
    port = next((p for p in spec.get("ports") or () if p.get("port") == backend.port), None)
    if port is None:
        return condition("False", "ServicePortError", f"{what} is not listening on port {backend.port}")
    of_service = "kubernetes.io/service-name"
    slices = [s for s in reader.objects(ENDPOINTSLICES, namespace) if labels_of(s).get(of_service) == name]
    if not slices:
        return condition("False", "EndpointsNotFound", f"cannot find endpointslices for {what}")
    port_name = port.get("name") or ""
    if not any(_offers(piece, port_name) for piece in slices):
        message = f'endpointslices for {what} have no addresses with port name "{port_name}"'
        return condition("False", "MissingEndpoints", message)
    return None


def _offers(piece: Object, port_name: str) -> bool:
    endpoints = piece.get("endpoints") or ()
    if not any((e.get("conditions") or {}).get("ready") is not False for e in endpoints):
        return False
    return any((p.get("name") or "") == port_name and p.get("port") for p in piece.get("ports") or ())


async def probe(reader: Reader, transports: Transports, backend: Backend) -> list[dict[str, Any]]:
    """Ask for the backend's discovery, several times at once: one good answer will do. Raises Unanswered."""
    attempts = [asyncio.create_task(_ask(reader, transports, backend)) for _ in range(_ATTEMPTS)]
    last = Unanswered("")
    try:
        for attempt in asyncio.as_completed(attempts):
            try:
                return await attempt
            except Unanswered as error:
                last = error
    finally:
        for attempt in attempts:
            attempt.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)
    raise last


async def _ask(reader: Reader, transports: Transports, backend: Backend) -> list[dict[str, Any]]:
    try:
        address, port = endpoint(reader, backend.namespace, backend.service, backend.port)
        transport = transports.to(backend)
    except (Unresolved, BadTrust) as error:
        raise Unanswered(str(error)) from None
    host = f"[{address}]" if ":" in address else address
    url = f"https://{host}:{port}{backend.path}"
    failing = f"failing or missing response from {url}: "
    headers = identity_headers(_PROBER)
    headers["Accept"] = "application/json"
    body = b""
    try:
        async with (
            asyncio.timeout(_PATIENCE),
            transport.exchange("GET", backend.path, headers=headers) as (head, chunks),
        ):
            if not 200 <= head.status < 300:
                raise Unanswered(f"{failing}bad status from {url}: {head.status}")
            async for chunk in chunks:
                body += chunk
                if len(body) > _LARGEST:
                    break
    except (ConnectionError, TimeoutError, Unresolved) as error:
        cause = error.__cause__ or error
        raise Unanswered(f'{failing}Get "{url}": {told(cause, urlsplit(url).hostname or "", port)}') from error
    return _resources(body)


def _resources(body: bytes) -> list[dict[str, Any]]:
    """The resources of an APIResourceList; what is none has none."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return []
    listed = found.get("resources") if isinstance(found, dict) else None
    if not isinstance(listed, list):
        return []
    return [r for r in listed if isinstance(r, dict) and isinstance(r.get("name"), str) and "kind" in r]
