"""`/apis/metrics.k8s.io/v1beta1`: NodeMetrics and PodMetrics, as objects and as tables. Read-only."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from kumo.api import selectors
from kumo.api.errors import StatusError, bad_request, method_not_allowed, no_such_path, not_found
from kumo.api.objects import Object, labels_of, name_of, namespace_of, timestamp
from kumo.api.quantities import parse, to_text
from kumo.kubernetes.metrics_server.points import Usage
from kumo.machinery.extension import ApiGroup
from kumo.machinery.http import Answer, Request, Response

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
_API = f"{GROUP}/{VERSION}"
_FIELDS = ("metadata.name", "metadata.namespace")
NodeRow = tuple[Object, Usage]
"""A Node and what it uses."""
PodRow = tuple[Object, Mapping[str, Usage]]
"""A Pod and what its containers use."""


def metrics_group(nodes: Callable[[], list[NodeRow]], pods: Callable[[str], list[PodRow]]) -> ApiGroup:
    """The API group; `nodes` and `pods` (of a namespace, empty: of all) give what there is to tell now."""

    async def handle(request: Request) -> Answer:
        return _answer(request, nodes, pods)

    verbs = ["get", "list"]
    resources = [
        {"name": "nodes", "singularName": "", "namespaced": False, "kind": "NodeMetrics", "verbs": verbs},
        {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": verbs},
    ]
    return ApiGroup(GROUP, (VERSION,), handle, resources)


def _answer(request: Request, nodes: Callable[[], list[NodeRow]], pods: Callable[[str], list[PodRow]]) -> Response:
    """The answer. Raises StatusError."""
    query = request.query
    if request.method not in ("GET", "HEAD") or query.get("watch", "") in ("1", "true", "True"):
        raise method_not_allowed()
    kind, items, name, whole = "PodMetrics", [], "", ""
    match request.path.strip("/").split("/")[3:]:
        case ["nodes", *rest] if len(rest) < 2:
            kind, items, name = "NodeMetrics", [_node(*row) for row in nodes()], "".join(rest)
            whole = name
        case ["pods"]:
            items = [_pod(*row) for row in pods("")]
        case ["namespaces", namespace, "pods", *rest] if len(rest) < 2:
            items, name = [_pod(*row) for row in pods(namespace)], "".join(rest)
            whole = f"{namespace}/{name}"
        case _:
            raise no_such_path()
    table = "as=Table" in request.headers.get("accept", "").replace(" ", "")
    if name:
        found = next((i for i in items if name_of(i) == name), None)
        if found is None:
            raise not_found(GROUP, kind.lower(), whole)
        found = {"kind": kind, "apiVersion": _API, **found}
        return _json(_table(kind, [found], query) if table else found)
    items = _selected(items, query)
    if table:
        return _json(_table(kind, items, query))
    return _json({"kind": f"{kind}List", "apiVersion": _API, "metadata": {}, "items": items})


def _selected(items: list[Object], query: Mapping[str, str]) -> list[Object]:
    """Those that the selectors of a list name, by namespace and name. Raises 400."""
    try:
        labels = selectors.parse_label_selector(query.get("labelSelector", ""))
        fields = selectors.parse_field_selector(query.get("fieldSelector", ""))
        selectors.require_fields(fields, _FIELDS)
    except ValueError as error:
        raise bad_request(str(error)) from error
    found = [i for i in items if labels.matches(labels_of(i)) and fields.matches(_fields(i))]
    return sorted(found, key=lambda i: (namespace_of(i), name_of(i)))


def _fields(item: Object) -> dict[str, str]:
    return {"metadata.name": name_of(item), "metadata.namespace": namespace_of(item)}


def _json(body: Object) -> Response:
    return Response(200, msgspec.json.encode(body))


# -- objects ----------------------------------------------------------------------------------------------------------


def _node(node: Object, use: Usage) -> Object:
    return {**_head(node), "timestamp": timestamp(use.at), "window": duration(use.window), "usage": amounts(use)}


def _pod(pod: Object, containers: Mapping[str, Usage]) -> Object:
    earliest = min(containers.values(), key=lambda use: use.at)
    return {
        **_head(pod),
        "timestamp": timestamp(earliest.at),
        "window": duration(earliest.window),
        "containers": [{"name": name, "usage": amounts(use)} for name, use in sorted(containers.items())],
    }


def _head(obj: Object) -> Object:
    meta: Object = {"name": name_of(obj), "creationTimestamp": timestamp(time.time())}
    if namespace_of(obj):
        meta["namespace"] = namespace_of(obj)
    if labels_of(obj):
        meta["labels"] = labels_of(obj)
    return {"metadata": meta}


def amounts(use: Usage) -> dict[str, str]:
    """The usage as quantities: billionths of processors and binary bytes, as metrics-server writes them."""
    return {"cpu": _cpu(use.cpu), "memory": to_text(use.memory, binary=True)}


def _cpu(nanos: int) -> str:
    unit, value = "n", nanos
    for larger in ("u", "m", ""):
        if value % 1000 or not value:
            break
        unit, value = larger, value // 1000
    return f"{value}{unit}" if nanos else "0"


def duration(seconds: float) -> str:
    """A length of time as Go writes it, to the millisecond: `15.034s`, `1m0.5s`."""
    milli = round(seconds * 1000)
    minutes, rest = divmod(milli, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


# -- tables -----------------------------------------------------------------------------------------------------------


def _table(kind: str, items: Sequence[Object], query: Mapping[str, str]) -> Object:
    """The items as a `meta.k8s.io/v1` Table with metrics-server's columns."""
    include = query.get("includeObject") or "Metadata"
    if include not in ("None", "Metadata", "Object"):
        raise StatusError(400, "BadRequest", f'unrecognized includeObject value: "{include}"')
    columns = [
        _column("Name", "name", "Name of the resource"),
        _column("cpu", "quantity", "CPU usage"),
        _column("memory", "quantity", "Memory usage"),
        _column("Window", "duration", "Time interval over which the usage was measured"),
    ]
    rows = []
    for item in items:
        row: Object = {"cells": [name_of(item), *_cells(item), item["window"]]}
        if include == "Object":
            row["object"] = {"kind": kind, "apiVersion": _API, **item}
        elif include == "Metadata":
            head = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]}
            row["object"] = head
        rows.append(row)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": columns,
        "rows": rows,
    }


def _column(name: str, form: str, text: str) -> dict[str, Any]:
    return {"name": name, "type": "string", "format": form, "description": text, "priority": 0}


def _cells(item: Object) -> list[str]:
    if "usage" in item:
        return [item["usage"]["cpu"], item["usage"]["memory"]]
    used = [c["usage"] for c in item["containers"]]
    cpu = sum(int(parse(u["cpu"]) * 1_000_000_000) for u in used)
    return [_cpu(cpu), to_text(sum(int(parse(u["memory"])) for u in used), binary=True)]
