"""A KubeletConfiguration from a file: decoded strictly, with the defaults filled in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kumo.api.durations import go_duration, go_text
from kumo.api.schema.decoding import DecodeError, decode
from kumo.kubernetes.kubelet.configuration.fields import (
    API_VERSION,
    FIELDS,
    KIND,
    OWN_DEFAULTS,
    STRUCTS,
    Field,
    is_struct,
    schema,
    zero_of,
)

Document = Mapping[str, Any]
_SIZE_LIMIT = 3 << 20


class ConfigurationError(ValueError):
    """A configuration can't be used; the message says why, in upstream's words where upstream has some."""


def read(path: Path) -> Document:
    """The file's document as it was given. Raises ConfigurationError."""
    try:
        if path.stat().st_size > _SIZE_LIMIT:
            raise ConfigurationError(f'kubelet config file "{path}" is too large')
        data = path.read_bytes()
    except OSError as error:
        text = f'failed to read kubelet config file "{path}", error: {error.strerror}'
        raise ConfigurationError(text) from error
    if not data:
        raise ConfigurationError(f'kubelet config file "{path}" was empty')
    return parse(data)


def parse(data: bytes) -> Document:
    """The document in YAML or JSON, its durations as Go writes them. Raises ConfigurationError."""
    import yaml

    try:
        root = yaml.compose(data.decode(), Loader=yaml.SafeLoader)
        value = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"failed to decode: yaml: {error}") from error
    if not isinstance(value, dict):
        raise ConfigurationError(f"failed to decode: it is no {KIND}")
    group = value.get("apiVersion"), value.get("kind")
    if not all(group):
        missing = "apiVersion" if not group[0] else "Kind"
        raise ConfigurationError(f"failed to decode: Object '{missing}' is missing in '{_shown(data)}'")
    if group != (API_VERSION, KIND):
        raise ConfigurationError(f'failed to decode: no kind "{group[1]}" is registered for version "{group[0]}"')
    unknown: list[str] = []
    try:
        document = decode(schema(), _plain(value), unknown)
        _durations(document, FIELDS)
    except (DecodeError, ValueError) as error:
        raise ConfigurationError(f"failed to decode: {error}") from error
    said = _duplicates(root) + [f'unknown field "{name}"' for name in sorted(unknown)]
    if said:
        raise ConfigurationError(f"strict decoding error: {', '.join(said)}")
    found: Document = document
    return found


def completed(given: Document) -> dict[str, Any]:
    """The document with every default, upstream's or kumo's own."""
    made = _defaults(given, FIELDS, OWN_DEFAULTS)
    if "nodeStatusReportFrequency" not in given and "nodeStatusUpdateFrequency" in given:
        made["nodeStatusReportFrequency"] = made["nodeStatusUpdateFrequency"]
    if "serializeImagePulls" not in given:
        made["serializeImagePulls"] = (made["maxParallelImagePulls"] or 1) < 2
    if made["podPidsLimit"] < 0:
        made["podPidsLimit"] = -1
    return made


def _shown(data: bytes) -> str:
    return data.decode(errors="replace")[:200]


def _plain(value: Any) -> Any:
    """What YAML reads beyond JSON (dates, keys that are no text) as text."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else _key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _durations(document: dict[str, Any], fields: Mapping[str, Field]) -> None:
    """Write durations in one way. Raises ValueError in Go's words."""
    for name, value in document.items():
        kind = fields[name].kind if name in fields else ""
        if kind == "duration":
            document[name] = go_text(go_duration(value))
        elif is_struct(kind):
            _durations(value, STRUCTS[kind][1])


def _defaults(given: Document, fields: Mapping[str, Field], own: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, field in fields.items():
        value = given.get(name)
        if is_struct(field.kind) and not field.optional:
            made[name] = _defaults(value or {}, STRUCTS[field.kind][1], {})
            continue
        if value is None or (not field.optional and not value and field.default is not None and value != []):
            value = own.get(name, field.default)
            if field.kind == "duration" and value is not None:
                value = go_text(go_duration(value))
        if value is None and not field.optional:
            value = zero_of(field.kind)
        elif field.kind == "duration" and value == "0s" and not field.optional and field.default is not None:
            value = go_text(go_duration(field.default))
        made[name] = value
    return made


def _duplicates(root: Any) -> list[str]:
    """What is said of keys that are there twice, each with its line."""
    import yaml

    found: list[str] = []
    waiting, seen = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += reversed(node.value)
        elif isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, child in node.value:
                name = str(key.value)
                if name in keys:
                    found.append(f'line {key.start_mark.line + 1}: key "{name}" already set in map')
                keys.add(name)
                waiting.append(child)
    return [f"yaml: unmarshal errors:{''.join(f'{chr(10)}  {line}' for line in found)}"] if found else []
