"""Columns of nodes, namespaces, events, secrets, config maps, service accounts, leases, quotas and classes."""

from __future__ import annotations

from typing import Any

from kumo.api.conditions import condition
from kumo.api.objects import Object, labels_of
from kumo.kubernetes.apiserver.tables.cells import NONE, UNKNOWN, age, name, number, part, text
from kumo.kubernetes.apiserver.tables.columns import Columns, columns
from kumo.kubernetes.apiserver.tables.duration import since

_ROLE_PREFIX = "node-role.kubernetes.io/"


def _address(node: Object, kind: str) -> str:
    found = (a.get("address") for a in part(node, "status", "addresses") or () if a.get("type") == kind)
    return next((str(a) for a in found if a), NONE)


def _node(node: Object, now: float) -> list[Any]:
    ready = condition(node, "Ready")
    status = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    if part(node, "spec", "unschedulable"):
        status += ",SchedulingDisabled"
    roles = {k.removeprefix(_ROLE_PREFIX) for k in labels_of(node) if k.startswith(_ROLE_PREFIX)}
    roles |= {v for k, v in labels_of(node).items() if k == "kubernetes.io/role"}
    info = part(node, "status", "nodeInfo") or {}
    return [
        name(node),
        status,
        ",".join(sorted(roles - {""})) or NONE,
        age(node, now),
        info.get("kubeletVersion") or "",
        _address(node, "InternalIP"),
        _address(node, "ExternalIP"),
        info.get("osImage") or UNKNOWN,
        (info.get("kernelVersion") or UNKNOWN) + (f" ({info['architecture']})" if info.get("architecture") else ""),
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _namespace(obj: Object, now: float) -> list[Any]:
    return [name(obj), text(obj, "status", "phase"), age(obj, now)]


def _event(obj: Object, now: float) -> list[Any]:
    first = obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp") or obj.get("eventTime")
    last = obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp") or first
    count = obj.get("count") or obj.get("deprecatedCount") or 1
    series = obj.get("series")
    if series:
        last, count = series.get("lastObservedTime") or last, series.get("count") or count
    target = obj.get("involvedObject") or obj.get("regarding") or {}
    kind = str(target.get("kind") or "").lower()
    return [
        since(last, now),
        text(obj, "type"),
        text(obj, "reason"),
        f"{kind}/{target['name']}" if target.get("name") else kind,
        text(target, "fieldPath"),
        _source(obj),
        (text(obj, "message") or text(obj, "note")).strip(),
        since(first, now),
        count,
        name(obj),
    ]


def _source(obj: Object) -> str:
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    component = source.get("component") or obj.get("reportingComponent") or obj.get("reportingController") or ""
    host = source.get("host") or obj.get("reportingInstance") or ""
    return f"{component}, {host}" if host else component


def _secret(obj: Object, now: float) -> list[Any]:
    return [name(obj), text(obj, "type"), len(obj.get("data") or ()), age(obj, now)]


def _config_map(obj: Object, now: float) -> list[Any]:
    return [name(obj), len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), age(obj, now)]


def _service_account(obj: Object, now: float) -> list[Any]:
    return [name(obj), age(obj, now)]


def _lease(obj: Object, now: float) -> list[Any]:
    return [name(obj), text(obj, "spec", "holderIdentity"), age(obj, now)]


def _quota(obj: Object, now: float) -> list[Any]:
    hard, used = part(obj, "status", "hard") or {}, part(obj, "status", "used") or {}
    requests: list[str] = []
    limits: list[str] = []
    for resource in sorted(hard):
        shown = f"{resource}: {used.get(resource, '0')}/{hard[resource]}"
        (limits if "limits" in resource else requests).append(shown)
    return [name(obj), ", ".join(requests), ", ".join(limits), age(obj, now)]


def _priority_class(obj: Object, now: float) -> list[Any]:
    return [
        name(obj),
        number(obj, "value"),
        bool(obj.get("globalDefault")),
        age(obj, now),
        text(obj, "preemptionPolicy"),
    ]


def _runtime_class(obj: Object, now: float) -> list[Any]:
    return [name(obj), text(obj, "handler"), age(obj, now)]


def _component(obj: Object, now: float) -> list[Any]:
    healthy: dict[str, Any] = next((c for c in obj.get("conditions") or () if c.get("type") == "Healthy"), {})
    status = {"True": "Healthy", "False": "Unhealthy"}.get(healthy.get("status") or "", "Unknown")
    return [name(obj), status, healthy.get("message") or "", healthy.get("error") or ""]


def tables() -> dict[str, Columns]:
    """The columns by resource and group."""
    event = "Last Seen|Type|Reason|Object|+Subobject|+Source|Message|+First Seen|+Count|+Name"
    return {
        "nodes": columns(
            "Name|Status|Roles|Age|Version|+Internal-IP|+External-IP|+OS-Image|+Kernel-Version|+Container-Runtime",
            _node,
        ),
        "namespaces": columns("Name|Status|Age", _namespace),
        "events": columns(event, _event),
        "events.events.k8s.io": columns(event, _event),
        "secrets": columns("Name|Type|Data|Age", _secret),
        "configmaps": columns("Name|Data|Age", _config_map),
        "serviceaccounts": columns("Name|Age", _service_account),
        "leases.coordination.k8s.io": columns("Name|Holder|Age", _lease),
        "resourcequotas": columns("Name|Request|Limit|Age", _quota),
        "priorityclasses.scheduling.k8s.io": columns(
            "Name|#Value|?Global-Default|Age|PreemptionPolicy", _priority_class
        ),
        "runtimeclasses.node.k8s.io": columns("Name|Handler|Age", _runtime_class),
        "componentstatuses": columns("Name|Status|Message|Error", _component),
    }
