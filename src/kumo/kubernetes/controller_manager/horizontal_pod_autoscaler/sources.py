"""Where metrics come from: `metrics.k8s.io`, `custom.metrics.k8s.io` and `external.metrics.k8s.io`.

Whoever serves them: this cloud itself, or API servers that users have registered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from kumo.api import quantities, selectors
from kumo.api.errors import StatusError
from kumo.api.objects import Object, parse_timestamp
from kumo.api.resources import GVR
from kumo.kubernetes.controller_manager.discovery import Discovery
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.grouping import Sample, Samples
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.metrics import Fetched, Spec
from kumo.machinery.client import Client

_RESOURCES = "/apis/metrics.k8s.io/v1beta1"
_CUSTOM = "custom.metrics.k8s.io"
_CUSTOM_VERSIONS = ("v1beta2", "v1beta1")
_EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1"
_MINUTE = 60.0
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|us|µs|ns|s)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


class _Unfetchable(Exception):
    """An API gave nothing; the text says why, as upstream words it."""


async def fetch(
    client: Client, discovery: Discovery, namespace: str, selector: str, metrics: Sequence[Spec]
) -> list[Fetched]:
    """What the APIs give for each metric, in order. An API that refuses is an error of its metrics alone."""
    usage: list[Object] | str | None = None
    found = []
    for metric in metrics:
        try:
            if metric["type"] in ("Resource", "ContainerResource"):
                if usage is None:
                    usage = await _usage(client, namespace, selector)
                if isinstance(usage, str):
                    raise _Unfetchable(usage)
                found.append(Fetched(_of_pods(usage, metric)))
            elif metric["type"] == "Pods":
                found.append(Fetched(await _custom_pods(client, namespace, selector, metric["pods"])))
            elif metric["type"] == "Object":
                found.append(Fetched(values=await _custom_object(client, discovery, namespace, metric["object"])))
            elif metric["type"] == "External":
                found.append(Fetched(values=await _external(client, namespace, metric["external"])))
            else:
                found.append(Fetched())
        except _Unfetchable as error:
            found.append(Fetched(error=str(error)))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            # Anybody may serve these APIs: an answer of another shape is no reason to stumble.
            found.append(Fetched(error=f"the answer can't be understood: {type(error).__name__} {error}"))
    return found


# -- resources --------------------------------------------------------------------------------------------------------


async def _usage(client: Client, namespace: str, selector: str) -> list[Object] | str:
    """The PodMetrics of the pods, or why there are none."""
    path = f"{_RESOURCES}/namespaces/{namespace}/pods"
    try:
        listed = await _get(client, path, {"labelSelector": selector}, "pods.metrics.k8s.io")
    except _Unfetchable as error:
        return f"unable to fetch metrics from resource metrics API: {error}"
    return _items(listed) or "no metrics returned from resource metrics API"


def _of_pods(usage: Sequence[Object], metric: Spec) -> Samples:
    """Each pod's sample of the resource: of one container, or of all, which must all be known."""
    source = metric["resource" if metric["type"] == "Resource" else "containerResource"]
    name, wanted = source["name"], source.get("container") or ""
    found = {}
    for pod in usage:
        containers = pod.get("containers") or []
        if wanted:
            containers = [c for c in containers if c.get("name") == wanted][:1]
        amounts = [(c.get("usage") or {}).get(name) for c in containers]
        if amounts and None not in amounts:
            value = sum(quantities.milli(amount) for amount in amounts)
            found[pod["metadata"]["name"]] = Sample(value, _time(pod), seconds(pod.get("window") or ""))
    return found


# -- custom and external ----------------------------------------------------------------------------------------------


async def _custom_pods(client: Client, namespace: str, selector: str, source: Spec) -> Samples:
    query = {"labelSelector": selector, "metricLabelSelector": _labels(source)}
    try:
        path = f"{await _custom(client)}/namespaces/{namespace}/pods/*/{_quoted(source)}"
        listed = await _get(client, path, query, f"pods.{_CUSTOM} *")
    except _Unfetchable as error:
        raise _Unfetchable(f"unable to fetch metrics from custom metrics API: {error}") from error
    items = _items(listed)
    if not items:
        raise _Unfetchable("no metrics returned from custom metrics API")
    return {
        (i.get("describedObject") or {}).get("name", ""): Sample(
            _value(i), _time(i), float(_MINUTE if i.get("windowSeconds") is None else i["windowSeconds"])
        )
        for i in items
    }


async def _custom_object(client: Client, discovery: Discovery, namespace: str, source: Spec) -> list[int]:
    described = source["describedObject"]
    group, _, _ = described.get("apiVersion", "").rpartition("/")
    try:
        top = await _custom(client)
        if described["kind"] == "Namespace" and not group:
            path, about = f"{top}/namespaces/{namespace}/metrics/{_quoted(source)}", "namespaces"
        else:
            about = _resource_of(discovery, group, described["kind"])
            path = f"{top}/namespaces/{namespace}/{about}/{quote(described['name'])}/{_quoted(source)}"
        listed = await _get(client, path, {"metricLabelSelector": _labels(source)}, f"{about}.{_CUSTOM}")
        items = _items(listed)
        if len(items) != 1:
            raise _Unfetchable(
                f"the custom metrics API server returned {len(items)} results when we asked for exactly one"
            )
    except _Unfetchable as error:
        raise _Unfetchable(f"unable to fetch metrics from custom metrics API: {error}") from error
    return [_value(items[0])]


async def _external(client: Client, namespace: str, source: Spec) -> list[int]:
    name = source["metric"]["name"]
    path = f"{_EXTERNAL}/namespaces/{namespace}/{_quoted(source)}"
    try:
        listed = await _get(client, path, {"labelSelector": _labels(source)}, f"{name}.external.metrics.k8s.io")
    except _Unfetchable as error:
        raise _Unfetchable(f"unable to fetch metrics from external metrics API: {error}") from error
    items = _items(listed)
    if not items:
        raise _Unfetchable("no metrics returned from external metrics API")
    return [_value(i) for i in items]


async def _custom(client: Client) -> str:
    """The path of the version of the custom metrics API to use."""
    found = await _get(client, "/apis", {}, "groups")
    group = next((g for g in found.get("groups") or () if g.get("name") == _CUSTOM), None)
    if group is None:
        raise _Unfetchable(f"no custom metrics API ({_CUSTOM}) registered")
    first = (group.get("preferredVersion") or {}).get("version")
    offered = [first, *(v.get("version") for v in group.get("versions") or ())]
    version = next((v for v in offered if v in _CUSTOM_VERSIONS), None)
    if version is None:
        raise _Unfetchable(f"no known available metric versions found in {_CUSTOM}")
    return f"/apis/{_CUSTOM}/{version}"


def _resource_of(discovery: Discovery, group: str, kind: str) -> str:
    """How the custom metrics API calls the resource of a kind: `ingresses.networking.k8s.io`."""
    gvr = resource_of(discovery, group, kind)
    if gvr is None:
        where = f'kind "{kind}" in group "{group}"'
        raise _Unfetchable(
            f"unable to map kind {kind}{f'.{group}' if group else ''} to resource: no matches for {where}"
        )
    return gvr.group_resource


def resource_of(discovery: Discovery, group: str, kind: str) -> GVR | None:
    """The resource of a kind in its preferred version, None when nobody serves it."""
    for gvr, served in discovery.resources.items():
        if gvr.group == group and served.kind == kind:
            return gvr
    return next((g for (_, k), g in discovery.by_kind.items() if k == kind and g.group == group), None)


# -- answers ----------------------------------------------------------------------------------------------------------


async def _get(client: Client, path: str, query: Mapping[str, str], about: str) -> Object:
    """GET. Raises _Unfetchable in the words of Go's client."""
    try:
        found = await client.request("GET", path, query=query)
    except StatusError as error:
        if error.code == 404 and not error.reason:
            raise _Unfetchable(f"the server could not find the requested resource (get {about})") from error
        if error.code == 503:
            text = f"the server is currently unable to handle the request (get {about})"
            raise _Unfetchable(text) from error
        raise _Unfetchable(str(error)) from error
    except (OSError, TimeoutError) as error:
        raise _Unfetchable(str(error) or type(error).__name__) from error
    if not isinstance(found, dict):
        raise _Unfetchable(f"the answer to {path} is no object")
    return found


def _items(listed: Object) -> list[Object]:
    return [i for i in listed.get("items") or () if isinstance(i, dict)]


def _value(item: Object) -> int:
    try:
        return quantities.milli(item.get("value", 0))
    except ValueError as error:
        raise _Unfetchable(str(error)) from error


def _time(item: Object) -> float:
    text = item.get("timestamp")
    return parse_timestamp(text) if text else 0.0


def _quoted(source: Spec) -> str:
    return quote(source["metric"]["name"], safe="")


def _labels(source: Spec) -> str:
    return selectors.to_text(source["metric"].get("selector") or {})


def seconds(text: str) -> float:
    """The length of time that Go writes as `1m30.5s`; 0 for what is none."""
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))
