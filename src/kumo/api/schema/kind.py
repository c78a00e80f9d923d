"""What is known of one kind: how to read its objects, and how their parts merge."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple, Protocol

import msgspec

from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.api.schema.builtin import builtin_nodes
from kumo.api.schema.decoding import DecodeError, decode
from kumo.api.schema.definitions import load
from kumo.api.schema.nodes import Node
from kumo.api.schema.structs import Structs, read_text, write_text


class Decoded(NamedTuple):
    """A checked copy of an object without its unknown fields, and the paths of those (`spec.foo`)."""

    object: Object
    unknown: tuple[str, ...] = ()


class KindSchema(Protocol):
    """The schema of one kind, built-in or custom."""

    gvk: GVK
    root: Node

    def decode(self, obj: Object, *, sparse: bool = False) -> Decoded:
        """A checked, pruned copy with canonical key order. Raises DecodeError (400) for wrong types.

        Zero values are left out or added as Go does it, unless `sparse`: then only what was said is there (apply).
        """
        ...

    def field(self, *path: str) -> Node | None:
        """The node at the path (lists entered silently), or None: patch strategy, merge keys, list types."""
        ...

    def apply_defaults(self, obj: Object) -> None:
        """Set the defaults that the schema gives, in place (custom kinds; built-in ones keep theirs in code)."""
        ...

    def validate(self, obj: Object, old: Object | None = None) -> list[Cause]:
        """What breaks the schema's rules (custom kinds)."""
        ...


class BuiltinKindSchema:
    """The schema of a built-in kind."""

    def __init__(self, gvk: GVK, root: Node) -> None:
        self.gvk = gvk
        self.root = root
        self._structs: dict[bool, Any] = {}

    def decode(self, obj: Object, *, sparse: bool = False) -> Decoded:
        """See `KindSchema`."""
        found = self._decode_quickly(obj, sparse)
        if found is not None:
            return Decoded(found)
        slow = self._decode_slowly(obj)
        return slow if sparse else Decoded(self._decode_quickly(slow.object, sparse) or slow.object, slow.unknown)

    def _decode_quickly(self, obj: Object, sparse: bool) -> Object | None:
        struct = self._structs.get(sparse)
        if struct is None:
            struct = self._structs[sparse] = _structs(zeros=not sparse).type_of(self.root)
        try:
            typed = msgspec.convert(obj, struct, dec_hook=read_text)
        except msgspec.ValidationError:
            return None
        found: Object = msgspec.to_builtins(typed, enc_hook=write_text)
        return found

    def _decode_slowly(self, obj: Object) -> Decoded:
        unknown: list[str] = []
        try:
            copy = decode(self.root, msgspec.to_builtins(obj), unknown)
        except DecodeError as error:
            raise cannot_handle(self.gvk, str(error)) from None
        return Decoded(copy, tuple(unknown))

    def field(self, *path: str) -> Node | None:
        """See `KindSchema`."""
        return self.root.find(*path)

    def apply_defaults(self, obj: Object) -> None:
        """Nothing: the defaults of built-in kinds are with their strategies in the API server."""

    def validate(self, obj: Object, old: Object | None = None) -> list[Cause]:
        """Nothing: so are their rules."""
        return []


def cannot_handle(gvk: GVK, why: str) -> DecodeError:
    """The error for an object that cannot be read as its kind, for the given reason."""
    return DecodeError(f'{gvk.kind} in version "{gvk.version}" cannot be handled as a {gvk.kind}: {why}')


@cache
def _structs(*, zeros: bool) -> Structs:
    return Structs(zeros=zeros)


@cache
def builtin_schema(gvk: GVK) -> BuiltinKindSchema:
    """The schema of a built-in kind. Raises KeyError for a kind that Kubernetes does not define."""
    return BuiltinKindSchema(gvk, builtin_nodes().definition(load().kinds[gvk]))
