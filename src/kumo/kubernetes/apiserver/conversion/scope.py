"""Conversions in code that does not wait.

What is made of objects on their way (patches, the books of their fields, policies) is worked out by functions without
I/O. Where one of them needs an object in another version that only a webhook can give, it is stopped there, the webhook
is asked, and the function is called once more, until it has all it needs. Such functions must therefore begin with
nothing but what they are given, and change none of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import msgspec

from kumo.api.objects import Object

T = TypeVar("T")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
Key = tuple[int, str, bytes]


class Converts(Protocol):
    """What asks a webhook; see `Converter.convert`."""

    def convert(self, objects: list[Object], version: str) -> Awaitable[list[Object]]:
        """The objects in that version."""
        ...


class Wanted(Exception):
    """An object that is needed in another version before the work can go on."""

    def __init__(self, converter: Converts, obj: Object, version: str, key: Key) -> None:
        super().__init__("a conversion by a webhook was not waited for")
        self.converter = converter
        self.object = obj
        self.version = version
        self.key = key


class Scope:
    """What has been converted for the function that runs at the moment. One for all definitions of a server."""

    def __init__(self) -> None:
        self._known: dict[Key, bytes] | None = None

    async def settle(self, do: Callable[[], T]) -> T:
        """The result of `do`, which is called until nothing is left to convert. Raises what it and webhooks raise."""
        known: dict[Key, bytes] = {}
        while True:
            outer, self._known = self._known, known
            try:
                return do()
            except Wanted as found:
                wanted = found
            finally:
                self._known = outer
            (converted,) = await wanted.converter.convert([wanted.object], wanted.version)
            known[wanted.key] = _encode(converted)

    def converted(self, converter: Converts, obj: Object, version: str) -> Object:
        """The object in that version, the caller's to change. Raises Wanted."""
        key = (id(converter), version, _encode(obj))
        raw = self._known.get(key) if self._known is not None else None
        if raw is None:
            raise Wanted(converter, obj, version, key)
        found: Any = _decode(raw)
        return dict(found)
