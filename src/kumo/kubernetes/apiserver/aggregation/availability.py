"""Whether an aggregated server can be asked: its service, its endpoints, and an answer at its discovery path.

Reasons and messages are upstream's (`kube-aggregator/pkg/controllers/status/remote`).
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from kumo.api.objects import Object, labels_of
from kumo.api.resources import ENDPOINTSLICES, SERVICES
from kumo.kubernetes.apiserver.aggregation.asking import AGGREGATOR, PROBER, Unanswered, ask
from kumo.kubernetes.apiserver.aggregation.backends import Backend, Transports
from kumo.kubernetes.apiserver.attributes import Reader

_ATTEMPTS = 5
_PATIENCE = 5.0
_LARGEST = 8 << 20
_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


class _Name(msgspec.Struct):
    name: str = ""


class _Version(msgspec.Struct):
    version: str = ""
    resources: list[dict[str, Any]] = []


class _Group(msgspec.Struct):
    metadata: _Name
    versions: list[_Version] = []


class _GroupList(msgspec.Struct):
    items: list[_Group] = []


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
        found = await ask(
            reader,
            transports,
            backend,
            backend.path,
            accept="application/json",
            user=PROBER,
            limit=_LARGEST,
            patience=_PATIENCE,
        )
    except Unanswered as error:
        text = str(error)
        if not text.startswith("Get "):
            raise
        url = text.split('"')[1]
        raise Unanswered(f"failing or missing response from {url}: {text}") from error
    if not 200 <= found.status < 300:
        url = found.url
        raise Unanswered(f"failing or missing response from {url}: bad status from {url}: {found.status}")
    return _resources(found.body)


async def discover(reader: Reader, transports: Transports, backend: Backend) -> list[Object] | None:
    """The backend's resources in the form of aggregated discovery, if it speaks that (else None)."""
    try:
        found = await ask(
            reader,
            transports,
            backend,
            "/apis",
            accept=_AGGREGATED,
            user=AGGREGATOR,
            limit=_LARGEST,
            patience=_PATIENCE,
        )
    except Unanswered:
        return None
    kind = found.headers.get("content-type", "")
    if found.status != 200 or "as=APIGroupDiscoveryList" not in kind.replace(" ", ""):
        return None
    try:
        groups = msgspec.json.decode(found.body, type=_GroupList).items
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        return None
    for group in groups:
        for version in group.versions:
            if (group.metadata.name, version.version) == (backend.group, backend.version):
                return [r for r in version.resources if isinstance(r.get("resource"), str)]
    return None


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
