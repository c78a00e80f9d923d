"""What each kind of metric makes of what was fetched for it: replicas, its status, its name, or why not. Pure.

The texts are upstream's (`computeStatusFor...Metric`): conditions and events show them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from kumo.api import quantities
from kumo.api.objects import Object
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler import replicas as r
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.config import AutoscalerConfig
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.failures import Uncomputable
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.grouping import Samples, group
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.requests import requests

Spec = Mapping[str, Any]


class Fetched(NamedTuple):
    """What the metrics APIs gave for one metric: samples of pods, or values (one for an object), or the error."""

    samples: Samples | None = None
    values: Sequence[int] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Situation:
    """What all metrics of one look share. `wanted` and `present` are the scale's spec and status replicas."""

    namespace: str
    pods: Sequence[Object]
    wanted: int
    present: int
    tolerance: r.Tolerance
    now: float
    config: AutoscalerConfig


class Computed(NamedTuple):
    """The replicas that a metric wants, how reasons call it, and its `MetricStatus`."""

    replicas: int
    name: str
    status: Object


class Failed(Exception):
    """A metric gave no number. `reason` is of the condition and of the event with `inner`; the text is the whole."""

    def __init__(self, reason: str, inner: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.inner = inner


def compute(metric: Spec, fetched: Fetched, at: Situation) -> Computed:
    """What the metric (a `MetricSpec` of v2) wants. Raises Failed."""
    kind = metric["type"]
    function = {
        "Resource": _resource,
        "ContainerResource": _container_resource,
        "Pods": _pods,
        "Object": _object,
        "External": _external,
    }.get(kind)
    if function is None:
        text = f'unknown metric source type "{kind}"'
        raise Failed("InvalidMetricSourceType", text, text)
    return function(metric, fetched, at)


# -- resources --------------------------------------------------------------------------------------------------------


def _resource(metric: Spec, fetched: Fetched, at: Situation) -> Computed:
    source = metric["resource"]
    name = source["name"]
    try:
        proposal, title, current = _of_resource(source, "", fetched, at)
    except Uncomputable as error:
        text = f"failed to get {name} resource metric value: {error}"
        raise Failed("FailedGetResourceMetric", str(error), text) from error
    return Computed(proposal, title, {"type": "Resource", "resource": {"name": name, "current": current}})


def _container_resource(metric: Spec, fetched: Fetched, at: Situation) -> Computed:
    source = metric["containerResource"]
    container = source["container"]
    try:
        proposal, title, current = _of_resource(source, container, fetched, at)
    except Uncomputable as error:
        text = f"failed to get {container} container metric value: {error}"
        raise Failed("FailedGetContainerResourceMetric", str(error), text) from error
    status = {"name": source["name"], "container": container, "current": current}
    return Computed(proposal, title, {"type": "ContainerResource", "containerResource": status})


def _of_resource(source: Spec, container: str, fetched: Fetched, at: Situation) -> tuple[int, str, Object]:
    """Replicas, the metric's name, and `MetricValueStatus`. Raises Uncomputable."""
    name, target = source["name"], source["target"]
    average, utilization = target.get("averageValue"), target.get("averageUtilization")
    if average is None and utilization is None:
        raise Uncomputable(
            "invalid resource metric source: neither an average utilization target nor an average value (usage) "
            "target was set"
        )
    what = "usage" if average is not None else "utilization"
    try:
        if fetched.samples is None:
            raise Uncomputable(f"unable to get metrics for resource {name}: {fetched.error}")
        groups = group(
            at.pods,
            fetched.samples,
            name,
            cpu_initialization=at.config.cpu_initialization,
            initial_readiness=at.config.initial_readiness,
            now=at.now,
        )
        if average is not None:
            goal = quantities.milli(average)
            proposal = r.plain_replicas(at.pods, fetched.samples, groups, at.wanted, goal, at.tolerance)
        else:
            r.counted(at.pods, fetched.samples, groups)
            asked = requests(at.pods, name, container)
            proposal = r.utilization_replicas(
                at.pods, fetched.samples, groups, asked, at.wanted, int(utilization), at.tolerance
            )
    except Uncomputable as error:
        raise Uncomputable(f"failed to get {name} {what}: {error}") from error
    current: Object = {"averageValue": _quantity(proposal.usage, binary=name == "memory")}
    if average is not None:
        return proposal.replicas, f"{name} resource", current
    kind = "container resource" if container else "resource"
    current |= {"averageUtilization": proposal.utilization}
    return proposal.replicas, f"{name} {kind} utilization (percentage of request)", current


# -- custom metrics ---------------------------------------------------------------------------------------------------


def _pods(metric: Spec, fetched: Fetched, at: Situation) -> Computed:
    source = metric["pods"]
    name = source["metric"]["name"]
    try:
        if fetched.samples is None:
            raise Uncomputable(f"unable to get metric {name}: {fetched.error}")
        groups = group(at.pods, fetched.samples, "", cpu_initialization=0, initial_readiness=0, now=at.now)
        goal = quantities.milli(source["target"]["averageValue"])
        proposal = r.plain_replicas(at.pods, fetched.samples, groups, at.wanted, goal, at.tolerance)
    except Uncomputable as error:
        text = f"failed to get pods metric value: {error}"
        raise Failed("FailedGetPodsMetric", str(error), text) from error
    status = {"metric": dict(source["metric"]), "current": {"averageValue": _quantity(proposal.usage)}}
    return Computed(proposal.replicas, f"pods metric {name}", {"type": "Pods", "pods": status})


def _object(metric: Spec, fetched: Fetched, at: Situation) -> Computed:
    source = metric["object"]
    name, target, described = source["metric"]["name"], source["target"], source["describedObject"]
    kind = target.get("type")
    shared = kind == "AverageValue" and target.get("averageValue") is not None
    try:
        if not shared and not (kind == "Value" and target.get("value") is not None):
            raise Uncomputable(
                "invalid object metric source: neither a value target nor an average value target was set"
            )
        if fetched.error:
            # The words are in upstream's order, whatever they were meant to say.
            where = f"{described['kind']} on {at.namespace} {described['name']}/{fetched.error}"
            raise Uncomputable(f"unable to get metric {name}: {where}")
        proposal, current = _of_value(target, fetched, at, shared=shared)
    except Uncomputable as error:
        whole = f"failed to get {name} object metric: {error}" if shared else str(error)
        raise Failed("FailedGetObjectMetric", str(error), f"failed to get object metric value: {whole}") from error
    title = f"external metric {name}({_go(source['metric'].get('selector'))})" if shared else ""
    status = {"metric": dict(source["metric"]), "describedObject": dict(described), "current": current}
    title = title or f"{described['kind']} metric {name}"
    return Computed(proposal.replicas, title, {"type": "Object", "object": status})


def _external(metric: Spec, fetched: Fetched, at: Situation) -> Computed:
    source = metric["external"]
    name, target = source["metric"]["name"], source["target"]
    shared = target.get("averageValue") is not None
    inner = ""
    try:
        if not shared and target.get("value") is None:
            raise Uncomputable(
                "invalid external metric source: neither a value target nor an average value target was set"
            )
        inner = f"failed to get {name} external metric: " if shared else f"failed to get external metric {name}: "
        if fetched.error:
            selector = _go(source["metric"].get("selector"))
            where = f"{at.namespace}/{name}/{selector}"
            raise Uncomputable(f"unable to get external metric {where}: {fetched.error}")
        proposal, current = _of_value(target, fetched, at, shared=shared)
    except Uncomputable as error:
        text = f"failed to get {name} external metric value: {inner}{error}"
        raise Failed("FailedGetExternalMetric", str(error), text) from error
    title = f"external metric {name}({_go(source['metric'].get('selector'))})"
    status = {"metric": dict(source["metric"]), "current": current}
    return Computed(proposal.replicas, title, {"type": "External", "external": status})


def _of_value(target: Spec, fetched: Fetched, at: Situation, *, shared: bool) -> tuple[r.Proposal, Object]:
    value = r.total(fetched.values)
    if shared:
        goal = quantities.milli(target["averageValue"])
        proposal = r.shared_replicas(value, at.present, goal, at.tolerance)
        return proposal, {"averageValue": _quantity(proposal.usage)}
    goal = quantities.milli(target["value"])
    proposal = r.value_replicas(at.pods, value, at.wanted, goal, at.tolerance)
    return proposal, {"value": _quantity(proposal.usage)}


def _quantity(milli: int, *, binary: bool = False) -> str:
    return quantities.to_text(Fraction(milli, 1000), binary=binary)


def _go(selector: Spec | None) -> str:
    """A LabelSelector as Go prints it, which upstream's texts show."""
    if selector is None:
        return "nil"
    labels = "".join(f"{key}: {value}," for key, value in sorted((selector.get("matchLabels") or {}).items()))
    expressions = ""
    for e in selector.get("matchExpressions") or ():
        values = "[" + " ".join(e.get("values") or ()) + "]"
        expressions += f"LabelSelectorRequirement{{Key:{e['key']},Operator:{e['operator']},Values:{values},}},"
    lists = f"MatchExpressions:[]LabelSelectorRequirement{{{expressions}}}"
    return f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},{lists},}}"
