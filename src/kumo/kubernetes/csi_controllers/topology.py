"""Where volumes are to be had. Pure; the rules are external-provisioner's.

A place is a mapping of topology keys to values (`{"topology.example.com/zone": "a"}`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

from kumo.api import selectors
from kumo.api.objects import Object, labels_of

Place = Mapping[str, str]


class NoPlace(Exception):
    """The volume can't be placed; `missing` if that is because the node, or what it says of itself, is not there."""

    def __init__(self, message: str, *, missing: bool = False) -> None:
        super().__init__(message)
        self.missing = missing


def is_accessible(volume: Object, place: Place) -> bool:
    """Whether a volume can be used at a place; without a place, or an affinity, it can."""
    required = ((volume.get("spec") or {}).get("nodeAffinity") or {}).get("required")
    if required is None or not place:
        return True
    return any(selectors.matches_node_term(t, dict(place), {}) for t in required.get("nodeSelectorTerms") or ())


def node_affinity(places: Iterable[Place]) -> dict[str, Any] | None:
    """The `nodeAffinity` of a volume that is to be had at the places; None for everywhere."""
    terms = []
    found = list(places)
    for place in found:
        wanted = [{"key": k, "operator": "In", "values": [v]} for k, v in sorted(place.items())]
        if wanted:
            terms.append({"matchExpressions": wanted})
    return {"required": {"nodeSelectorTerms": terms}} if found else None


def keys_of(csi_node: Object | None, driver: str) -> list[str]:
    """The topology keys that the driver has on a node."""
    for entry in ((csi_node or {}).get("spec") or {}).get("drivers") or ():
        if entry.get("name") == driver:
            return list(entry.get("topologyKeys") or ())
    return []


def place_of(node: Object, keys: Sequence[str]) -> dict[str, str] | None:
    """Where a node is, by its labels; None if one is missing."""
    labels = labels_of(node)
    return {k: labels[k] for k in sorted(keys)} if keys and all(k in labels for k in keys) else None


def flatten(terms: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The places that a class's `allowedTopologies` stand for."""
    found = []
    for term in terms:
        expressions = term.get("matchLabelExpressions") or ()
        if expressions:
            choices = [[(e["key"], value) for value in e.get("values") or ()] for e in expressions]
            found += [dict(sorted(chosen)) for chosen in product(*choices)]
    return found


def places(driver: str, csi_nodes: Iterable[Object], nodes: Iterable[Object]) -> list[dict[str, str]]:
    """All the places where the driver is, each once."""
    by_name = {n["metadata"]["name"]: n for n in nodes}
    found: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
    for csi_node in csi_nodes:
        node = by_name.get(csi_node["metadata"]["name"])
        place = place_of(node, keys_of(csi_node, driver)) if node is not None else None
        if place:
            found[tuple(sorted(place.items()))] = place
    return [found[key] for key in sorted(found, key=lambda k: (len(k), k))]


def requirement(
    driver: str, allowed: Sequence[Place], selected: str, csi_nodes: Sequence[Object], nodes: Sequence[Object]
) -> list[Place]:
    """Where a volume may be, the best place first; empty for anywhere. Raises NoPlace.

    `selected` is the node that is to use it: then it has to be within reach of that node. Without one it is anywhere
    where the driver is, or where the class allows.
    """
    if not selected:
        found: list[Place] = [*allowed] or [*places(driver, csi_nodes, nodes)]
        if not found:
            raise NoPlace("no available topology found")
        return found
    csi_node = next((n for n in csi_nodes if n["metadata"]["name"] == selected), None)
    if csi_node is None:
        why = f'csinode.storage.k8s.io "{selected}" not found'
        raise NoPlace(f"failed to get selected CSINode {selected}: {why}", missing=True)
    keys = keys_of(csi_node, driver)
    if not keys:
        raise NoPlace(f"no topology key found for node {selected}")
    node = next((n for n in nodes if n["metadata"]["name"] == selected), None)
    place = place_of(node, keys) if node is not None else None
    if place is None:
        labels = " ".join(f"{k}:{v}" for k, v in sorted(labels_of(node or {}).items()))
        told = f"map[{labels}] does not match topology keys from CSINode [{' '.join(keys)}]"
        raise NoPlace(f"topology labels from selected node {told}")
    if allowed and not any(a.items() <= place.items() for a in allowed):
        raise NoPlace(
            f"selected node '\"{selected}\"' topology '{place}' is not in allowed topologies: {list(allowed)}"
        )
    return [place]
