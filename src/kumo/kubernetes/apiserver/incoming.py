"""An object that a client sent: read, checked against its kind's schema, its unknown fields pruned and told of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kumo.api.errors import StatusError, bad_request
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.api.schema import DecodeError, KindSchema, builtin_schema
from kumo.api.schema.definitions import load
from kumo.kubernetes.apiserver import bodies
from kumo.kubernetes.apiserver.call import Call
from kumo.kubernetes.apiserver.slicing import LARGE, aside
from kumo.kubernetes.apiserver.write_options import check_options

_MOST_COMPLAINTS = 100
"""How many unknown and doubled fields are told of (as by upstream's decoder)."""


async def read_object(call: Call) -> Object:
    """The body as an object of the call's kind. Raises 400, 413, 415."""
    data = await bodies.read(call.request)
    check_options(call)
    call.large = len(data) > LARGE
    return await aside(call.large, lambda: _read_object(call, data))


def _read_object(call: Call, data: bytes) -> Object:
    gvk = call.resource.gvk
    kind = bodies.media_type(call.request)
    value = bodies.decode(data, kind, gvk.kind)
    lenient = call.query.get("fieldValidation") == "Ignore"
    twice = [] if lenient else bodies.duplicates(data, value)
    if kind == bodies.YAML and not lenient:
        _tell_yaml(call, bodies.yaml_duplicates(data, value))
    if value is not None and not isinstance(value, dict):
        raise bodies.no_object(data, value, gvk.kind)
    obj = check_kind({} if value is None else value, gvk)
    return conform(call, obj, call.resource.schema, twice, data)


async def read_as(call: Call, gvk: GVK, legacy: Mapping[str, str] | None = None) -> Object:
    """The body as an object of that kind, for a subresource with objects of its own. Raises 400, 413, 415.

    `legacy` are versions that are taken for others.
    """
    data = await bodies.read(call.request)
    check_options(call)
    value: Any = bodies.decode(data, bodies.media_type(call.request), gvk.kind)
    twice = bodies.duplicates(data, value)
    if legacy and isinstance(value, dict):
        version = value.get("apiVersion")
        if isinstance(version, str) and version in legacy:
            value = {**value, "apiVersion": legacy[version]}
    return conform(call, check_kind(value, gvk), builtin_schema(gvk), twice, data)


def _tell_yaml(call: Call, twice: list[str]) -> None:
    """Tell of the keys that a YAML document has twice. Raises 400 if the client wants it strict."""
    if twice and call.field_validation() == "Strict":
        listed = "".join(f"\n  {text}" for text in twice)
        raise strict_error(call.resource.gvk, [f"yaml: unmarshal errors:{listed}"])
    call.warnings += twice


def check_kind(value: Any, gvk: GVK) -> Object:
    """The value as an object that says it is of that kind, or says nothing. Raises 400."""
    if not isinstance(value, dict):
        raise bad_request(
            f"the object provided is unrecognized (must be of type {gvk.kind}): couldn't get version/kind; "
            "json parse error: json: cannot unmarshal into Go value of type struct { APIVersion string; Kind string }"
        )
    version, kind = value.get("apiVersion") or gvk.api_version, value.get("kind") or gvk.kind
    named = GVK(*_group_version(str(version)), str(kind))
    if named != gvk and named not in load().kinds and gvk in load().kinds:
        raise bad_request(
            f'{kind} in version "{named.version}" cannot be handled as a {gvk.kind}: no kind "{kind}" is registered '
            f'for version "{version}" in scheme "pkg/api/legacyscheme/scheme.go:30"'
        )
    if version != gvk.api_version and kind == gvk.kind:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({gvk.api_version})"
        )
    if version != gvk.api_version or kind != gvk.kind:
        short = gvk.group.split(".")[0] or "core"
        raise bad_request(
            f'{kind} in version "{str(version).rpartition("/")[2]}" cannot be handled as a {gvk.kind}: converting '
            f"({str(version).rpartition('/')[2]}.{kind}) to ({short}.{gvk.kind}): unknown conversion"
        )
    value["apiVersion"], value["kind"] = gvk.api_version, gvk.kind
    return value


def _group_version(text: str) -> tuple[str, str]:
    group, _, version = text.rpartition("/")
    return group, version


def conform(call: Call, obj: Object, schema: KindSchema, duplicates: Sequence[str] = (), data: bytes = b"") -> Object:
    """A copy of the object with what its schema knows. Raises 400 for wrong types, and for unknown fields if strict.

    `data` is the text that it was read from, whose order complaints have; `duplicates` what that has twice.
    """
    decoded = decode(schema, obj)
    if decoded[1] or duplicates:
        if call.resource.custom is not None and schema is call.resource.schema:
            # The text is read first, the schema asked afterwards.
            complaints = [f'duplicate field "{p}"' for p in duplicates] + [f'unknown field "{p}"' for p in decoded[1]]
        else:
            complaints = bodies.in_order(data, decoded[1], duplicates)
        complaints = complaints[:_MOST_COMPLAINTS]
        how = call.field_validation()
        if how == "Strict":
            raise strict_error(schema.gvk, complaints)
        if how == "Warn":
            call.warnings += complaints
    return decoded[0]


def decode(schema: KindSchema, obj: Object, *, sparse: bool = False) -> tuple[Object, tuple[str, ...]]:
    """The object as its schema has it, and the paths of what was unknown. Raises 400. See `KindSchema.decode`."""
    try:
        found = schema.decode(obj, sparse=sparse)
    except DecodeError as error:
        raise bad_request(str(error)) from None
    return found.object, tuple(found.unknown)


def strict_error(gvk: GVK, complaints: list[str]) -> StatusError:
    """400: the object has fields that are unknown or said twice, and the client wanted to be told."""
    return bad_request(
        f'{gvk.kind} in version "{gvk.version}" cannot be handled as a {gvk.kind}: strict decoding error: '
        + ", ".join(complaints)
    )
