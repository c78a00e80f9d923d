"""Which resources a server serves, asked of the server itself: what the garbage collector and namespaces work on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kumo.api.errors import StatusError
from kumo.api.resources import GVR
from kumo.machinery.client import Client


@dataclass(frozen=True, slots=True)
class Served:
    """One resource in its preferred version, with its kind and verbs."""

    gvr: GVR
    kind: str
    verbs: frozenset[str]


@dataclass(slots=True)
class Discovery:
    """What was found: resources in their preferred versions, resources by (apiVersion, kind), and what failed."""

    resources: dict[GVR, Served] = field(default_factory=dict)
    by_kind: dict[tuple[str, str], GVR] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def supporting(self, *verbs: str) -> list[GVR]:
        """The resources with all the verbs, in order of group and name."""
        found = [s.gvr for s in self.resources.values() if s.verbs.issuperset(verbs)]
        return sorted(found, key=lambda g: (g.group, g.resource))


async def discover(client: Client) -> Discovery:
    """Ask for every group and version. One that does not answer is named in `failures`, the rest is found all the same.

    Raises StatusError or ConnectionError when not even the list of groups can be had.
    """
    found = Discovery()
    for version in (await client.request("GET", "/api")).get("versions") or ():
        await _add(client, found, f"/api/{version}", "", version)
    for group in (await client.request("GET", "/apis")).get("groups") or ():
        first = (group.get("preferredVersion") or {}).get("version")
        versions = sorted((v["version"] for v in group.get("versions") or ()), key=lambda v: v != first)
        seen: set[str] = set()
        for version in versions:
            path = f"/apis/{group['name']}/{version}"
            seen |= await _add(client, found, path, group["name"], version, skip=seen)
    return found


async def _add(
    client: Client,
    found: Discovery,
    path: str,
    group: str,
    version: str,
    *,
    skip: set[str] | None = None,
) -> set[str]:
    """Add one version's resources; those in `skip` are served by a preferred version already."""
    try:
        listed: list[dict[str, Any]] = (await client.request("GET", path)).get("resources") or []
    except (StatusError, ConnectionError, OSError, TimeoutError) as error:
        found.failures[f"{group}/{version}" if group else version] = str(error)
        return set()
    names = set()
    for entry in listed:
        if "/" in entry["name"]:
            continue
        gvr = GVR(group, version, entry["name"], bool(entry.get("namespaced")))
        found.by_kind.setdefault((gvr.api_version, entry["kind"]), gvr)
        names.add(entry["name"])
        if entry["name"] not in (skip or ()):
            found.resources[gvr] = Served(gvr, entry["kind"], frozenset(entry.get("verbs") or ()))
    return names
