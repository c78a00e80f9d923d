"""The definitions of every built-in kind, read from the file that `tools/generate_schema.py` makes.

Layout of `kumo/api/data/schema.bin`: the magic line, three big-endian 32-bit lengths, then three xz streams of JSON:
`{"group/version/Kind": definition name}`, `{definition name: schema without descriptions}` and
`{definition name: {"": its description, property: description}}`. Nothing is read before it is asked for, a definition
is parsed when first needed, and the descriptions (three quarters of the file) only for `kubectl explain`.
"""

from __future__ import annotations

import hashlib
import lzma
import struct
from functools import cache, cached_property
from importlib import resources
from typing import Any

import msgspec

from kumo.api.resources import GVK

MAGIC = b"kumoschema1\n"


class Definitions:
    """The definitions in `data`, the file's bytes. Raises ValueError for any other file."""

    def __init__(self, data: bytes) -> None:
        if not data.startswith(MAGIC):
            raise ValueError("the schema data is of another version: run `make setup` again")
        start = len(MAGIC) + 12
        lengths = struct.unpack(">3I", data[len(MAGIC) : start])
        self._parts: list[bytes] = []
        for length in lengths:
            self._parts.append(data[start : start + length])
            start += length
        self._parsed: dict[str, dict[str, Any]] = {}
        self.digest = hashlib.sha256(data).digest()

    @cached_property
    def kinds(self) -> dict[GVK, str]:
        """The definition's name of each kind."""
        found: dict[str, str] = msgspec.json.decode(lzma.decompress(self._parts[0]))
        return {GVK(*text.split("/")): name for text, name in found.items()}

    @cached_property
    def _raw(self) -> dict[str, msgspec.Raw]:
        return msgspec.json.decode(lzma.decompress(self._parts[1]), type=dict[str, msgspec.Raw])

    def __getitem__(self, name: str) -> dict[str, Any]:
        """The definition, without descriptions; `$ref` holds the bare name of another. Raises KeyError."""
        found = self._parsed.get(name)
        if found is None:
            found = self._parsed[name] = msgspec.json.decode(self._raw[name])
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._raw

    def descriptions(self) -> dict[str, dict[str, str]]:
        """All descriptions, parsed anew at each call: `{definition: {property: text, "": of itself}}`."""
        found: dict[str, dict[str, str]] = msgspec.json.decode(lzma.decompress(self._parts[2]))
        return found


@cache
def load() -> Definitions:
    """The package's own definitions. Raises FileNotFoundError when the file was never generated."""
    file = resources.files("kumo.api").joinpath("data/schema.bin")
    if not file.is_file():
        raise FileNotFoundError("kumo/api/data/schema.bin is missing: run `make setup` (tools/generate_schema.py)")
    return Definitions(file.read_bytes())
