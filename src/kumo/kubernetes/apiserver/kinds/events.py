"""Events, in both served forms: the older one is judged leniently, events.k8s.io strictly."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.conversion import event_to_core
from kumo.kubernetes.apiserver.kinds.rules import Rules, at

_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_LIMITS = (("reportingInstance", 128), ("action", 128), ("reason", 128), ("message", 1024))
_FIXED = (
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "reason",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingComponent",
    "reportingInstance",
)
"""What never changes, in the order of messages; upstream looks at the reason twice."""
_REFERENCE = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_GO = {"uid": "UID", "apiVersion": "APIVersion"}


def _judge(event: Object, reporter: str, found: list[Cause]) -> None:
    """What holds for events of both forms; `reporter`: what the reporting controller's field is called."""
    namespace = at(event, "metadata.namespace") or ""
    involved = at(event, "involvedObject.namespace") or ""
    mismatch = fields.invalid("involvedObject.namespace", involved, "does not match event.namespace")
    if not event.get("eventTime"):
        if involved != namespace if involved else namespace not in ("", "default"):
            found.append(mismatch)
        return
    if not involved and namespace not in ("default", "kube-system"):
        found.append(mismatch)
    controller = event.get("reportingComponent") or ""
    if not controller:
        found.append(fields.required(reporter))
    found += fields.each(reporter, controller, names.check_qualified_name(controller))
    for key, most in _LIMITS:
        text = event.get(key) or ""
        if not text and key != "message":
            found.append(fields.required(key))
        if len(text.encode()) > most:
            found.append(fields.invalid(key, "", f"can have at most {most} characters"))


def _validate_older(obj: Object) -> list[Cause]:
    found: list[Cause] = []
    _judge(obj, "reportingComponent", found)
    return found


def _series(event: Object, found: list[Cause]) -> None:
    series = event.get("series")
    if series is None:
        return
    if (series.get("count") or 0) < 2:
        found.append(fields.invalid("series.count", "", "should be at least 2"))
    if not series.get("lastObservedTime"):
        found.append(fields.required("series.lastObservedTime"))


def _validate_new(obj: Object) -> list[Cause]:
    event = event_to_core(obj)
    found: list[Cause] = []
    _judge(event, "reportingController", found)
    _series(event, found)
    if not event.get("eventTime"):
        found.append(fields.required("eventTime"))
    kind = event.get("type") or ""
    if kind not in ("Normal", "Warning"):
        found.append(fields.invalid("type", "", f"has invalid value: {kind}"))
    source = event.get("source") or {}
    for key in ("firstTimestamp", "lastTimestamp", "count", "source"):
        if any(source.values()) if key == "source" else event.get(key):
            found.append(fields.invalid(key, "", "needs to be unset"))
    return found


def _check_update(new: Object, old: Object) -> list[Cause]:
    event, before = event_to_core(new), event_to_core(old)
    found: list[Cause] = []
    _judge(event, "reportingController", found)
    if (event.get("series") or None) != (before.get("series") or None):
        _series(event, found)
    for key in _FIXED:
        changed = event.get(key) != before.get(key) if key == "related" else bool(event.get(key) or before.get(key))
        if changed and event.get(key) != before.get(key):
            path = "reportingController" if key == "reportingComponent" else key
            found.append(fields.immutable(path, _shown(key, event.get(key))))
    return found


def _shown(key: str, value: Any) -> Any:
    """A value as messages show it: by its Go names."""
    if key in ("involvedObject", "related"):
        if value is None:
            return None
        return {_GO.get(k) or k[0].upper() + k[1:]: value.get(k) or "" for k in _REFERENCE}
    if key == "source":
        return {k.title(): (value or {}).get(k) or "" for k in ("component", "host")}
    if value is None and not key.endswith(("Time", "Timestamp")):
        return 0 if key == "count" else ""
    return value


def _source(obj: Object) -> str:
    return str(at(obj, "source.component") or obj.get("reportingComponent") or "")


def rules() -> dict[GVK, Rules]:
    """The rules of both forms."""
    involved = {f"involvedObject.{key}": f"involvedObject.{key}" for key in _INVOLVED}
    involved |= {"reason": "reason", "reportingComponent": "reportingComponent", "type": "type"}
    regarding = {f"regarding.{key}": f"involvedObject.{key}" for key in _INVOLVED}  # As it is stored.
    regarding |= {"reason": "reason", "reportingController": "reportingComponent", "type": "type"}
    return {
        GVK("", "v1", "Event"): Rules(
            validate=_validate_older,
            fields={**involved, "source": _source},
            allow_create_on_update=True,
            check_name=names.check_path_segment,
            any_finalizer=True,
        ),
        GVK("events.k8s.io", "v1", "Event"): Rules(
            validate=_validate_new, check_update=_check_update, fields=regarding, allow_create_on_update=True
        ),
    }
