"""How many nodes of each zone are ready, and how fast pods may be driven off those that aren't. No I/O.

As upstream's disruption modes: the more of a zone is not ready, the likelier it is that not the nodes have failed but
the way to them.
"""

from __future__ import annotations

from dataclasses import dataclass

from kumo.api.objects import Object, labels_of

EXCLUDED = "node.kubernetes.io/exclude-disruption"
"""Label of nodes that don't count."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Nodes a second that get a NoExecute taint, in each zone.

    `rate` is the usual one. Where more than two nodes and at least the share `unhealthy` are not ready, it is `slow` in
    zones of more than `large` nodes, and nothing in smaller ones.
    """

    rate: float = 0.1
    slow: float = 0.01
    large: int = 50
    unhealthy: float = 0.55

    def of(self, ready: int, unready: int) -> float:
        """The rate for a zone of so many nodes."""
        if ready and unready > 2 and unready / (ready + unready) >= self.unhealthy:
            return self.slow if ready + unready > self.large else 0.0
        return self.rate


def zone_of(node: Object) -> str:
    """The node's region and zone in one word."""
    labels = labels_of(node)
    parts = []
    for kind in ("region", "zone"):
        old = labels.get(f"failure-domain.beta.kubernetes.io/{kind}")
        parts.append(labels.get(f"topology.kubernetes.io/{kind}", "") if old is None else old)
    return "\0".join(parts) if any(parts) else ""


class Zones:
    """The books of all zones, and when each may lose its next node."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._nodes: dict[str, tuple[str, bool]] = {}
        self._counts: dict[str, list[int]] = {}
        self._next: dict[str, float] = {}

    @property
    def any_ready(self) -> bool:
        """Whether any node at all is ready; while none is, nothing is evicted."""
        return any(ready for ready, _ in self._counts.values())

    def note(self, name: str, zone: str, ready: bool | None) -> bool:
        """Enter a node's state, or that it is no more (None); whether evictions go faster, slower or again after it."""
        if self._nodes.get(name) == (None if ready is None else (zone, ready)):
            return False
        zones = {zone} | ({self._nodes[name][0]} if name in self._nodes else set())
        before = [self.any_ready, *(self._rate(z) for z in sorted(zones))]
        if name in self._nodes:
            old_zone, was = self._nodes.pop(name)
            self._counts[old_zone][not was] -= 1
            if not any(self._counts[old_zone]):
                del self._counts[old_zone]
        if ready is not None:
            self._nodes[name] = (zone, ready)
            self._counts.setdefault(zone, [0, 0])[not ready] += 1
        return before != [self.any_ready, *(self._rate(z) for z in sorted(zones))]

    def _rate(self, zone: str) -> float:
        return self._pace.of(*self._counts.get(zone, (0, 0)))

    def wait(self, zone: str, now: float) -> float | None:
        """Seconds until a node of the zone may be tainted, zero or less if now; None while none may."""
        return self._next.get(zone, now) - now if self._rate(zone) else None

    def took(self, zone: str, now: float) -> None:
        """A node of the zone was tainted."""
        rate = self._rate(zone)
        self._next[zone] = now + (1 / rate if rate else 0.0)
