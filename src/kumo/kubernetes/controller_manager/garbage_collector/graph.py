"""Who owns whom: a graph of uids over every object there is. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from kumo.api.objects import Object, is_deleting, name_of, namespace_of, uid_of
from kumo.api.resources import GVR

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


@dataclass(frozen=True, slots=True)
class Owner:
    """An owner reference."""

    api_version: str
    kind: str
    name: str
    uid: str
    blocks: bool

    @classmethod
    def of(cls, reference: dict[str, Any]) -> Owner:
        """The value of an owner reference."""
        return cls(
            reference.get("apiVersion") or "",
            reference.get("kind") or "",
            reference.get("name") or "",
            reference.get("uid") or "",
            bool(reference.get("blockOwnerDeletion")),
        )


@dataclass(slots=True)
class Node:
    """One object; while only its dependents are known, `gvr` is None."""

    uid: str
    gvr: GVR | None = None
    namespace: str = ""
    name: str = ""
    owners: tuple[Owner, ...] = ()
    dependents: set[str] = field(default_factory=set)
    deleting: bool = False
    foreground: bool = False
    orphaning: bool = False

    @property
    def known(self) -> bool:
        """Whether the object itself has been seen."""
        return self.gvr is not None


def owners_of(obj: Object) -> tuple[Owner, ...]:
    """The object's owner references."""
    return tuple(Owner.of(r) for r in (obj.get("metadata") or {}).get("ownerReferences") or ())


class Graph:
    """Nodes by uid. `observe` and `remove` say which objects deserve a look after the change."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}

    def get(self, uid: str) -> Node | None:
        """The node of that uid, if its object has been seen."""
        node = self.nodes.get(uid)
        return node if node is not None and node.known else None

    def dependents(self, node: Node) -> list[Node]:
        """The objects that refer to the node as an owner."""
        return [self.nodes[uid] for uid in node.dependents if uid in self.nodes]

    def blocking(self, node: Node) -> list[Node]:
        """The dependents whose reference says that the owner waits for them."""
        return [d for d in self.dependents(node) if any(o.uid == node.uid and o.blocks for o in d.owners)]

    def observe(self, gvr: GVR, obj: Object) -> set[str]:
        """An object was added or changed."""
        uid = uid_of(obj)
        finalizers = (obj.get("metadata") or {}).get("finalizers") or ()
        node = self.nodes.setdefault(uid, Node(uid))
        was_known, was_deleting = node.known, node.deleting
        gained = self._relink(node, owners_of(obj))
        node.gvr, node.namespace, node.name = gvr, namespace_of(obj), name_of(obj)
        node.deleting = is_deleting(obj)
        node.foreground = node.deleting and FOREGROUND in finalizers
        node.orphaning = node.deleting and ORPHAN in finalizers
        look: set[str] = set()
        if node.owners and (not was_known or gained):
            look.add(uid)
        if node.foreground or node.orphaning:
            look.add(uid)
        if node.foreground and not was_deleting:
            look |= node.dependents
        look |= self._waiting_owners(node)
        return look

    def remove(self, uid: str) -> set[str]:
        """An object is gone: its dependents may be garbage, its owners may have waited for it."""
        node = self.nodes.get(uid)
        if node is None:
            return set()
        look = set(node.dependents) | self._waiting_owners(node)
        self._relink(node, ())
        node.gvr = None
        node.deleting = node.foreground = node.orphaning = False
        if not node.dependents:
            del self.nodes[uid]
        return look

    def _waiting_owners(self, node: Node) -> set[str]:
        return {o.uid for o in node.owners if o.uid in self.nodes and self.nodes[o.uid].foreground}

    def _relink(self, node: Node, owners: tuple[Owner, ...]) -> bool:
        """Replace the node's owners; whether they changed in any way."""
        if owners == node.owners:
            return False
        former = node.owners
        node.owners = owners
        for gone in {o.uid for o in former} - {o.uid for o in owners}:
            self._unlink(gone, node.uid)
        for owner in owners:
            self.nodes.setdefault(owner.uid, Node(owner.uid)).dependents.add(node.uid)
        return True

    def _unlink(self, owner: str, dependent: str) -> None:
        found = self.nodes.get(owner)
        if found is not None:
            found.dependents.discard(dependent)
            if not found.known and not found.dependents:
                del self.nodes[owner]


def without(references: Iterable[dict[str, Any]], uids: set[str]) -> list[dict[str, Any]]:
    """The owner references that do not name one of the uids."""
    return [r for r in references if r.get("uid") not in uids]
