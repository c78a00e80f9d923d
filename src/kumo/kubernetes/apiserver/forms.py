"""Other forms of objects: metadata only, and tables for people; made from the cached bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from kumo.api.errors import bad_request
from kumo.api.objects import Object
from kumo.kubernetes.apiserver import tables, yamls
from kumo.kubernetes.apiserver.entry import Entry
from kumo.kubernetes.apiserver.negotiation import Accepted
from kumo.kubernetes.apiserver.registry import Resource
from kumo.kubernetes.apiserver.splice import encode
from kumo.kubernetes.apiserver.watch_hub import View
from kumo.machinery.http import Sink


class _Shell(msgspec.Struct, gc=False):
    metadata: msgspec.Raw


_NO_COLUMNS = b'"columnDefinitions":null'
_shell = msgspec.json.Decoder(_Shell).decode


def metadata_only(raw: bytes, version: str = "v1") -> bytes:
    """The object's `PartialObjectMetadata` as bytes."""
    head = f'{{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/{version}","metadata":'
    return b"%b%b}" % (head.encode(), bytes(_shell(raw).metadata))


def table(
    resource: Resource,
    entries: Iterable[Entry],
    accepted: Accepted,
    include: str,
    list_meta: Object | None = None,
    *,
    with_columns: bool = True,
) -> Object:
    """The `Table` of the entries; `include` is the query's includeObject (None, Metadata, Object)."""
    shown = check_include(include)
    objects = [resource.object(entry) for entry in row_order(resource, list(entries))]
    found: Object = tables.table(resource.type, objects, resource.columns, include_object=shown, metadata=list_meta)
    if accepted.version != "v1":
        found["apiVersion"] = f"meta.k8s.io/{accepted.version}"
    if not with_columns:
        found["columnDefinitions"] = None
    return found


def row_order(resource: Resource, entries: list[Entry]) -> list[Entry]:
    """The entries as a table's rows have them: by name, but for the few kinds with an order of their own."""
    order = tables.columns_of(resource.type, resource.columns).order
    return entries if order is None else sorted(entries, key=lambda entry: order(resource.object(entry)))


def table_rows(resource: Resource, include: str) -> Callable[[Entry], bytes]:
    """What makes an entry's row, as JSON. Raises 400."""
    shown, now = check_include(include), time.time()
    columns = tables.columns_of(resource.type, resource.columns)
    return lambda entry: encode(tables.row(columns, resource.object(entry), now, shown))


def table_head(resource: Resource, accepted: Accepted, meta: Object) -> bytes:
    """The beginning of a `Table`, up to its first row."""
    columns = tables.columns_of(resource.type, resource.columns)
    head = {"kind": "Table", "apiVersion": f"meta.k8s.io/{accepted.version}", "metadata": meta}
    return encode(head | {"columnDefinitions": list(columns.definitions)})[:-1] + b',"rows":['


def check_include(include: str) -> tables.IncludeObject:
    """The includeObject of a query. Raises 400."""
    if include not in ("None", "Metadata", "Object", ""):
        why = "must be 'Metadata', 'Object', 'None', or empty"
        text = f'includeObject: Invalid value: "{include}": {why}'
        raise bad_request(f"Unable to convert to Table as requested: {text}")
    return "None" if include == "None" else "Object" if include == "Object" else "Metadata"


def list_head(kind: str, api_version: str, meta: Object) -> bytes:
    """The beginning of a list, up to its first item."""
    return f'{{"kind":"{kind}","apiVersion":"{api_version}","metadata":'.encode() + encode(meta) + b',"items":['


def yaml_list(kind: str, api_version: str, meta: Object, *, empty: bool) -> tuple[bytes, bytes]:
    """What a list as YAML has before and after its items."""
    head = yamls.dump({"apiVersion": api_version, "items": []})
    return head if empty else head.removesuffix(b" []\n") + b"\n", yamls.dump({"kind": kind, "metadata": meta})


def watch_view(resource: Resource, accepted: Accepted, include: str) -> View:
    """The form in which a watch sends its objects."""
    if accepted.form == "Table":

        def as_table(entry: Entry) -> bytes:
            meta = {"resourceVersion": str(entry.revision)}
            return encode(table(resource, [entry], accepted, include, meta, with_columns=False))

        return View(f"Table/{resource.gvk.api_version}/{accepted.version}/{include}", as_table)
    if accepted.form.startswith("PartialObjectMetadata"):

        def as_metadata(entry: Entry) -> bytes:
            return metadata_only(resource.raw(entry), accepted.version)

        return View(f"PartialObjectMetadata/{accepted.version}", as_metadata)
    return resource.view()


class Heading:
    """The columns that the first event of a watch of tables has; the others, which watchers share, go without."""

    __slots__ = ("_columns",)

    def __init__(self, resource: Resource, accepted: Accepted) -> None:
        self._columns = b""
        if accepted.form == "Table":
            columns = tables.columns_of(resource.type, resource.columns)
            self._columns = b'"columnDefinitions":' + encode(list(columns.definitions))

    def __bool__(self) -> bool:
        return bool(self._columns)

    def put(self, lines: bytes) -> bytes:
        """The events, with columns if they are the first."""
        if self._columns and _NO_COLUMNS in lines:
            lines = lines.replace(_NO_COLUMNS, self._columns, 1)
            self._columns = b""
        return lines


class HeadedSink:
    """A client that gets a watch's events with their heading."""

    __slots__ = ("_heading", "_sink")

    def __init__(self, sink: Sink, heading: Heading) -> None:
        self._sink = sink
        self._heading = heading

    @property
    def blocked(self) -> bool:
        """As the client's."""
        return self._sink.blocked

    def write(self, chunk: bytes) -> None:
        """As the client's."""
        self._sink.write(self._heading.put(chunk))

    async def drained(self) -> None:
        """As the client's."""
        await self._sink.drained()


def bookmark(resource: Resource, accepted: Accepted, revision: int, *, initial_events_end: bool = False) -> bytes:
    """A BOOKMARK event's line: an object that has nothing but its revision."""
    meta: dict[str, Any] = {"resourceVersion": str(revision), "creationTimestamp": None}
    if initial_events_end:
        meta["annotations"] = {"k8s.io/initial-events-end": "true"}
    obj: Object = {"kind": resource.gvk.kind, "apiVersion": resource.gvk.api_version, "metadata": meta}
    if accepted.form == "Table":
        rows = [{"cells": [], "object": obj}]
        meta_v = {"resourceVersion": str(revision)}
        obj = {"kind": "Table", "apiVersion": f"meta.k8s.io/{accepted.version}", "metadata": meta_v, "rows": rows}
        obj["columnDefinitions"] = []
    elif accepted.form:
        obj["kind"], obj["apiVersion"] = "PartialObjectMetadata", f"meta.k8s.io/{accepted.version}"
    return b'{"type":"BOOKMARK","object":%b}\n' % encode(obj)
