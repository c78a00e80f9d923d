"""Request bodies: JSON, YAML or protobuf in, an object out. Size, depth and YAML's aliases are bounded."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import yaml

from kumo.api.errors import StatusError, bad_request, too_large, unsupported_media_type
from kumo.kubernetes.apiserver import protobuf
from kumo.kubernetes.apiserver.json_errors import json_error
from kumo.machinery.http import BodyTooLarge, Request

LIMIT = 3 << 20
MAX_NODES = 300_000
"""The most values a YAML document may stand for once its aliases are followed."""
MAX_DEPTH = 200
"""How deeply objects may nest: far more than any real one, far less than what recursion can take."""
_SHOWN = 30
"""How much of a body that can't be read its refusal quotes."""
JSON = "application/json"
YAML = "application/yaml"
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_SUPPORTED = f"application/json, application/yaml, {protobuf.MEDIA_TYPE}"


async def read(request: Request, limit: int = LIMIT) -> bytes:
    """The body. Raises 413 when it is over the limit."""
    try:
        return await request.read(limit)
    except BodyTooLarge:
        raise too_large() from None


def media_type(request: Request) -> str:
    """The content type without its parameters; JSON when none is given."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() or JSON


def decode(data: bytes, kind: str, expected: str) -> Any:
    """The value of a body of media type `kind`; `expected` is the kind of object for messages.

    Raises 415 for other media types, 400 for what can't be read.
    """
    if kind == JSON:
        return decode_json(data, expected)
    if kind == YAML:
        return decode_yaml(data, expected)
    if kind == protobuf.MEDIA_TYPE:
        try:
            value = protobuf.decode(data)
            return _shallow(_encode(value), value, expected)
        except protobuf.ProtobufError as error:
            raise _unreadable(expected, str(error)) from None
    raise unsupported_media_type(
        f"the body of the request was in an unknown format - accepted media types include: {_SUPPORTED}"
    )


def decode_json(data: bytes, expected: str) -> Any:
    """The JSON value. Raises 400."""
    try:
        return _shallow(data, _decode(data), expected)
    except msgspec.DecodeError as error:
        why = json_error(data) or str(error)
        raise _unreadable(expected, f"json parse error: {why} ({_quoted(data)})") from None
    except RecursionError:
        raise _unreadable(expected, "json parse error: exceeded max depth") from None
    except UnicodeDecodeError as error:
        raise _unreadable(expected, f"json parse error: invalid UTF-8: {error.reason}") from None


def decode_yaml(data: bytes, expected: str) -> Any:
    """The value of a YAML document (JSON is one). Raises 400, also for one whose aliases multiply without bound."""
    if data.lstrip()[:1] == b"{":
        try:
            return _shallow(data, _decode(data), expected)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            pass  # YAML's flow style, maybe.
    loader = _Loader(data)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _measure(node)
        value = loader.construct_document(node)
        try:
            return _decode(_encode(value))  # Aliases become values of their own; keys become texts.
        except TypeError:
            return _decode(_encode(_text_keys(value)))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, msgspec.MsgspecError) as error:
        why = "exceeded max depth" if isinstance(error, RecursionError) else " ".join(str(error).split())
        why = why.partition(' in "<')[0]
        raise bad_request(
            f"the object provided is unrecognized (must be of type {expected}): yaml: {why} ({_quoted(data)})"
        ) from None
    finally:
        loader.dispose()


def _quoted(data: bytes) -> str:
    """How a refusal quotes the body: as it is, or in hexadecimal digits if it is no JSON object."""
    if not data:
        return "<empty>"
    begin = data[:_SHOWN].decode(errors="replace") if data[:1] == b"{" else data[:_SHOWN].hex()
    return f"{begin} ..." if len(data) > _SHOWN else begin


def no_object(data: bytes, value: Any, expected: str) -> StatusError:
    """400: the body is another JSON value than an object."""
    what = "array" if isinstance(value, list) else "string" if isinstance(value, str) else "number"
    what = "bool" if isinstance(value, bool) else what
    struct = 'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
    why = f"json: cannot unmarshal {what} into Go value of type {struct}"
    return _unreadable(expected, f"json parse error: {why} ({_quoted(data)})")


def _text_keys(value: Any) -> Any:
    """The value with texts for keys, also for what YAML takes for a truth value or nothing (`y: 1`)."""
    if isinstance(value, dict):
        return {_text_key(k): _text_keys(v) for k, v in value.items()}
    return [_text_keys(v) for v in value] if isinstance(value, list) else value


def _text_key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    if key is None:
        return "null"
    if isinstance(key, str | int | float):
        return str(key)
    raise ValueError("a key is no text")


def _shallow(data: bytes, value: Any, expected: str) -> Any:
    if is_deep(data, value):
        raise _unreadable(expected, "json parse error: exceeded max depth")
    return value


_CONTAINERS = (dict, list)


def is_deep(data: bytes, value: Any) -> bool:
    """Whether the value, whose JSON is `data`, nests deeper than `MAX_DEPTH`.

    The brackets say how many objects and lists there are at most that anything can nest in; only where these might be
    enough the value is walked through, level by level, until too few of them are left.
    """
    left = data.count(b"{") + data.count(b"[") - data.count(b"{}") - data.count(b"[]")
    level, depth = [value], 0
    while level and depth <= MAX_DEPTH:
        if left <= MAX_DEPTH - depth:
            return False
        left -= sum(1 for v in level if v)
        inside = (v.values() if isinstance(v, dict) else v for v in level)
        level = [child for children in inside for child in children if isinstance(child, _CONTAINERS)]
        depth += 1
    return bool(level)


def _unreadable(expected: str, why: str) -> StatusError:
    return bad_request(
        f"the object provided is unrecognized (must be of type {expected}): couldn't get version/kind; {why}"
    )


_BaseLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BaseLoader):  # type: ignore[misc,valid-type]
    """YAML's safe types without dates: they stay texts, as JSON has them."""


_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"^(?:[-+]?0b[0-1_]+|[-+]?0x[0-9a-fA-F_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*))$")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_OURS = {f"{_TAG}timestamp", f"{_TAG}int", f"{_TAG}float"}
# Numbers and truth values as Go's YAML has them: no times, no numbers to the base 60, `1e3` is one, `y` is true.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _OURS]
    for first, resolvers in _BaseLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{_TAG}int", _INT, list("-+0123456789"))
_Loader.add_implicit_resolver(f"{_TAG}float", _FLOAT, list("-+0123456789."))
_Loader.add_implicit_resolver(f"{_TAG}bool", re.compile(r"^[yYnN]$"), list("yYnN"))
_Loader.bool_values = {**_BaseLoader.bool_values, "y": True, "n": False}


def _measure(root: yaml.Node) -> None:
    """Refuse a document that stands for too many values or nests too deeply. Raises ValueError."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node, depth: int) -> int:
        if depth > MAX_DEPTH:
            raise ValueError("exceeded max depth")
        found = sizes.get(id(node))
        if found is None:
            sizes[id(node)] = 1  # An alias inside its own anchor counts once, and is refused when made.
            found = 1
            if isinstance(node, yaml.SequenceNode):
                found += sum(size(child, depth + 1) for child in node.value)
            elif isinstance(node, yaml.MappingNode):
                found += sum(size(k, depth + 1) + size(v, depth + 1) for k, v in node.value)
            if found > MAX_NODES:
                raise ValueError("document contains excessive aliasing")
            sizes[id(node)] = found
        return found

    size(root, 0)


def duplicates(data: bytes, decoded: Any) -> list[str]:
    """The paths of the keys that a JSON text has twice; `decoded` is its value.

    Nearly always there are none, which the number of quotes tells without reading the text again.
    """
    if data.lstrip()[:1] not in (b"{", b"[") or data.count(b'"') <= _encode(decoded).count(b'"'):
        return []
    try:
        tree = json.loads(data, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return []
    found: list[str] = []
    _find_duplicates(tree, "", found)
    return found


def in_order(data: bytes, unknown: Sequence[str], twice: Sequence[str]) -> list[str]:
    """What to say of unknown fields and of those that are there twice, in the order of the JSON text.

    The paths that are found in no JSON text (of YAML, of what a patch made) come sorted.
    """
    said: list[str] = []
    if data.lstrip()[:1] == b"{":
        try:
            tree = json.loads(data, object_pairs_hook=_Pairs)
        except (ValueError, RecursionError):
            tree = None
        _tell(tree, "", set(unknown), set(twice), said)
    every = [f'unknown field "{path}"' for path in sorted(unknown)] + [f'duplicate field "{path}"' for path in twice]
    return list(dict.fromkeys(said + every))


def _tell(value: Any, path: str, unknown: set[str], twice: set[str], said: list[str]) -> None:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, child in value:
            below = f"{path}.{key}" if path else key
            if below in unknown:
                said.append(f'unknown field "{below}"')
                unknown.discard(below)
            elif key in seen and below in twice:
                said.append(f'duplicate field "{below}"')
                twice.discard(below)
            seen.add(key)
            _tell(child, below, unknown, twice, said)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            _tell(child, f"{path}[{index}]", unknown, twice, said)


def yaml_duplicates(data: bytes, decoded: Any) -> list[str]:
    """What to say of the keys that a YAML (or JSON) document has twice: `line 7: key "paused" already set in map`.

    Of JSON, `decoded` mostly tells that there are none.
    """
    if data.lstrip()[:1] == b"{" and data.count(b'"') <= _encode(decoded).count(b'"'):
        return []
    loader = _Loader(data)
    try:
        root = loader.get_single_node()
    except (yaml.YAMLError, RecursionError):
        return []
    finally:
        loader.dispose()
    found: list[str] = []
    waiting, seen = [root] if root is not None else [], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += reversed(node.value)
        elif isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, child in node.value:
                if key.value in keys:
                    found.append(f'line {key.start_mark.line + 1}: key "{key.value}" already set in map')
                keys.add(key.value) if isinstance(key.value, str) else None
                waiting.append(child)
    return found


class _Pairs(list[tuple[str, Any]]):
    """An object as the pairs it was written with."""


def _find_duplicates(value: Any, path: str, found: list[str]) -> None:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, child in value:
            below = f"{path}.{key}" if path else key
            if key in seen and below not in found:
                found.append(below)
            seen.add(key)
            _find_duplicates(child, below, found)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            _find_duplicates(child, f"{path}[{index}]", found)
