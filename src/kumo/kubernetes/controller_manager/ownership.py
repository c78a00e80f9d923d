"""Ownership by selector: which objects an owner controls, which it should adopt, which it should let go.

The rules of client-go's ControllerRefManager. `decide` is pure, `claim` writes what it decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kumo.api import selectors
from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import (
    Object,
    controller_of,
    is_deleting,
    labels_of,
    name_of,
    namespace_of,
    owner_reference,
    uid_of,
)
from kumo.api.resources import GVR
from kumo.machinery.client import STRATEGIC_MERGE_PATCH, Client
from kumo.machinery.informer import Informer

OWNER_INDEX = "controller-manager/controller"


def controller_index(obj: Object) -> Iterable[str]:
    """Indexer: the uid of the controlling owner, or `orphan/` and the namespace where there is none."""
    owner = controller_of(obj)
    yield owner["uid"] if owner is not None else f"orphan/{namespace_of(obj)}"


def candidates(informer: Informer, owner: Object) -> list[Object]:
    """The objects that the owner controls and those in its namespace that nobody does (by `OWNER_INDEX`)."""
    orphans = informer.by_index(OWNER_INDEX, f"orphan/{namespace_of(owner)}")
    return [*informer.by_index(OWNER_INDEX, uid_of(owner)), *orphans]


@dataclass(slots=True)
class Claims:
    """What belongs to an owner already, what it should take, and what it should give up."""

    owned: list[Object] = field(default_factory=list)
    adopt: list[Object] = field(default_factory=list)
    release: list[Object] = field(default_factory=list)


def decide(owner: Object, selector: dict[str, Any] | None, objects: Iterable[Object]) -> Claims:
    """Sort the objects of the owner's namespace."""
    claims = Claims()
    for obj in objects:
        reference = controller_of(obj)
        matches = selectors.matches(selector, labels_of(obj))
        if reference is not None:
            if reference.get("uid") != uid_of(owner):
                continue
            if matches:
                claims.owned.append(obj)
            elif not is_deleting(owner):
                claims.release.append(obj)
        elif matches and not is_deleting(owner) and not is_deleting(obj):
            claims.adopt.append(obj)
    return claims


async def claim(
    client: Client,
    owner_gvr: GVR,
    owner: Object,
    gvr: GVR,
    objects: Iterable[Object],
    selector: dict[str, Any] | None,
    *,
    finalizers: Sequence[str] = (),
) -> list[Object]:
    """Adopt and release what `decide` says; the objects that are the owner's afterwards.

    What is adopted gets the `finalizers`, what is released loses them.
    """
    claims = decide(owner, selector, objects)
    if claims.adopt:
        live = await client.get(owner_gvr, name_of(owner), namespace_of(owner))
        if uid_of(live) != uid_of(owner) or is_deleting(live):
            claims.adopt.clear()
    for obj in claims.adopt:
        adopted = await _patch_owner(client, gvr, obj, owner_reference(owner), {"finalizers": list(finalizers)})
        if adopted is not None:
            claims.owned.append(adopted)
    for obj in claims.release:
        gone = {"$deleteFromPrimitiveList/finalizers": list(finalizers)}
        await _patch_owner(client, gvr, obj, {"$patch": "delete", "uid": uid_of(owner)}, gone)
    return claims.owned


async def _patch_owner(
    client: Client, gvr: GVR, obj: Object, reference: dict[str, Any], finalizers: dict[str, list[str]]
) -> Object | None:
    meta = {"ownerReferences": [reference], "uid": uid_of(obj), **{k: v for k, v in finalizers.items() if v}}
    patch = {"metadata": meta}
    try:
        return await client.patch(gvr, name_of(obj), patch, namespace_of(obj), kind=STRATEGIC_MERGE_PATCH)
    except StatusError as error:
        if is_not_found(error) or error.reason == "Invalid":
            return None
        raise
