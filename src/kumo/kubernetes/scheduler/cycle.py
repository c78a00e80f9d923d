"""One attempt to schedule a pod: the pod, the world, and what each plugin worked out about them beforehand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from kumo.kubernetes.scheduler.nodes import PodInfo
from kumo.kubernetes.scheduler.world import World


class Refusal(NamedTuple):
    """Why a node won't do (or, from before any node is looked at, none will), and which plugin says so.

    A `final` one would stay if every other pod left the node: preemption can't help.
    """

    reasons: tuple[str, ...]
    plugin: str
    final: bool = False


class CycleError(Exception):
    """Something that should not be keeps the pod from being judged (upstream's status `Error`)."""


class State(Protocol):
    """What a plugin keeps for the cycle and changes when pods come and go in trials."""

    def clone(self) -> State:
        """A copy that can be changed without touching this one."""
        ...


@dataclass(slots=True)
class Cycle:
    """`states` by plugin name; `skipped` plugins have nothing to say about the pod."""

    pod: PodInfo
    world: World
    states: dict[str, Any] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)

    def trial(self) -> Cycle:
        """A copy for a trial with other pods than there are."""
        states = {name: state.clone() if hasattr(state, "clone") else state for name, state in self.states.items()}
        return Cycle(self.pod, self.world, states, self.skipped)
