"""Preemption: which less important pods would have to go so that a pod fits. Pure; the shell deletes them.

Upstream's DefaultPreemption: on each node that could help, the smallest set of victims is found by putting pods back,
the most important first, those protected by a disruption budget before the others; the node whose victims matter least
wins.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from kumo.api import conditions, selectors
from kumo.api.objects import Object, namespace_of, parse_timestamp
from kumo.kubernetes.scheduler.cycle import Cycle, Refusal
from kumo.kubernetes.scheduler.decision import Verdict, refuse, summary
from kumo.kubernetes.scheduler.nodes import NodeInfo, PodInfo
from kumo.kubernetes.scheduler.profile import Profile
from kumo.kubernetes.scheduler.world import World

_NEVER = "not eligible due to preemptionPolicy=Never."
_TERMINATING = "not eligible due to a terminating pod on the nominated node."
_NOT_HELPFUL = "Preemption is not helpful for scheduling"
NO_CLAIMS, CLAIMS_KEPT = "no new claims to deallocate", "still not schedulable"
CLAIM_GIVEN_BACK = "deallocation of ResourceClaim completed"
CLAIM_DELETED = "deletion of ResourceClaim completed"
NO_CLAIM_STATE = "not found"
"""What upstream says where a pod was refused before its claims were looked at, and goes no further."""
_NO_VICTIMS = Refusal(("No preemption victims found for incoming pod",), "DefaultPreemption", final=True)


@dataclass(frozen=True, slots=True)
class Preemption:
    """The node to make room on and the pods to delete there; no node and a `message` when it can't help.

    `keep` says that a node that was nominated before stays so.
    """

    node: str = ""
    victims: tuple[PodInfo, ...] = ()
    message: str = ""
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node and those who would have to leave it, the most important first; how many budgets that breaks."""

    node: str
    victims: tuple[PodInfo, ...]
    violations: int = 0


def preempt(verdict: Verdict, profile: Profile, rng: Random) -> Preemption:
    """Look for a node where the pod would fit without pods of lower priority."""
    hindrance = obstacle(verdict)
    if hindrance is not None:
        return hindrance
    candidates, statuses = find_candidates(verdict, profile, rng)
    return decide(verdict, candidates, statuses)


def decide(verdict: Verdict, candidates: Sequence[Candidate], statuses: Mapping[str, Refusal]) -> Preemption:
    """What comes of the candidates; `statuses` say why there are no others."""
    if not candidates:
        return Preemption(message=f"preemption: {summary(verdict.total, statuses, _NOT_HELPFUL)}")
    chosen = choose(candidates)
    return Preemption(chosen.node, chosen.victims)


def with_claims(found: Preemption, text: str = NO_CLAIMS) -> Preemption:
    """The message as it is when resource claims are looked at first; `text` is what came of it."""
    if found.node:
        return found
    return replace(found, message=", ".join(filter(None, (text, found.message))))


def obstacle(verdict: Verdict) -> Preemption | None:
    """Why the pod may not preempt (again); None if it may."""
    text = _obstacle(verdict.cycle.pod, verdict.cycle.world, verdict)
    return Preemption(message=f"preemption: {text}", keep=True) if text else None


def _obstacle(pod: PodInfo, world: World, verdict: Verdict) -> str:
    """Why the pod may not preempt (again)."""
    if pod.spec.get("preemptionPolicy") == "Never":
        return _NEVER
    found = verdict.status_of(pod.nominated) if pod.nominated else None
    if not pod.nominated or (found is not None and found.final):
        return ""
    info = world.cache.nodes.get(pod.nominated)
    if info is not None and any(_leaves(p) and p.priority < pod.priority for p in info.pods.values()):
        return _TERMINATING
    return ""


def _leaves(pod: PodInfo) -> bool:
    """Whether the pod is on its way out because the scheduler wanted it."""
    found = conditions.condition(pod.pod, "DisruptionTarget") or {}
    return pod.deleting and found.get("status") == "True" and found.get("reason") == "PreemptionByScheduler"


def find_candidates(verdict: Verdict, profile: Profile, rng: Random) -> tuple[list[Candidate], dict[str, Refusal]]:
    """Nodes on which preemption would help, and why it would not on others that were tried."""
    cycle, cache = verdict.cycle, verdict.cycle.world.cache
    possible = []
    for info in cache.candidates():
        status = verdict.status_of(info.name)
        if status is not None and not status.final:
            possible.append(info)
    if not possible:
        return [], {}
    budgets = list(cycle.world.budgets())
    percentage, least = profile.candidates
    enough = min(max(len(possible) * percentage // 100, least), len(possible))
    offset = rng.randrange(len(possible))
    found: list[Candidate] = []
    statuses: dict[str, Refusal] = {}
    for info in (*possible[offset:], *possible[:offset]):
        result = _victims(cycle, profile, info, budgets)
        if isinstance(result, Refusal):
            statuses[info.name] = result
            continue
        found.append(result)
        if len(found) >= enough and any(not c.violations for c in found):
            break
    return found, statuses


def _victims(cycle: Cycle, profile: Profile, info: NodeInfo, budgets: Sequence[Object]) -> Candidate | Refusal:
    """The smallest set of pods that would have to leave the node, or why even all of them would not be enough."""
    lower = [p for p in info.pods.values() if p.priority < cycle.pod.priority]
    if not lower:
        return _NO_VICTIMS
    node, trial = info.clone(), cycle.trial()
    active = [p for p in profile.filters if p.name not in cycle.skipped]

    def take(other: PodInfo) -> None:
        node.remove_pod(other.uid)
        for plugin in active:
            plugin.pod_removed(trial, other, node)

    def put(other: PodInfo) -> None:
        node.add_pod(other)
        for plugin in active:
            plugin.pod_added(trial, other, node)

    for other in lower:
        take(other)
    refusal = refuse(trial, profile, node)
    if refusal is not None:
        return refusal
    violating, others = split_by_budgets(sorted(lower, key=importance), budgets)
    victims: list[PodInfo] = []
    violations = 0
    for other in (*violating, *others):
        put(other)
        if refuse(trial, profile, node) is not None:
            take(other)
            victims.append(other)
            violations += other in violating
    return Candidate(info.name, tuple(sorted(victims, key=importance)), violations)


def split_by_budgets(pods: Iterable[PodInfo], budgets: Sequence[Object]) -> tuple[list[PodInfo], list[PodInfo]]:
    """Pods whose disruption would break a PodDisruptionBudget, and the others, both in the order given."""
    left = [int((b.get("status") or {}).get("disruptionsAllowed") or 0) for b in budgets]
    violating: list[PodInfo] = []
    others: list[PodInfo] = []
    for pod in pods:
        broken = False
        for i, budget in enumerate(budgets):
            selector = (budget.get("spec") or {}).get("selector")
            if namespace_of(budget) != pod.namespace or not selector or not pod.labels:
                continue
            disrupted = (budget.get("status") or {}).get("disruptedPods") or {}
            if pod.name in disrupted or not selectors.matches(selector, pod.labels):
                continue
            left[i] -= 1
            broken = broken or left[i] < 0
        (violating if broken else others).append(pod)
    return violating, others


def importance(pod: PodInfo) -> tuple[int, float]:
    """A key that sorts more important pods first: by priority, then the longer they run."""
    return -pod.priority, started(pod)


def started(pod: PodInfo) -> float:
    """When the pod started; now, if it has not yet."""
    text = (pod.pod.get("status") or {}).get("startTime")
    return parse_timestamp(text) if text else time.time()


def choose(candidates: Sequence[Candidate]) -> Candidate:
    """The candidate whose victims matter least: by budgets broken, priorities, their sum, their number, their age."""
    return min(candidates, key=_cost)


def _cost(candidate: Candidate) -> tuple[int, int, int, int, float]:
    victims = candidate.victims
    top = max(v.priority for v in victims)
    total = sum(v.priority + 2**31 for v in victims)
    eldest = min(started(v) for v in victims if v.priority == top)
    return candidate.violations, top, total, len(victims), -eldest
