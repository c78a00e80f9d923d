"""What a daemon set reports about its nodes and pods."""

from __future__ import annotations

from typing import Any

from kumo.api.objects import name_of
from kumo.kubernetes.controller_manager import pods as p
from kumo.kubernetes.controller_manager.daemonset.decision import State, oldest_first

_ALWAYS = ("currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady")


def status(state: State, *, observed: bool, collisions: int = 0) -> dict[str, Any]:
    """The status to write; the generation counts as seen only when `observed`."""
    counts = dict.fromkeys((*_ALWAYS, "updatedNumberScheduled", "numberAvailable", "numberUnavailable"), 0)
    for node in state.nodes:
        pods = oldest_first(state.pods.get(name_of(node)) or ())
        if not state.fits[name_of(node)][0]:
            counts["numberMisscheduled"] += bool(pods)
            continue
        counts["desiredNumberScheduled"] += 1
        if not pods:
            continue
        counts["currentNumberScheduled"] += 1
        counts["numberReady"] += p.is_ready(pods[0])
        counts["numberAvailable"] += state.is_available(pods[0])
        counts["updatedNumberScheduled"] += state.is_updated(pods[0])
    counts["numberUnavailable"] = counts["desiredNumberScheduled"] - counts["numberAvailable"]
    old = state.daemon_set.get("status") or {}
    made: dict[str, Any] = {k: v for k, v in counts.items() if v or k in _ALWAYS}
    generation = state.daemon_set["metadata"].get("generation") if observed else old.get("observedGeneration")
    more = {"observedGeneration": generation, "collisionCount": collisions, "conditions": old.get("conditions")}
    return made | {k: v for k, v in more.items() if v}


def next_look(state: State) -> float | None:
    """Seconds until the next ready pod becomes available; None when none is waiting for that."""
    least = int(state.daemon_set["spec"].get("minReadySeconds") or 0)
    ready = (p.ready_since(pod) for pods in state.pods.values() for pod in pods) if least else ()
    return min((t for since in ready if since is not None and (t := since + least - state.now) > 0), default=None)
