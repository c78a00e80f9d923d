"""Changes on their way to watchers: selectors, shared lines, the ring's limits."""

from __future__ import annotations

import asyncio
import json

import pytest

from kumo.api.selectors import parse_field_selector, parse_label_selector
from kumo.kubernetes.apiserver import watch_hub
from kumo.kubernetes.apiserver.entry import Entry, make_entry
from kumo.kubernetes.apiserver.matching import Match
from kumo.kubernetes.apiserver.resource_cache import ResourceCache
from kumo.kubernetes.apiserver.splice import to_stored
from kumo.kubernetes.apiserver.watch_hub import View, Watcher

pytestmark = pytest.mark.unit
RED = Match(labels=parse_label_selector("color=red"))


def entry(name: str, revision: int, node: str = "", **labels: str) -> Entry:
    obj = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": {"nodeName": node}}
    return make_entry("ns", name, revision, to_stored(obj))


def cache() -> ResourceCache:
    made = ResourceCache("", "pods", 0)
    made.selectable_fields = lambda obj: {"spec.nodeName": obj["spec"].get("nodeName", "")}
    return made


def lines(data: bytes) -> list[tuple[str, str]]:
    events = [json.loads(line) for line in data.splitlines()]
    return [(e["type"], e["object"]["metadata"]["name"]) for e in events]


async def test_begin_and_end_of_match() -> None:
    pods, watcher = cache(), Watcher()
    pods.hub.join(watcher, RED, View())
    pods.put(entry("a", 1, color="blue"))
    pods.put(entry("a", 2, color="red"))
    pods.put(entry("a", 3, color="red", x="y"))
    pods.put(entry("a", 4, color="blue"))
    pods.put(entry("b", 5, color="red"))
    pods.delete("ns", "b", 6)
    pods.delete("ns", "a", 7)
    data = await watcher.take(1)
    assert lines(data) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "b"), ("DELETED", "b")]
    gone = json.loads(data.splitlines()[2])["object"]["metadata"]
    assert gone["resourceVersion"] == "4" and gone["labels"]["color"] == "red"
    assert pods.hub.since(0, RED, View()) == [line + b"\n" for line in data.splitlines()]
    watcher.leave()


async def test_lines_are_shared() -> None:
    pods, one, two = cache(), Watcher(), Watcher()
    pods.hub.join(one, RED, View())
    pods.hub.join(two, Match(namespace="ns"), View())
    pods.put(entry("a", 1, color="red"))
    assert await one.take(1) is await two.take(1)


async def test_groups_of_a_field_are_asked_only_for_its_value() -> None:
    pods = cache()
    asked: list[str] = []
    watchers = {}
    for node in ("n1", "n2"):
        match = Match(fields=parse_field_selector(f"spec.nodeName={node}"))
        watchers[node] = Watcher()
        pods.hub.join(watchers[node], match, View(node, lambda e, node=node: asked.append(node) or e.raw))  # type: ignore[misc,func-returns-value]
    pods.put(entry("a", 1))
    pods.put(entry("a", 2, node="n1"))
    pods.put(entry("b", 3, node="n2"))
    assert lines(await watchers["n1"].take(1)) == [("ADDED", "a")]
    assert lines(await watchers["n2"].take(1)) == [("ADDED", "b")]
    assert asked == ["n1", "n2"]


async def test_the_ring_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_hub, "RING_EVENTS", 3)
    pods = cache()
    for revision in range(1, 6):
        pods.put(entry("a", revision))
    assert pods.hub.oldest == 2
    assert pods.hub.since(1, Match(), View()) is None
    assert len(pods.hub.since(2, Match(), View()) or ()) == 3
    assert pods.hub.since(5, Match(), View()) == []


async def test_a_full_watcher_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_hub, "WATCHER_EVENTS", 2)
    pods, watcher = cache(), Watcher()
    pods.hub.join(watcher, Match(), View())
    for revision in range(1, 5):
        pods.put(entry("a", revision))
    assert watcher.closed
    assert await watcher.take(1) == b""
    pods.hub.leave(watcher, Match(), View())
    assert len(pods.hub) == 0


async def test_take_waits_no_longer_than_told() -> None:
    watcher = Watcher()
    async with asyncio.timeout(2):
        assert await watcher.take(0.01) == b""


async def test_who_wants_one_value_of_a_label_is_told_of_its_beginning_and_end_only() -> None:
    pods = cache()
    watchers = {value: Watcher() for value in ("red", "blue", "", "none")}
    for value, watcher in watchers.items():
        pods.hub.join(watcher, Match(labels=parse_label_selector(f"color={value}")), View())
    pods.put(entry("a", 1, color="red"))
    pods.put(entry("a", 2, color="blue"))
    pods.put(entry("a", 3, color=""))
    pods.put(entry("a", 4))
    pods.put(entry("a", 5, size="red"))
    told = {value: lines(await watcher.take(0.01)) for value, watcher in watchers.items()}
    once = [("ADDED", "a"), ("DELETED", "a")]
    assert told == {"red": once, "blue": once, "": once, "none": []}
    for value, watcher in watchers.items():
        pods.hub.leave(watcher, Match(labels=parse_label_selector(f"color={value}")), View())
    assert not pods.hub._filed_fields and not pods.hub._by_field
