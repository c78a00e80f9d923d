"""Where objects lie in the store: `/registry/{group or "core"}/{resource}/[{namespace}/]{name}`."""

from __future__ import annotations

from typing import NamedTuple

ROOT = "/registry/"


class Place(NamedTuple):
    """A key taken apart; `namespace` is empty for a cluster-scoped object."""

    group: str
    resource: str
    namespace: str
    name: str


def resource_prefix(group: str, resource: str) -> str:
    """The prefix of all objects of a resource."""
    return f"{ROOT}{group or 'core'}/{resource}/"


def object_key(group: str, resource: str, namespace: str, name: str) -> str:
    """The key of an object."""
    prefix = resource_prefix(group, resource)
    return f"{prefix}{namespace}/{name}" if namespace else f"{prefix}{name}"


def parse_key(key: str) -> Place:
    """The key taken apart. Raises ValueError for a key of another form."""
    parts = key.split("/")
    if len(parts) not in (5, 6) or parts[1] != "registry":
        raise ValueError(f"{key!r} is no object's key")
    group = "" if parts[2] == "core" else parts[2]
    return Place(group, parts[3], parts[4] if len(parts) == 6 else "", parts[-1])
