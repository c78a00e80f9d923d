"""Counts over all pods that are kept up as pods come and go: the same as counting all of them anew each time."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from kumo.api.objects import Object
from kumo.kubernetes.scheduler.cache import Cache
from kumo.kubernetes.scheduler.decision import Verdict, look, score
from kumo.kubernetes.scheduler.nodes import PodInfo
from kumo.kubernetes.scheduler.profile import default_profile
from kumo.kubernetes.scheduler.tallies import MOST
from kumo.kubernetes.scheduler.world import World

pytestmark = pytest.mark.unit
PROFILE = default_profile()
HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"


def node(dice: Random, index: int) -> Object:
    labels = {HOST: f"n{index}"} | ({ZONE: dice.choice(("x", "y", ""))} if dice.random() < 0.8 else {})
    allocatable = {"cpu": "4", "memory": "8Gi", "pods": "20"}
    return {
        "metadata": {"name": f"n{index}", "uid": f"n{index}", "labels": labels},
        "status": {"allocatable": allocatable},
    }


def term(dice: Random, *, spaces: bool) -> dict[str, Any]:
    made: dict[str, Any] = {
        "topologyKey": dice.choice((HOST, ZONE, ZONE, "nowhere")),
        "labelSelector": dice.choice(({"matchLabels": {"app": dice.choice("ab")}}, {})),
    }
    if dice.random() < 0.2:
        made["namespaces"] = ["other"]
    if spaces and dice.random() < 0.3:
        made["namespaceSelector"] = {"matchLabels": {"team": "red"}}
    return made


def template(dice: Random, *, spaces: bool) -> Object:
    affinity: dict[str, Any] = {}
    for kind in ("podAffinity", "podAntiAffinity"):
        terms: dict[str, Any] = {}
        if dice.random() < 0.3:
            terms["requiredDuringSchedulingIgnoredDuringExecution"] = [term(dice, spaces=spaces)]
        if dice.random() < 0.3:
            weighted = {"weight": dice.randint(1, 100), "podAffinityTerm": term(dice, spaces=spaces)}
            terms["preferredDuringSchedulingIgnoredDuringExecution"] = [weighted]
        affinity[kind] = terms
    meta = {"namespace": dice.choice(("default", "other")), "labels": {"app": dice.choice("ab")}}
    return {"metadata": meta, "spec": {"containers": [{"name": "c"}], "affinity": affinity}}


def named(pod: Object, name: str, where: str = "") -> Object:
    spec = {**pod["spec"], "nodeName": where} if where else pod["spec"]
    return {"metadata": {**pod["metadata"], "name": name, "uid": name}, "spec": spec}


def shown(found: Verdict) -> tuple[Any, ...]:
    names = [n.name for n in found.feasible]
    return names, found.refusals, score(found.cycle, PROFILE, found.feasible) if names else []


@pytest.mark.parametrize("spaces", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_decisions_are_those_of_a_cache_that_was_made_just_now(seed: int, spaces: bool) -> None:
    dice = Random(seed)
    cache, teams = Cache(), {"default": "red", "other": "blue"}
    templates = [template(dice, spaces=spaces) for _ in range(5)]
    nodes = {i: node(dice, i) for i in range(6)}
    pods: dict[str, Object] = {}

    def world(of: Cache) -> World:
        return World(of, namespace_labels=lambda name: {"team": teams[name]})

    for body in nodes.values():
        cache.set_node(body)
    for step in range(40):
        deed = dice.random()
        if deed < 0.1 and pods:
            cache.remove_pod(pods.pop(dice.choice(sorted(pods)))["metadata"]["uid"])
        elif deed < 0.2:
            index = dice.randrange(6)
            nodes[index] = node(dice, index)
            cache.set_node(nodes[index])
        elif deed < 0.25:
            teams[dice.choice(sorted(teams))] = dice.choice(("red", "blue"))
        fresh = Cache()
        for body in sorted(nodes.values(), key=lambda n: list(cache.nodes).index(n["metadata"]["name"])):
            fresh.set_node(body)
        for body in pods.values():
            fresh.set_pod(body)
        wanted = PodInfo.of(named(dice.choice(templates), f"p{step}"))
        found = look(wanted, world(cache), PROFILE)
        assert shown(found) == shown(look(wanted, world(fresh), PROFILE))
        if found.feasible:
            where = dice.choice(found.feasible).name
            cache.assume(wanted, where)
            pods[wanted.uid] = named(wanted.pod, wanted.uid, where)
            cache.set_pod(pods[wanted.uid])


def test_few_are_kept_and_a_second_question_is_answered_without_counting() -> None:
    cache, counted = Cache(), []

    class Counting:
        def count(self, other: PodInfo, info: object, step: int) -> None:
            counted.append((other.name, step))

    dice = Random(0)
    cache.set_node(node(dice, 0))
    cache.set_pod(named(template(dice, spaces=False), "there", "n0"))
    for key in (*range(MOST), 0):
        cache.tallies.of(key, Counting(), cache.placed())
    assert counted == [("there", 1)] * MOST
    cache.tallies.of("another", Counting(), ())  # in place of 1, the one that was asked for longest ago
    counted.clear()
    cache.remove_pod("there")
    assert counted == [("there", -1)] * MOST
    cache.tallies.of(1, Counting(), [(PodInfo.of(named(template(dice, spaces=False), "new")), cache.nodes["n0"])])
    assert counted[-1] == ("new", 1)
