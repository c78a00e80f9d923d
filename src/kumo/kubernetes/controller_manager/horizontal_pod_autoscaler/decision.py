"""One look of an autoscaler at its target: conditions, events, and the size that the target gets. Pure.

Upstream: `reconcileAutoscaler`. The shell reads the scale and fetches metrics where `needs_metrics` says so, asks
`decide`, writes the scale, and then the status that `finish` makes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kumo.api import quantities
from kumo.api.conditions import set_condition
from kumo.api.objects import Object, timestamp
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.behavior import Memory, normalize
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.config import AutoscalerConfig
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.metrics import (
    Computed,
    Failed,
    Fetched,
    Situation,
    compute,
)
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.replicas import Tolerance

ABLE, ACTIVE, LIMITED = "AbleToScale", "ScalingActive", "ScalingLimited"
_TO_ZERO = "ScaledToZero"
_UNABLE = "the HPA was unable to compute the replica count: "


class Warned(NamedTuple):
    """A Warning event to record."""

    reason: str
    message: str


@dataclass(slots=True)
class Decision:
    """What to do. `desired` is None when it could not be computed; `reason` says why the target is resized."""

    conditions: list[Object]
    current: int = 0
    desired: int | None = None
    rescale: bool = False
    reason: str = ""
    metrics: list[Object] | None = None
    events: list[Warned] = field(default_factory=list)
    error: str = ""

    def say(self, kind: str, status: bool, reason: str, message: str, now: float) -> None:
        """Set a condition."""
        new = {"type": kind, "status": "True" if status else "False", "reason": reason, "message": message}
        set_condition(self.conditions, new, timestamp(now))


def start(autoscaler: Object) -> Decision:
    """A decision with the conditions as they are."""
    return Decision(deepcopy((autoscaler.get("status") or {}).get("conditions") or []))


def bounds(spec: Mapping[str, Any]) -> tuple[int, int]:
    """The least and the largest size."""
    least = spec.get("minReplicas")
    return 1 if least is None else int(least), int(spec["maxReplicas"])


def needs_metrics(spec: Mapping[str, Any], current: int) -> bool:
    """Whether metrics decide: not for a target that is switched off or out of bounds."""
    least, most = bounds(spec)
    return current != 0 and least <= current <= most


def tolerance(spec: Mapping[str, Any], config: AutoscalerConfig) -> Tolerance:
    """The tolerance of an autoscaler: its behavior's, else the cluster's."""
    behavior = spec.get("behavior") or {}

    def of(way: str) -> float:
        own = (behavior.get(way) or {}).get("tolerance")
        return config.tolerance if own is None else float(quantities.parse(own))

    return Tolerance(of("scaleDown"), of("scaleUp"))


def unable(decision: Decision, text: str, now: float) -> Decision:
    """The target's scale can't be read."""
    decision.events.append(Warned("FailedGetScale", text))
    message = f"the HPA controller was unable to get the target's current scale: {text}"
    decision.say(ABLE, False, "FailedGetScale", message, now)
    decision.error = text
    return decision


def found(decision: Decision, current: int, now: float) -> None:
    """The target's scale was read."""
    decision.current = current
    message = "the HPA controller was able to get the target's current scale"
    decision.say(ABLE, True, "SucceededGetScale", message, now)


def out_of_bounds(decision: Decision, spec: Mapping[str, Any], now: float) -> Decision:
    """What to do where `needs_metrics` says no."""
    least, most = bounds(spec)
    if decision.current == 0:
        message = "scaling is disabled since the replica count of the target is zero"
        decision.say(ACTIVE, False, "ScalingDisabled", message, now)
        decision.conditions[:] = [c for c in decision.conditions if c["type"] != _TO_ZERO]
        decision.desired = 0
        return decision
    decision.rescale = True
    if decision.current > most:
        decision.desired, decision.reason = most, "Current number of replicas above Spec.MaxReplicas"
    else:
        decision.desired, decision.reason = least, "Current number of replicas below Spec.MinReplicas"
    return decision


def no_selector(decision: Decision, event: str, text: str, message: str, now: float) -> Decision:
    """The target's selector is none to work with."""
    decision.events.append(Warned(event, text))
    reason = event if event != "SelectorRequired" else "InvalidSelector"
    decision.say(ACTIVE, False, reason, message, now)
    decision.events.append(Warned("FailedComputeMetricsReplicas", text))
    decision.error = text
    return decision


def decide(
    decision: Decision, spec: Mapping[str, Any], fetched: Sequence[Fetched], at: Situation, memory: Memory
) -> Decision:
    """What the metrics want, within bounds, windows and policies. Notes the recommendation in `memory`."""
    metrics = spec.get("metrics") or ()
    best: Computed | None = None
    decision.metrics = []
    failures: list[Failed] = []
    for computed, failed in _each(metrics, fetched, at):
        if failed is not None:
            decision.events.append(Warned(failed.reason, failed.inner))
            failures.append(failed)
            decision.metrics.append({"type": ""})
            continue
        assert computed is not None
        decision.metrics.append(computed.status)
        if best is None or best.replicas == 0 or computed.replicas > best.replicas:
            best = computed
    wanted = best.replicas if best is not None else 0
    if failures:
        decision.error = (
            f"invalid metrics ({len(failures)} invalid out of {len(metrics)}), first error is: {failures[0]}"
        )
    if len(failures) >= len(metrics) or (failures and wanted < at.wanted):
        if failures:
            decision.say(ACTIVE, False, failures[0].reason, _UNABLE + failures[0].inner, at.now)
        decision.events.append(Warned("FailedComputeMetricsReplicas", decision.error))
        return decision
    assert best is not None
    message = f"the HPA was able to successfully calculate a replica count from {best.name}"
    decision.say(ACTIVE, True, "ValidMetricFound", message, at.now)
    _normalize(decision, spec, wanted, best.name, at, memory)
    return decision


def _each(
    metrics: Sequence[Mapping[str, Any]], fetched: Sequence[Fetched], at: Situation
) -> Iterator[tuple[Computed | None, Failed | None]]:
    for metric, values in zip(metrics, fetched, strict=True):
        try:
            yield compute(metric, values, at), None
        except Failed as failed:
            yield None, failed


def _normalize(
    decision: Decision, spec: Mapping[str, Any], wanted: int, name: str, at: Situation, memory: Memory
) -> None:
    least, most = bounds(spec)
    current = decision.current
    wanted = max(wanted, 0)
    if wanted > current:
        decision.reason = f"{name} above target"
    elif wanted < current:
        decision.reason = "All metrics below target"
    normal = normalize(
        memory,
        spec.get("behavior"),
        current=current,
        wanted=wanted,
        least=least,
        most=most,
        window=at.config.downscale_stabilization,
        now=at.now,
    )
    decision.say(ABLE, True, normal.able.reason, normal.able.message, at.now)
    decision.say(LIMITED, normal.is_limited, normal.limited.reason, normal.limited.message, at.now)
    decision.desired, decision.rescale = normal.replicas, normal.replicas != current


def rescaled(decision: Decision, now: float) -> None:
    """The target was resized."""
    message = f"the HPA controller was able to update the target scale to {decision.desired}"
    decision.say(ABLE, True, "SucceededRescale", message, now)
    decision.conditions[:] = [c for c in decision.conditions if c["type"] != _TO_ZERO]


def not_rescaled(decision: Decision, text: str, now: float) -> None:
    """The target could not be resized."""
    event = f"New size: {decision.desired}; reason: {decision.reason}; error: {text}"
    decision.events.append(Warned("FailedRescale", event))
    message = f"the HPA controller was unable to update the target scale: {text}"
    decision.say(ABLE, False, "FailedUpdateScale", message, now)
    decision.desired, decision.rescale, decision.error = None, False, text


def status(decision: Decision, old: Mapping[str, Any], now: float) -> Object:
    """The autoscaler's status after the look. Without a desired size it keeps the old one."""
    desired = old.get("desiredReplicas") or 0 if decision.desired is None else decision.desired
    fresh: Object = {
        "currentReplicas": decision.current,
        "desiredReplicas": desired,
        "currentMetrics": decision.metrics,
        "conditions": decision.conditions,
    }
    last = timestamp(now) if decision.rescale else old.get("lastScaleTime")
    return {**fresh, "lastScaleTime": last} if last else fresh
