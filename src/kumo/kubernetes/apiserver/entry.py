"""One object in the cache: its bytes, and the little that selectors and indexes ask of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from kumo.api.objects import Object
from kumo.kubernetes.apiserver.splice import at_revision, from_served, with_revision

_NONE: Mapping[str, str] = {}


class _Owner(msgspec.Struct, gc=False):
    uid: str = ""


class _Metadata(msgspec.Struct, gc=False):
    uid: str = ""
    labels: dict[str, str] | None = None
    ownerReferences: list[_Owner] | None = None


class _Head(msgspec.Struct, gc=False):
    metadata: _Metadata


_head = msgspec.json.Decoder(_Head).decode


class Entry:
    """An object as of `revision`; `raw` is its JSON with that resourceVersion. Never changed once made."""

    __slots__ = ("fields", "labels", "name", "namespace", "owners", "raw", "revision", "uid")

    def __init__(self, namespace: str, name: str, revision: int, raw: bytes) -> None:
        self.namespace = namespace
        self.name = name
        self.revision = revision
        self.raw = raw
        self.labels = _NONE
        self.uid = ""
        self.owners: tuple[str, ...] = ()
        self.fields: Mapping[str, str] | None = None
        """The values that field selectors use, once somebody asked for them."""

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return (self.namespace, self.name)

    def object(self) -> Object:
        """The object, the caller's to change."""
        return from_served(self.raw)

    def at(self, revision: int) -> Entry:
        """The same object shown at another revision."""
        twin = type(self)(self.namespace, self.name, revision, at_revision(self.raw, revision))
        twin.labels, twin.uid, twin.owners, twin.fields = self.labels, self.uid, self.owners, self.fields
        return twin


class Shown(Entry):
    """An entry whose bytes are those to serve: a webhook, or what reads old objects, has brought them into a version.

    Labels, uid and owners are those of these bytes.
    """

    __slots__ = ()


def make_entry(namespace: str, name: str, revision: int, stored: bytes) -> Entry:
    """The entry of a stored value."""
    return _indexed(Entry(sys.intern(namespace), name, revision, with_revision(stored, revision)), stored)


def shown_entry(entry: Entry, raw: bytes) -> Shown:
    """The entry with other bytes, which have its revision in them already."""
    return _indexed(Shown(entry.namespace, entry.name, entry.revision, raw), raw)


_E = TypeVar("_E", bound=Entry)


def _indexed(entry: _E, raw: bytes) -> _E:
    meta = _head(raw).metadata
    entry.uid = meta.uid
    if meta.labels:
        entry.labels = {sys.intern(k): sys.intern(v) for k, v in meta.labels.items()}
    if meta.ownerReferences:
        entry.owners = tuple([owner.uid for owner in meta.ownerReferences])
    return entry
