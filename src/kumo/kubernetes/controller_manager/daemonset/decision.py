"""Which pods of a daemon set come and go: the rules of upstream's `manage` and `rollingUpdate`, as functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kumo.api import intstr
from kumo.api.objects import Object, is_deleting, name_of
from kumo.kubernetes.controller_manager import pods as p
from kumo.kubernetes.controller_manager.daemonset import placement
from kumo.kubernetes.controller_manager.revisions import hash_of

Pods = Mapping[str, Sequence[Object]]
"""A daemon set's pods by node."""


@dataclass(frozen=True, slots=True)
class State:
    """The set, the nodes, its pods by node, and the hash of its current template."""

    daemon_set: Object
    nodes: Sequence[Object]
    pods: Pods
    digest: str
    now: float
    fits: Mapping[str, tuple[bool, bool]]
    """Of every node: whether a pod should run there, and whether one that is there may go on."""

    @classmethod
    def of(cls, daemon_set: Object, nodes: Sequence[Object], pods: Pods, digest: str, now: float) -> State:
        """The state; where pods may run is worked out once."""
        return cls(daemon_set, nodes, pods, digest, now, placement.fits_all(daemon_set, nodes))

    def is_available(self, pod: Object) -> bool:
        """Whether the pod has been ready for long enough."""
        return p.is_available(pod, int(self.daemon_set["spec"].get("minReadySeconds") or 0), self.now)

    def is_updated(self, pod: Object) -> bool:
        """Whether the pod is of the current template."""
        return placement.is_updated(self.daemon_set, pod, self.digest)


@dataclass(slots=True)
class Plan:
    """Nodes that get a pod, pods that go, and those of them that failed or succeeded (by node)."""

    create: list[str] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    failed: list[tuple[str, Object]] = field(default_factory=list)
    """To be deleted as soon as their back-off allows."""
    succeeded: list[tuple[str, Object]] = field(default_factory=list)


def oldest_first(pods: Sequence[Object]) -> list[Object]:
    """Pods on nodes before others, then the older ones."""

    def order(pod: Object) -> tuple[bool, str, str]:
        placed = bool((pod.get("spec") or {}).get("nodeName"))
        return (not placed, pod["metadata"].get("creationTimestamp") or "", name_of(pod))

    return sorted(pods, key=order)


def manage(state: State) -> Plan:
    """One pod on every node that should have one, none elsewhere."""
    made = Plan()
    for node in state.nodes:
        _manage_node(state, name_of(node), made)
    for node_name, pods in state.pods.items():
        if node_name not in state.fits:
            made.delete += [pod for pod in pods if not (pod.get("spec") or {}).get("nodeName")]
    return made


def _manage_node(state: State, name: str, made: Plan) -> None:
    should, may = state.fits[name]
    pods = state.pods.get(name) or ()
    if should and not pods:
        made.create.append(name)
    elif may:
        running = []
        for pod in pods:
            if is_deleting(pod):
                continue
            if p.phase(pod) == "Failed":
                made.failed.append((name, pod))
            elif p.phase(pod) == "Succeeded":
                made.succeeded.append((name, pod))
            else:
                running.append(pod)
        _thin_out(state, name, oldest_first(running), should, made)
    else:
        made.delete += [pod for pod in pods if not is_deleting(pod)]


def _thin_out(state: State, node: str, running: list[Object], should: bool, made: Plan) -> None:
    """Too many pods on a node: with surge, one of each template may be there for a while."""
    if surge(state.daemon_set, 1) <= 0:
        made.delete += running[1:]
        return
    if not running and should:
        made.create.append(node)
    if len(running) <= 1:
        return
    new = [pod for pod in running if hash_of(pod) == state.digest]
    old = [pod for pod in running if pod not in new]
    made.delete += [*new[1:], *old[1:]]
    if new and old and (not p.is_ready(old[0]) or state.is_available(new[0])):
        made.delete.append(old[0])


def _rolling(daemon_set: Object) -> Mapping[str, int | str]:
    strategy = daemon_set["spec"].get("updateStrategy") or {}
    found: Mapping[str, int | str] = strategy.get("rollingUpdate") or {}
    return found if is_rolling(daemon_set) else {}


def is_rolling(daemon_set: Object) -> bool:
    """Whether the update strategy is RollingUpdate."""
    return ((daemon_set["spec"].get("updateStrategy") or {}).get("type") or "RollingUpdate") == "RollingUpdate"


def surge(daemon_set: Object, desired: int) -> int:
    """How many nodes may have two pods during an update."""
    return intstr.scaled(_rolling(daemon_set).get("maxSurge", 0), desired, round_up=True)


def unavailable(daemon_set: Object, desired: int) -> int:
    """How many nodes may miss their pod during an update; one if neither that nor a surge is allowed."""
    allowed = intstr.scaled(_rolling(daemon_set).get("maxUnavailable", 0), desired, round_up=True)
    return 1 if desired and not allowed and not surge(daemon_set, desired) else allowed


def roll(state: State) -> Plan:
    """The next step of a rolling update."""
    should = {name for name, (should_run, _) in state.fits.items() if should_run}
    pods: dict[str, Sequence[Object]] = {**dict.fromkeys(sorted(should), ()), **state.pods}
    extra = surge(state.daemon_set, len(should))
    if extra == 0:
        return _replace(state, pods, unavailable(state.daemon_set, len(should)))
    return _surge(state, pods, should, extra)


def _pair(state: State, pods: Sequence[Object]) -> tuple[Object | None, Object | None] | None:
    """The new and the old pod of a node; None while there are several of either."""
    new = [pod for pod in pods if not is_deleting(pod) and state.is_updated(pod)]
    old = [pod for pod in pods if not is_deleting(pod) and not state.is_updated(pod)]
    if len(new) > 1 or len(old) > 1:
        return None
    return (new[0] if new else None, old[0] if old else None)


def _replace(state: State, by_node: Pods, allowed: int) -> Plan:
    """Without surge: old pods that are not available go at once, others as far as the update may miss them."""
    missing, free, candidates = 0, [], []
    for pods in by_node.values():
        pair = _pair(state, pods)
        if pair is None:
            missing += 1
            continue
        new, old = pair
        if (new is None) == (old is None):
            missing += 1
        elif new is not None:
            missing += not state.is_available(new)
        elif old is not None and not state.is_available(old):
            free.append(old)
            missing += 1
        elif old is not None:
            candidates.append(old)
    return Plan(delete=[*free, *candidates[: max(allowed - missing, 0)]])


def _surge(state: State, by_node: Pods, should: set[str], extra: int) -> Plan:
    """With surge: new pods come first, old ones go when theirs is available."""
    made, surging, available = Plan(), 0, 0
    misplaced: list[Object] = []
    candidates: list[str] = []
    for node, pods in by_node.items():
        pair = _pair(state, pods)
        if pair is None:
            surging += 1
            continue
        new, old = pair
        counted = old or new
        available += counted is not None and state.is_available(counted)
        if old is None:
            continue
        if new is not None:
            if state.is_available(new):
                made.delete.append(old)
            else:
                surging += 1
        elif not state.is_available(old):
            if node in should:
                made.create.append(node)
            else:
                made.delete.append(old)
        elif node in should:
            candidates.append(node)
        else:
            misplaced.append(old)
    made.delete += misplaced[: max(available - len(should), 0)]
    made.create += candidates[: max(extra - surging, 0)]
    return made
