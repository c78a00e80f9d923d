"""Conversion between two served forms of one kind: events (core and events.k8s.io), autoscalers (v1 and v2).

Each function takes an object of one form and gives a new one of the other; `converters` says which belong to a kind.
"""

from __future__ import annotations

from collections.abc import Callable

from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.autoscaler_conversion import autoscaler_to_v1, autoscaler_to_v2

Convert = Callable[[Object], Object]

_EVENT_NAMES = {
    "note": "message",
    "regarding": "involvedObject",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
    "reportingController": "reportingComponent",
}


_LEFT_OUT = ("reportingComponent", "reportingInstance")
"""What the newer form does not show when it is empty."""


def converters(gvk: GVK) -> tuple[Convert, Convert] | None:
    """(to the stored form, from the stored form) of a kind that is stored in another; None for all others."""
    return {
        GVK("events.k8s.io", "v1", "Event"): (event_to_core, event_from_core),
        GVK("autoscaling", "v1", "HorizontalPodAutoscaler"): (autoscaler_to_v2, autoscaler_to_v1),
    }.get(gvk)


def event_to_core(event: Object) -> Object:
    """The core event that an events.k8s.io/v1 event is stored as."""
    renamed = {_EVENT_NAMES.get(key, key): value for key, value in event.items()}
    return {**renamed, "apiVersion": "v1", "kind": "Event"}


def event_from_core(event: Object) -> Object:
    """The events.k8s.io/v1 form of a core event."""
    names = {theirs: ours for ours, theirs in _EVENT_NAMES.items()}
    renamed = {names.get(key, key): value for key, value in event.items() if value != "" or key not in _LEFT_OUT}
    return {**renamed, "apiVersion": "events.k8s.io/v1", "kind": "Event"}
