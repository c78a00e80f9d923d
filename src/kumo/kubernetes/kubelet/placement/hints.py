"""The Topology Manager's decision: what several resources would like becomes one NUMA affinity, or a refusal. Pure.

A hint is a set of NUMA nodes, written as the bits of a number, and whether it is as good as can be. Upstream:
`pkg/kubelet/cm/topologymanager`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import NamedTuple

NONE, BEST_EFFORT, RESTRICTED, SINGLE_NODE = "none", "best-effort", "restricted", "single-numa-node"
POLICIES = (NONE, BEST_EFFORT, RESTRICTED, SINGLE_NODE)
CONTAINER, POD = "container", "pod"
SCOPES = (CONTAINER, POD)
MOST_NODES = 8
"""So many NUMA nodes a machine may have unless an option allows more: the permutations are many."""


class Hint(NamedTuple):
    """Nodes (None: anywhere), and whether nothing narrower would do."""

    mask: int | None
    preferred: bool


Wishes = Mapping[str, Sequence[Hint] | None]
"""Resource -> its possible hints; None: it does not matter; none: it can't be had."""
ANYWHERE = Hint(None, True)


@dataclass(frozen=True, slots=True)
class TopologyOptions:
    """`topologyManagerPolicyOptions`."""

    prefer_closest: bool = False
    most_nodes: int = MOST_NODES


def mask_of(nodes: Iterable[int]) -> int:
    """The nodes as bits."""
    return sum(1 << n for n in set(nodes))


def nodes_of(mask: int) -> list[int]:
    """The nodes of a mask, in order."""
    return [n for n in range(mask.bit_length()) if mask >> n & 1]


def masks(nodes: Iterable[int]) -> Iterator[int]:
    """Every set of these nodes, the small ones first."""
    ordered = sorted(nodes)
    for size in range(1, len(ordered) + 1):
        for chosen in combinations(ordered, size):
            yield mask_of(chosen)


def preferred(found: Iterable[int], smallest: int) -> list[Hint]:
    """The masks as hints; those of the smallest size are preferred."""
    return [Hint(mask, mask.bit_count() == smallest) for mask in found]


@dataclass(frozen=True, slots=True)
class Merger:
    """One policy on one machine; `distances` of each node to all, for the option `prefer-closest-numa-nodes`."""

    policy: str
    nodes: tuple[int, ...]
    options: TopologyOptions = TopologyOptions()
    distances: Mapping[int, Sequence[int]] = field(default_factory=dict)

    def merge(self, wishes: Iterable[Wishes | None]) -> tuple[Hint, bool]:
        """The best affinity for all, and whether the policy takes it."""
        lists = [hints for provider in wishes for hints in _choices(provider)]
        whole = mask_of(self.nodes)
        if self.policy == SINGLE_NODE:
            lists = [[h for h in hints if _is_single(h)] for hints in lists]
        best = self._best(lists, whole)
        if self.policy == SINGLE_NODE and best.mask == whole:
            best = Hint(None, best.preferred)
        return best, best.preferred or self.policy not in (RESTRICTED, SINGLE_NODE)

    def _best(self, lists: Sequence[Sequence[Hint]], whole: int) -> Hint:
        narrowest = [min((h.mask for h in hints if h.mask is not None), key=_width, default=None) for hints in lists]
        goal = max((mask.bit_count() for mask in narrowest if mask is not None), default=0)
        found = [hint for hint in _combined(lists, whole) if hint.mask]
        return min(found, key=lambda hint: self._rank(hint, goal), default=Hint(whole, False))

    def _rank(self, hint: Hint, goal: int) -> tuple[float, ...]:
        """Preferred ones first, the narrowest; of the others those as wide as the neediest resource has to be."""
        mask = hint.mask or 0
        width = mask.bit_count()
        distance = self._distance(mask) if self.options.prefer_closest and self.policy != SINGLE_NODE else 0
        if hint.preferred:
            return (0, width, distance, mask)
        if width == goal:
            return (1, 0, distance, mask)
        return (2, -width, distance, mask) if width < goal else (3, width, distance, mask)

    def _distance(self, mask: int) -> float:
        nodes = nodes_of(mask)
        order = {node: i for i, node in enumerate(self.nodes)}
        return sum(self.distances[a][order[b]] for a in nodes for b in nodes) / len(nodes) ** 2


def _width(mask: int) -> tuple[int, int]:
    return mask.bit_count(), mask


def _choices(provider: Wishes | None) -> list[Sequence[Hint]]:
    if not provider:
        return [[ANYWHERE]]
    return [[ANYWHERE] if hints is None else hints or [Hint(None, False)] for hints in provider.values()]


def _is_single(hint: Hint) -> bool:
    return hint.preferred and (hint.mask is None or hint.mask.bit_count() == 1)


def _combined(lists: Sequence[Sequence[Hint]], whole: int) -> set[Hint]:
    """What the nodes are that one hint of each list allows, for every choice; preferred if all are and agree.

    Choices that come to the same are followed once: there are few, however many lists and nodes there are.
    """
    found: set[tuple[int, int | None, bool]] = {(whole, None, True)}
    for hints in lists:
        found = {_joined(state, hint) for state in found for hint in hints}
    return {Hint(mask, fine) for mask, _, fine in found}


def _joined(state: tuple[int, int | None, bool], hint: Hint) -> tuple[int, int | None, bool]:
    mask, agreed, fine = state
    if hint.mask is None:
        return (mask, agreed, True) if fine and hint.preferred else (mask, None, False)
    fine = fine and hint.preferred and agreed in (None, hint.mask)
    return mask & hint.mask, hint.mask if fine else None, fine
