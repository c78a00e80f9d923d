"""A kubelet's page `/metrics/resource`, read: Prometheus' text format, of ours and of upstream's kubelets. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from kumo.kubernetes.metrics_server.points import Point

_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
_NODE = {"node_cpu_usage_seconds_total": "cpu", "node_memory_working_set_bytes": "memory"}
_CONTAINER = {
    "container_cpu_usage_seconds_total": "cpu",
    "container_memory_working_set_bytes": "memory",
    "container_start_time_seconds": "started",
}
ContainerKey = tuple[str, str, str]
"""Namespace, pod, container."""


@dataclass(slots=True)
class _Found:
    """The numbers of one thing, as far as they have been met."""

    cpu: float | None = None
    memory: float | None = None
    started: float = 0.0
    at: float | None = None

    def point(self, now: float) -> Point | None:
        """The point, unless a number is missing or the processor time is none."""
        if self.cpu is None or self.memory is None:
            return None
        at = now if self.at is None else self.at
        return Point(at, self.started, int(self.cpu * 1e9), int(self.memory))


@dataclass(frozen=True, slots=True)
class Page:
    """What a node said."""

    node: Point | None
    containers: dict[ContainerKey, Point] = field(default_factory=dict)


def read(text: str, now: float) -> Page:
    """The points of a page; lines that can't be read are passed over. `now` stands for missing timestamps."""
    node = _Found()
    containers: dict[ContainerKey, _Found] = {}
    for line in text.splitlines():
        if line.startswith(("#", "pod_", "scrape", "resource_")) or not line:
            continue
        name, brace, rest = line.partition("{")
        if brace:
            labels_text, _, rest = rest.rpartition("}")
            what = _CONTAINER.get(name)
            if what is None:
                continue
            labels = dict(_LABEL.findall(labels_text))
            key = tuple(_plain(labels.get(part, "")) for part in ("namespace", "pod", "container"))
            found = containers.setdefault((key[0], key[1], key[2]), _Found())
        else:
            name, _, rest = line.partition(" ")
            what = _NODE.get(name)
            if what is None:
                continue
            found = node
        _put(found, what, rest.split())
    points = {key: f.point(now) for key, f in containers.items()}
    return Page(node.point(now), {key: point for key, point in points.items() if point is not None})


def _put(found: _Found, what: str, words: list[str]) -> None:
    try:
        value = float(words[0])
        at = float(words[1]) / 1000 if len(words) > 1 else None
    except (ValueError, IndexError):
        return
    if not (0 <= value < float("inf")):
        return
    setattr(found, what, value)
    if what == "cpu":
        found.at = at


def _plain(text: str) -> str:
    if "\\" not in text:
        return text
    return _ESCAPED.sub(lambda m: "\n" if m[1] == "n" else m[1], text)
