"""The last two looks at each node and container, and the usage between them. Pure.

The rules are metrics-server's: memory is the last look's, processors are the mean between the two; a container that
started since the look before counts from its start, once it has run for ten seconds; a pod is told of when all its
containers are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

FRESH = 10.0
"""Seconds that a container must have run before its start counts as a look."""
Key = tuple[str, str, str]


class Point(NamedTuple):
    """One look: when (seconds), since when it runs, processor time (ns), memory (bytes)."""

    at: float
    started: float
    cpu: int
    memory: int


class Usage(NamedTuple):
    """What something uses: billionths of a processor and bytes, over `window` seconds that ended `at`."""

    at: float
    window: float
    cpu: int
    memory: int


class Pair(NamedTuple):
    """The last look and the one before, if there is one to measure from."""

    last: Point
    before: Point | None


def follow(known: Pair | None, new: Point, resolution: float) -> Pair:
    """What is known after one more look; `resolution` is the time between looks, in seconds."""
    age = new.at - new.started
    if new.started and FRESH <= age < resolution:
        return Pair(new, Point(new.started, new.started, 0, 0))
    if known is None:
        return Pair(new, None)
    if new.at <= known.last.at:
        return known
    return Pair(new, known.last)


def usage(pair: Pair) -> Usage | None:
    """The usage, None when there is nothing to measure from or the counter began anew."""
    last, before = pair
    if before is None or last.cpu < before.cpu or last.at <= before.at or last.started > before.at + 1e-6:
        return None
    window = last.at - before.at
    return Usage(last.at, window, int((last.cpu - before.cpu) / window), last.memory)


class NodePoints:
    """All that is known from one node."""

    def __init__(self) -> None:
        self.node: Pair | None = None
        self._containers: dict[Key, Pair] = {}

    def store(self, node: Point | None, containers: Mapping[Key, Point], resolution: float) -> None:
        """Take in one page. What it no longer has is forgotten."""
        if node is not None:
            self.node = follow(self.node, node, resolution)
        old = self._containers
        self._containers = {key: follow(old.get(key), point, resolution) for key, point in containers.items()}

    def pods(self) -> Iterable[tuple[str, str]]:
        """Namespace and name of each pod that the node told of."""
        return {(namespace, pod) for namespace, pod, _ in self._containers}

    def by_pod(self) -> dict[tuple[str, str], dict[str, Usage | None]]:
        """The usage of each pod's containers; None for one that can't be told of yet."""
        found: dict[tuple[str, str], dict[str, Usage | None]] = {}
        for (namespace, pod, container), pair in self._containers.items():
            found.setdefault((namespace, pod), {})[container] = usage(pair)
        return found
