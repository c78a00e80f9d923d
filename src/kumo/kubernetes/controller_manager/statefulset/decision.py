"""What to do for a stateful set: the rules of upstream's `stateful_set_control.go` as one function, state -> plan.

Ordered sets (OrderedReady) take one step at a time, and none while a pod before is not available; parallel ones take
all at once. Pods beyond the wanted number go before any is replaced by one of a newer template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any

from kumo.api.objects import Object, is_deleting, name_of
from kumo.kubernetes.controller_manager import pods as p
from kumo.kubernetes.controller_manager.revisions import hash_of, template_of
from kumo.kubernetes.controller_manager.statefulset import claims, identity
from kumo.kubernetes.controller_manager.statefulset import status as s


class Act(Enum):
    """What is done to a pod."""

    CREATE = auto()
    """Make its missing claims, then the pod."""
    DELETE = auto()
    CLAIMS = auto()
    """Make its missing claims and see to their owners."""
    OWNERS = auto()
    """See to the owners of its claims."""
    UPDATE = auto()
    """Give back labels, volumes and claims."""


@dataclass(frozen=True, slots=True)
class Step:
    """One act; the pod is as it is, or as it is to be created."""

    act: Act
    pod: Object


@dataclass(frozen=True, slots=True)
class State:
    """What is known: the set, the revisions that its pods are and shall be of, its pods and its namespace's claims."""

    stateful_set: Object
    current: Object
    update: Object
    pods: Sequence[Object]
    claims: Mapping[str, Object]
    now: float
    collisions: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """Stages of steps: those of one stage go side by side; after an error the next is not begun."""

    status: dict[str, Any]
    stages: list[list[Step]] = field(default_factory=list)


def plan(state: State) -> Plan:
    """Decide."""
    obj = state.stateful_set
    status: dict[str, Any] = {
        "observedGeneration": obj["metadata"].get("generation") or 0,
        **s.counted(obj, state.pods, name_of(state.current), name_of(state.update), state.now),
        "currentRevision": name_of(state.current),
        "updateRevision": name_of(state.update),
        "collisionCount": state.collisions,
    }
    return Plan(status) if is_deleting(obj) else _plan(state, status)


def _plan(state: State, status: dict[str, Any]) -> Plan:
    obj = state.stateful_set
    monotonic = obj["spec"].get("podManagementPolicy") != "Parallel"
    wanted, surplus = _sorted_out(state)
    made = Plan(status)
    if _keep(state, wanted, monotonic, made) and monotonic:
        return made
    owners = [Step(Act.OWNERS, pod) for pod in surplus if not _claims_right(state, pod)]
    made.stages.append(owners)
    if _shrink(state, wanted, surplus, monotonic, made) and monotonic:
        return made
    if (obj["spec"].get("updateStrategy") or {}).get("type") == "OnDelete":
        return made
    victim = _outdated(state, wanted)
    if victim is None:
        return made
    made.stages.append([Step(Act.DELETE, victim)])
    return replace(made, status={**status, "currentReplicas": status["currentReplicas"] - 1})


def _sorted_out(state: State) -> tuple[list[Object], list[Object]]:
    """The pods that are to be, by ordinal, new ones where they are missing; and the others, last first."""
    obj, first = state.stateful_set, identity.start(state.stateful_set)
    there = {identity.ordinal(pod): pod for pod in state.pods}
    wanted = [there.get(number) or _new(state, number) for number in range(first, first + identity.replicas(obj))]
    surplus = [pod for n, pod in there.items() if n >= 0 and not identity.in_range(obj, n)]
    return wanted, sorted(surplus, key=identity.ordinal, reverse=True)


def _new(state: State, number: int) -> Object:
    """A missing pod: of the current revision below the partition, else of the one that is being rolled out."""
    obj = state.stateful_set
    strategy = obj["spec"].get("updateStrategy") or {}
    rolling = strategy.get("rollingUpdate")
    if rolling is not None:
        kept = int(rolling.get("partition") or 0)
    elif (strategy.get("type") or "RollingUpdate") == "RollingUpdate":
        kept = int((obj.get("status") or {}).get("currentReplicas") or 0)
    else:
        kept = 0
    revision = state.current if number < identity.start(obj) + kept else state.update
    return identity.new_pod(obj, template_of(revision), name_of(revision), number)


def _claims_right(state: State, pod: Object) -> bool:
    obj = state.stateful_set
    return all(claims.is_owned_rightly(c, obj, pod) for c in claims.of_pod(obj, pod, state.claims))


def _keep(state: State, wanted: Sequence[Object], monotonic: bool, made: Plan) -> bool:
    """Steps for the pods that are to be; whether an ordered set has to wait for one of them."""
    steps: list[Step] = []
    made.stages.append(steps)
    waits = False
    for pod in wanted:
        waits = _keep_one(state, pod, monotonic, steps)
        if waits and monotonic:
            return True
    return waits


def _keep_one(state: State, pod: Object, monotonic: bool, steps: list[Step]) -> bool:
    obj = state.stateful_set
    if s.is_created(pod) and p.has_ended(pod):
        if not is_deleting(pod):
            steps.append(Step(Act.DELETE, pod))
        return True
    if not s.is_created(pod):
        if not claims.is_stale(obj, pod, state.claims):
            steps.append(Step(Act.CREATE, pod))
        return True
    if p.phase(pod) == "Pending":
        steps.append(Step(Act.CLAIMS, pod))
    if monotonic and (is_deleting(pod) or _blocks(state, pod)):
        return True
    right = identity.identity_matches(obj, pod) and identity.storage_matches(obj, pod) and _claims_right(state, pod)
    if not right:
        steps.append(Step(Act.UPDATE, pod))
    return False


def _blocks(state: State, pod: Object) -> bool:
    """Whether an ordered set has to wait for the pod."""
    least = s.min_ready(state.stateful_set)
    return not s.is_running_and_ready(pod) or not p.is_available(pod, least, state.now)


def _shrink(state: State, wanted: Sequence[Object], surplus: Sequence[Object], monotonic: bool, made: Plan) -> bool:
    """Steps for the pods beyond the wanted number; whether there is anything to wait for."""
    least = s.min_ready(state.stateful_set)
    in_order = [*wanted, *reversed(surplus)]
    first_bad = next((pod for pod in in_order if s.is_unavailable(pod, least, state.now)), None)
    if not monotonic:
        made.stages.append([Step(Act.DELETE, pod) for pod in surplus if not is_deleting(pod)])
        return False
    for pod in surplus:
        if not is_deleting(pod) and (not _blocks(state, pod) or pod is first_bad):
            made.stages.append([Step(Act.DELETE, pod)])
        return True
    return False


def _outdated(state: State, wanted: Sequence[Object]) -> Object | None:
    """The pod that is to be replaced by one of the newer revision now, if there is one."""
    rolling = (state.stateful_set["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    least, partition = s.min_ready(state.stateful_set), int(rolling.get("partition") or 0)
    for pod in reversed(wanted[partition:]):
        if not is_deleting(pod) and hash_of(pod) != name_of(state.update):
            return pod if s.is_created(pod) else None
        if s.is_unavailable(pod, least, state.now):
            return None
    return None
