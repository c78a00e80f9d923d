"""The catalog: which services there are and where, seen from the address that the client used."""

from __future__ import annotations

import uuid
from typing import Any, NamedTuple

REGION = "RegionOne"
INTERFACES = ("public", "internal", "admin")
_SPACE = uuid.UUID("5f1d2a1e-7a3c-4a55-9b0e-0d5f6c1b8e11")


class Entry(NamedTuple):
    """A service: its type, its name, and its path on the one listener."""

    type: str
    name: str
    path: str


SERVICES = (
    Entry("identity", "keystone", "/identity/v3"),
    Entry("compute", "nova", "/compute/v2.1"),
    Entry("image", "glance", "/image"),
)


def stable_id(*parts: str) -> str:
    """An id that is the same at every start."""
    return uuid.uuid5(_SPACE, "/".join(parts)).hex


def catalog(base: str) -> list[dict[str, Any]]:
    """The catalog as tokens carry it."""
    return [
        {
            "endpoints": [
                {
                    "id": stable_id(entry.type, interface),
                    "interface": interface,
                    "region_id": REGION,
                    "url": base + entry.path,
                    "region": REGION,
                }
                for interface in INTERFACES
            ],
            "id": stable_id(entry.type),
            "type": entry.type,
            "name": entry.name,
        }
        for entry in SERVICES
    ]


def services(base: str) -> list[dict[str, Any]]:
    """GET /v3/services."""
    return [
        {
            "name": e.name,
            "id": stable_id(e.type),
            "type": e.type,
            "enabled": True,
            "links": {"self": f"{base}/identity/v3/services/{stable_id(e.type)}"},
        }
        for e in SERVICES
    ]


def endpoints(base: str) -> list[dict[str, Any]]:
    """GET /v3/endpoints."""
    found = []
    for entry in SERVICES:
        for interface in INTERFACES:
            identity = stable_id(entry.type, interface)
            found.append(
                {
                    "id": identity,
                    "interface": interface,
                    "region_id": REGION,
                    "service_id": stable_id(entry.type),
                    "url": base + entry.path,
                    "enabled": True,
                    "region": REGION,
                    "links": {"self": f"{base}/identity/v3/endpoints/{identity}"},
                }
            )
    return found


def regions(base: str) -> list[dict[str, Any]]:
    """GET /v3/regions."""
    links = {"self": f"{base}/identity/v3/regions/{REGION}"}
    return [{"id": REGION, "description": "", "parent_region_id": None, "links": links}]
