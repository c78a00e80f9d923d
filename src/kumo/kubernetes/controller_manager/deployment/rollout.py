"""The rollout: a deployment and its replica sets in, what to write out. Pure; one step at a time, then look again."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from kumo.api import conditions
from kumo.api.objects import (
    Object,
    annotations_of,
    is_deleting,
    name_of,
    namespace_of,
    owner_reference,
)
from kumo.kubernetes.controller_manager.deployment import progress, revisions, scaling
from kumo.kubernetes.controller_manager.deployment.sets import REVISION, Limits, Set, is_rolling, limits, wanted
from kumo.kubernetes.controller_manager.deployment.templates import HASH_LABEL, same, template_hash


@dataclass(frozen=True, slots=True)
class State:
    """The deployment, its replica sets, whether pods of former templates still run, and the time (epoch seconds)."""

    deployment: Object
    sets: tuple[Set, ...]
    old_pods_run: bool
    now: float


@dataclass(slots=True)
class Plan:
    """What to write, in this order; `again` is when to look without any change, in seconds."""

    create: Object | None = None
    update: Object | None = None
    resizes: list[tuple[Set, int]] = field(default_factory=list)
    forget: list[Set] = field(default_factory=list)
    revision: str = ""
    status: progress.Status | None = None
    again: float | None = None


def new_set(deployment: Object, sets: Sequence[Set]) -> Set | None:
    """The oldest set with the deployment's current template."""
    template = deployment["spec"]["template"]
    matching = [s for s in sets if same(s.object["spec"]["template"], template)]
    return min(matching, key=lambda s: (s.created, s.name), default=None)


def plan(state: State) -> Plan:
    """The next step."""
    deployment = state.deployment
    new = new_set(deployment, state.sets)
    old = [s for s in state.sets if s is not new]
    allowed = limits(deployment)
    if is_deleting(deployment):
        return Plan(status=progress.counted(deployment, new, state.sets, allowed, state.now))
    pausing = progress.paused(deployment, state.now)
    if pausing is not None:
        return Plan(status=pausing)
    if new is not None:
        refreshed = _refreshed(deployment, new, old, allowed)
        if refreshed is not None:
            return Plan(update=refreshed, revision=annotations_of(refreshed)[REVISION])
    if deployment["spec"].get("paused") or _size_changed(deployment, state.sets):
        made = _resize(state, new, old, allowed)
    elif is_rolling(deployment):
        made = _roll(state, new, old, allowed)
    else:
        made = _recreate(state, new, old, allowed)
    if new is not None:
        made.revision = str(new.revision)
    return made


def _size_changed(deployment: Object, sets: Sequence[Set]) -> bool:
    return any(s.wanted > 0 and s.desired is not None and s.desired != wanted(deployment) for s in sets)


def _resize(state: State, new: Set | None, old: list[Set], allowed: Limits) -> Plan:
    deployment, size = state.deployment, wanted(state.deployment)
    before = int((deployment.get("status") or {}).get("replicas") or 0)
    sizes = scaling.scale(new, old, size, before, allowed, rolling=is_rolling(deployment))
    return Plan(
        resizes=[(s, sizes[s.uid]) for s in state.sets if s.uid in sizes],
        forget=revisions.to_forget(deployment, old) if deployment["spec"].get("paused") else [],
        status=progress.counted(deployment, new, state.sets, allowed, state.now),
    )


def _roll(state: State, new: Set | None, old: list[Set], allowed: Limits) -> Plan:
    if new is None:
        return _create(state, old, allowed)
    size = scaling.new_size(new, state.sets, wanted(state.deployment), allowed, rolling=True)
    if size != new.wanted:
        return _report(state, new, allowed, Plan(resizes=[(new, size)]))
    shrinking = scaling.shrink_old(new, old, wanted(state.deployment), allowed)
    return _finish(state, new, old, allowed, [(s, shrinking[s.uid]) for s in old if s.uid in shrinking])


def _recreate(state: State, new: Set | None, old: list[Set], allowed: Limits) -> Plan:
    resizes = [(s, 0) for s in old if s.wanted > 0]
    if resizes or state.old_pods_run:
        return _report(state, new, allowed, Plan(resizes=resizes))
    if new is None:
        return _create(state, old, allowed)
    size = wanted(state.deployment)
    return _finish(state, new, old, allowed, [(new, size)] if size != new.wanted else [])


def _finish(state: State, new: Set, old: list[Set], allowed: Limits, resizes: list[tuple[Set, int]]) -> Plan:
    made = _report(state, new, allowed, Plan(resizes=resizes))
    if not resizes and progress.is_complete(state.deployment, made.status or {}):
        made.forget = revisions.to_forget(state.deployment, old)
    return made


def _report(state: State, new: Set | None, allowed: Limits, made: Plan) -> Plan:
    made.status = progress.rolled(state.deployment, new, state.sets, allowed, state.now)
    if new is not None and progress.deadline(state.deployment) is not None:
        if conditions.find(made.status["conditions"], progress.PROGRESSING) is None:
            text = f'Found new replica set "{new.name}"'
            progress.put(made.status, progress.PROGRESSING, "True", "FoundNewReplicaSet", text, state.now)
        left = progress.remaining(state.deployment, made.status, state.now)
        made.again = left + 1 if left is not None and left >= 0 else None
    return made


def _refreshed(deployment: Object, new: Set, old: Sequence[Set], allowed: Limits) -> Object | None:
    """The current template's set with its annotations and readiness time brought up to date, if they are not."""
    had = annotations_of(new.object)
    notes = revisions.set_annotations(deployment, had, revisions.next_revision(old), wanted(deployment) + allowed.surge)
    min_ready = deployment["spec"].get("minReadySeconds") or 0
    if notes == had and (new.object["spec"].get("minReadySeconds") or 0) == min_ready:
        return None
    changed = deepcopy(new.object)
    changed["metadata"]["annotations"] = notes
    changed["spec"]["minReadySeconds"] = min_ready
    return changed


def _create(state: State, old: Sequence[Set], allowed: Limits) -> Plan:
    made = replica_set(state.deployment, revisions.next_revision(old), allowed)
    size = wanted(state.deployment)
    if is_rolling(state.deployment):
        room = size + allowed.surge - sum(s.wanted for s in state.sets)
        made["spec"]["replicas"] = max(0, min(size, room))
    status = deepcopy(state.deployment.get("status") or {})
    if progress.deadline(state.deployment) is not None:
        text = f'Created new replica set "{name_of(made)}"'
        progress.put(status, progress.PROGRESSING, "True", "NewReplicaSetCreated", text, state.now)
    return Plan(create=made, revision=annotations_of(made)[REVISION], status=status)


def replica_set(deployment: Object, revision: int, allowed: Limits) -> Object:
    """The replica set of the deployment's current template, at its full size."""
    spec = deployment["spec"]
    collisions = (deployment.get("status") or {}).get("collisionCount")
    digest = template_hash(spec["template"], collisions)
    template: dict[str, Any] = deepcopy(spec["template"])
    labels = {**((template.get("metadata") or {}).get("labels") or {}), HASH_LABEL: digest}
    template["metadata"] = {**(template.get("metadata") or {}), "labels": labels}
    selector = deepcopy(spec.get("selector") or {})
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH_LABEL: digest}
    size = wanted(deployment)
    made: Object = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{name_of(deployment)}-{digest}",
            "namespace": namespace_of(deployment),
            "labels": dict(labels),
            "annotations": revisions.set_annotations(deployment, None, revision, size + allowed.surge),
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": {"replicas": size, "selector": selector, "template": template},
    }
    if spec.get("minReadySeconds"):
        made["spec"]["minReadySeconds"] = spec["minReadySeconds"]
    return made
