"""Decoding as Go's JSON decoder does it for a typed object: the reference, and the words for what is wrong.

The quick way is `kumo.api.schema.structs`; whatever it does not like comes here, to be put right (nulls, quantities in
another form), pruned (unknown fields), or refused with upstream's message.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import Any

from kumo.api import quantities
from kumo.api.schema.nodes import Node
from kumo.api.schema.zeros import marks_of

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?P<fraction>\.\d{6})?(?P<rest>.*)", re.S)
_LAYOUT, _MICRO_LAYOUT = "2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05.000000Z07:00"
_BOUNDS = {"int32": 1 << 31, "int64": 1 << 63}
_DROP = object()
_MICRO_LENGTH = len("2006-01-02T15:04:05.000000Z")


class DecodeError(ValueError):
    """The object cannot be read as its kind; the message is that of upstream's 400 BadRequest."""


def canonical_time(text: str) -> str:
    """A `metav1.Time` in UTC and whole seconds. Raises ValueError in the words of Go's `time.Parse`."""
    return f"{_moment(text).isoformat(timespec='seconds')}Z"


def canonical_micro_time(text: str) -> str:
    """A `metav1.MicroTime` in UTC with six decimals, as it must be given. Raises ValueError in Go's words."""
    if len(text) == _MICRO_LENGTH and text[-1] == "Z" and TIME.fullmatch(text):
        try:
            datetime.fromisoformat(text)
            return text  # As nearly all come: leases are renewed all the time.
        except ValueError:
            pass
    found = _MICRO_TIME.fullmatch(text)
    if found and not found["fraction"]:
        raise ValueError(f'parsing time "{text}" as "{_MICRO_LAYOUT}": cannot parse "{found["rest"]}" as ".000000"')
    if found and found["rest"][:1].isdigit():
        raise ValueError(f'parsing time "{text}" as "{_MICRO_LAYOUT}": cannot parse "{found["rest"]}" as "Z07:00"')
    return f"{_moment(text, _MICRO_LAYOUT).isoformat(timespec='microseconds')}Z"


def _moment(text: str, layout: str = _LAYOUT) -> datetime:
    """The moment in UTC. (`strftime` would write the year 1 as `1`.)"""
    if TIME.fullmatch(text):
        try:
            return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).astimezone(UTC).replace(tzinfo=None)
        except (ValueError, OverflowError):
            pass
    raise ValueError(f'parsing time "{text}"{_wrong_time(text, layout)}')


_PARTS = (
    ("", r"\d{4}", "2006"),
    ("-", r"\d\d", "01"),
    ("-", r"\d\d", "02"),
    ("T", r"\d\d?", "15"),
    (":", r"\d\d", "04"),
    (":", r"\d\d", "05"),
)
_RANGES = (("month", 1, 12), ("hour", 0, 23), ("minute", 0, 59), ("second", 0, 59))


def _wrong_time(text: str, layout: str) -> str:
    """What is wrong with a time in the words of Go's parser: the first part that does not fit, as the layout has it."""
    rest, said, numbers = text, f' as "{layout}": cannot parse "{{}}" as "{{}}"', []
    for before, pattern, name in _PARTS:
        if not rest.startswith(before):
            return said.format(rest, before)
        rest = rest[len(before) :]
        found = re.match(pattern, rest, re.ASCII)
        if found is None:
            return said.format(rest, name)
        rest = rest[found.end() :]
        numbers.append(int(found[0]))
    fraction = re.match(r"[.,]\d+", rest, re.ASCII)
    rest = rest[fraction.end() :] if fraction else rest
    zone = re.match(r"Z|[+-]\d\d:\d\d", rest, re.ASCII)
    if zone is None:
        return said.format(rest, "Z07:00")
    rest = rest[zone.end() :]
    if rest:
        return f': extra text: "{rest}"'
    held = zip(_RANGES, (numbers[1], *numbers[3:]))
    return f": {next((name for (name, low, high), n in held if not low <= n <= high), 'day')} out of range"


def canonical_base64(text: str) -> str:
    """The text without line breaks, which Go reads over. Raises ValueError for what is not base64."""
    check_base64(text)
    return text.replace("\n", "").replace("\r", "") if "\n" in text or "\r" in text else text


def check_base64(text: str) -> None:
    """Refuse what is not standard base64. Raises ValueError in Go's words."""
    try:
        base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError):
        good = re.match(r"(?:[A-Za-z0-9+/]{4})*", text)
        at = good.end() if good else 0
        rest = re.match(r"[A-Za-z0-9+/]*", text[at:])
        at += rest.end() if rest and at + rest.end() < len(text) else 0
        raise ValueError(f"illegal base64 data at input byte {at}") from None


def decode(node: Node, value: Any, unknown: list[str]) -> Any:
    """The value as the node has it; paths of unknown fields are added to `unknown`. Raises DecodeError."""
    found = _walk(node, value, _Place("", "", ""), unknown)
    return {} if found is _DROP else found


class _Place:
    """Where the walk is: the innermost struct, the dotted path without indexes, and the path with them.

    `go` is the Go type of the place, if it has a name of its own.
    """

    __slots__ = ("dotted", "go", "path", "struct")

    def __init__(self, struct: str, dotted: str, path: str, go: str = "") -> None:
        self.struct = struct
        self.dotted = dotted
        self.path = path
        self.go = go

    def field(self, node: Node, name: str) -> _Place:
        marks = marks_of(node.definition)
        dotted = f"{self.dotted}.{name}" if self.dotted else name
        if name in marks.embedded:
            dotted = f"{dotted[: -len(name)]}{marks.embedded[name]}.{name}"
        path = f"{self.path}.{name}" if self.path else name
        return _Place(node.name, dotted, path, marks.types.get(name, ""))

    def key(self, name: str) -> _Place:
        return _Place(self.struct, self.dotted, f"{self.path}.{name}")

    def item(self, index: int) -> _Place:
        return _Place(self.struct, self.dotted, f"{self.path}[{index}]", self.go.removeprefix("[]"))


def _walk(node: Node, value: Any, place: _Place, unknown: list[str]) -> Any:
    if value is None:
        return _DROP
    kind = node.type
    if kind == "any":
        return value
    if kind == "object":
        return _object(node, value, place, unknown)
    if kind == "map":
        if not isinstance(value, dict):
            raise _mismatch(node, value, place)
        assert node.values is not None
        items = {k: _walk(node.values, v, place.key(k), unknown) for k, v in value.items()}
        return {k: _zero(node.values) if v is _DROP else v for k, v in items.items()}
    if kind == "array":
        if not isinstance(value, list):
            raise _mismatch(node, value, place)
        assert node.items is not None
        walked = [_walk(node.items, v, place.item(i), unknown) for i, v in enumerate(value)]
        return [_zero(node.items) if v is _DROP else v for v in walked]
    return _scalar(node, value, place)


def _object(node: Node, value: Any, place: _Place, unknown: list[str]) -> Any:
    if not isinstance(value, dict):
        raise _mismatch(node, value, place)
    fields, out = node.fields, {}
    for name, child in fields.items():
        if name in value:
            found = _walk(child, value[name], place.field(node, name), unknown)
            if found is not _DROP:
                out[name] = found
    for name in value:
        if name not in fields:
            unknown.append(f"{place.path}.{name}" if place.path else name)
    return out


def _scalar(node: Node, value: Any, place: _Place) -> Any:
    kind = node.type
    if kind == "integer":
        if type(value) is not int or not -(bound := _BOUNDS.get(node.format, 1 << 63)) <= value < bound:
            raise _mismatch(node, value, place)
        return value
    if kind == "boolean":
        if type(value) is not bool:
            raise _mismatch(node, value, place)
        return value
    if kind == "number":
        if type(value) not in (int, float):
            raise _mismatch(node, value, place)
        return value
    if kind == "int-or-string":
        if type(value) not in (int, str):
            raise _mismatch(node, value, place)
        return value
    if kind == "quantity" and type(value) in (int, float):
        value = str(value)
    if type(value) is not str:
        raise _mismatch(node, value, place)
    try:
        return _text(kind, value)
    except ValueError as error:
        raise DecodeError(str(error)) from None


def _text(kind: str, value: str) -> str:
    if kind == "quantity":
        return quantities.canonical(value)
    if kind == "time":
        return canonical_time(value)
    if kind == "micro-time":
        return canonical_micro_time(value)
    if kind == "bytes":
        return canonical_base64(value)
    return value


def _zero(node: Node) -> Any:
    """What Go leaves in a list or map where JSON has null."""
    zeros: dict[str, Any] = {"object": {}, "integer": 0, "number": 0, "boolean": False, "quantity": "0"}
    if node.type in zeros:
        return zeros[node.type] if node.type != "object" else {}
    return None if node.type in ("map", "array", "any", "time", "micro-time", "bytes") else ""


def _mismatch(node: Node, value: Any, place: _Place) -> DecodeError:
    found = _json_kind(node, value)
    wanted = place.go or go_type(node)
    if not place.dotted:
        return DecodeError(f"json: cannot unmarshal {found} into Go value of type {wanted}")
    return DecodeError(
        f"json: cannot unmarshal {found} into Go struct field {place.struct}.{place.dotted} of type {wanted}"
    )


def _json_kind(node: Node, value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return f"number {value}" if node.type == "integer" else "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def go_type(node: Node) -> str:
    """The Go type that upstream's messages name at that place."""
    if node.type == "object":
        return f"{node.package}.{node.name}"
    if node.type == "map":
        return f"map[string]{go_type(node.values)}" if node.values else "map[string]string"
    if node.type == "array":
        return f"[]{go_type(node.items)}" if node.items else "[]string"
    if node.type == "integer":
        return node.format or "int64"
    names = {"number": "float64", "boolean": "bool", "bytes": "[]uint8", "int-or-string": "intstr.IntOrString"}
    return names.get(node.type, "string")
