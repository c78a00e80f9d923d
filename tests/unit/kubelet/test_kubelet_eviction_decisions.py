"""Who is evicted for what, and what is said of it; which images go."""

from __future__ import annotations

import re
from typing import Any

import pytest

from kumo.api.objects import Object
from kumo.kubernetes.kubelet.eviction.manager import usages_of
from kumo.kubernetes.kubelet.eviction.parsing import thresholds
from kumo.kubernetes.kubelet.eviction.ranking import (
    Usage,
    has_limits,
    limit_message,
    limit_signal,
    node_message,
    pod_limit,
    ranked,
)
from kumo.kubernetes.kubelet.eviction.thresholds import (
    DEFAULT,
    Observation,
    Pressure,
    Threshold,
    advance,
    met,
    refused,
)
from kumo.kubernetes.kubelet.image_collector import KnownImage, excess, order
from kumo.kubernetes.kubelet.stats.filesystems import DiskUse

pytestmark = pytest.mark.unit
MI = 1 << 20


def pod(name: str, *, memory: str = "", priority: int = 0, disk: str = "", **spec: Any) -> Object:
    requests = {k: v for k, v in (("memory", memory), ("ephemeral-storage", disk)) if v}
    container = {"name": "c", "resources": {"requests": requests}}
    return {"metadata": {"name": name, "uid": name}, "spec": {"containers": [container], "priority": priority, **spec}}


def test_thresholds() -> None:
    found = thresholds({"memory.available": "100Mi", "nodefs.available": "10%", "pid.available": "0%"}, {}, {}, {})
    assert found == (
        Threshold("memory.available", "100Mi"),
        Threshold("nodefs.available", "10%"),
        Threshold("allocatableMemory.available", "100Mi"),
    )
    assert len(thresholds(DEFAULT, {}, {}, {})) == 6
    assert len(thresholds(DEFAULT, {}, {}, {}, of_pods=False)) == 5
    seen = {"memory.available": Observation(99 * MI, 1000 * MI), "nodefs.available": Observation(10, 100)}
    assert met(found, seen) == [found[0]]
    assert met(found, seen | {"nodefs.available": Observation(9, 100)}) == [found[0], found[1]]
    assert met(found, {"allocatableMemory.available": Observation(1, 2)}) == [found[2]]


def test_soft_thresholds() -> None:
    grace, reclaim = {"memory.available": "1m30s"}, {"memory.available": "50Mi", "nodefs.available": "5%"}
    found = thresholds({"nodefs.available": "10%"}, {"memory.available": "300Mi"}, grace, reclaim)
    assert found == (
        Threshold("nodefs.available", "10%", 0.0, "5%"),
        Threshold("memory.available", "300Mi", 90.0, "50Mi"),
    )
    assert [t.soft for t in found] == [False, True]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (({"memory": "1Gi"}, {}, {}, {}), "unsupported eviction signal memory"),
        (({"memory.available": "0"}, {}, {}, {}), "eviction threshold memory.available must be positive: 0"),
        (({"memory.available": "much"}, {}, {}, {}), "quantities must match the regular expression"),
        (({"nodefs.available": "x%"}, {}, {}, {}), 'strconv.ParseFloat: parsing "x": invalid syntax'),
        (
            ({"nodefs.available": "101%"}, {}, {}, {}),
            "eviction percentage threshold nodefs.available must be <= 100%: ",
        ),
        (
            ({"nodefs.available": "-1%"}, {}, {}, {}),
            "eviction percentage threshold nodefs.available must be >= 0%: -1%",
        ),
        (
            ({}, {"memory.available": "1Gi"}, {}, {}),
            "grace period must be specified for the soft eviction threshold memory.available",
        ),
        (({}, {}, {"memory.available": "-1s"}, {}), "invalid eviction grace period specified: -1s, must be a positive"),
        (({}, {}, {"memory.available": "1"}, {}), 'time: missing unit in duration "1"'),
        (({}, {}, {"x": "1s"}, {}), "unsupported eviction signal x"),
        (({}, {}, {}, {"pid.available": "-5"}), "negative eviction minimum reclaim specified for pid.available"),
        (
            ({}, {}, {}, {"pid.available": "0%"}),
            "eviction percentage minimum reclaim pid.available must be positive: 0%",
        ),
    ],
)
def test_bad_thresholds(given: tuple[dict[str, str], ...], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        thresholds(*given)


def test_pressure_outlasts_its_cause() -> None:
    found = (Threshold("nodefs.inodesFree", "5%"),)
    before = Pressure(held={"MemoryPressure": 50.0})
    now = advance(found, {"nodefs.inodesFree": Observation(4, 100)}, before, 100.0, 60.0)
    assert now.held == {"MemoryPressure": 50.0, "DiskPressure": 100.0}
    assert now.due == found
    now = advance(found, {"nodefs.inodesFree": Observation(5, 100)}, now, 120.0, 60.0)
    assert (now.held, now.due) == ({"DiskPressure": 100.0}, ())
    assert advance(found, {}, now, 160.0, 60.0).held == {}


def test_a_soft_threshold_is_due_after_its_grace_and_not_before() -> None:
    soft, hard = Threshold("memory.available", "300Mi", 30.0), Threshold("memory.available", "100Mi")
    little, enough = ({"memory.available": Observation(n * MI, 1000 * MI)} for n in (200, 400))
    state = advance((hard, soft), little, Pressure(), 0.0, 60.0)
    assert (state.due, list(state.held)) == ((), ["MemoryPressure"])  # the condition holds at once
    assert advance((hard, soft), little, state, 29.9, 60.0).due == ()
    late = advance((hard, soft), little, state, 30.0, 60.0)
    assert late.due == (soft,)
    state = advance((hard, soft), enough, state, 20.0, 60.0)
    state = advance((hard, soft), little, state, 25.0, 60.0)  # the grace begins anew
    assert advance((hard, soft), little, state, 54.0, 60.0).due == ()
    assert advance((hard, soft), little, state, 55.0, 60.0).due == (soft,)


def test_what_was_short_is_won_back_with_a_margin() -> None:
    found = (Threshold("nodefs.available", "10%", 0.0, "500Mi"),)

    def left(size: int) -> dict[str, Observation]:
        return {"nodefs.available": Observation(size * MI, 10000 * MI)}

    assert advance(found, left(1200), Pressure(), 0.0, 60.0).due == ()  # above the threshold: no margin counts
    state = advance(found, left(900), Pressure(), 0.0, 60.0)
    assert state.due == found
    state = advance(found, left(1499), state, 10.0, 60.0)
    assert state.due == found
    assert list(state.held) == ["DiskPressure"]
    assert advance(found, left(1500), state, 20.0, 60.0).due == ()


@pytest.mark.parametrize(
    ("conditions", "critical", "best_effort", "tolerates", "wanted"),
    [
        ([], False, True, False, False),
        (["MemoryPressure"], False, True, False, True),
        (["MemoryPressure"], False, True, True, False),
        (["MemoryPressure"], False, False, False, False),
        (["DiskPressure"], False, False, True, True),
        (["DiskPressure"], True, True, False, False),
        (["MemoryPressure", "PIDPressure"], False, False, False, True),
    ],
)
def test_who_is_not_taken(
    conditions: list[str], critical: bool, best_effort: bool, tolerates: bool, wanted: bool
) -> None:
    assert refused(conditions, critical=critical, best_effort=best_effort, tolerates_memory=tolerates) is wanted


def names(signal: str, *usages: Usage) -> list[str]:
    return [u.pod["metadata"]["name"] for u in ranked(signal, usages)]


def test_memory_is_taken_from_who_exceeds_its_request_is_least_important_and_uses_most() -> None:
    within = Usage(pod("within", memory="200Mi"), memory=150 * MI)
    over = Usage(pod("over", memory="100Mi"), memory=110 * MI)
    worse = Usage(pod("worse"), memory=50 * MI)
    important = Usage(pod("important", priority=10), memory=900 * MI)
    system = Usage(pod("system", priority=2_000_000_000), memory=900 * MI)
    assert names("memory.available", within, important, over, worse, system) == ["worse", "over", "important", "within"]


def test_disk_inodes_and_processes() -> None:
    big = Usage(pod("big", disk="1Gi"), disk=500 * MI, inodes=5, processes=1)
    small = Usage(pod("small"), disk=10 * MI, inodes=50, processes=9)
    assert names("nodefs.available", big, small) == ["small", "big"]
    assert names("imagefs.inodesFree", big, small) == ["small", "big"]
    assert names("pid.available", big, small) == ["small", "big"]


def test_messages_of_a_node_that_is_short() -> None:
    threshold, seen = Threshold("memory.available", "100Mi"), Observation(50 * MI + 4096, 1000 * MI)
    usage = Usage(pod("p", memory="10Mi"), memory=20 * MI, container_memory={"c": 20 * MI})
    assert node_message(threshold, seen, usage) == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 51204Ki. "
        "Container c was using 20Mi, request is 10Mi, has larger consumption of memory. "
    )
    within = Usage(pod("p", memory="30Mi"), memory=20 * MI, container_memory={"c": 20 * MI})
    assert node_message(threshold, seen, within).endswith("available: 51204Ki. ")
    short = node_message(Threshold("nodefs.inodesFree", "5%"), Observation(4, 100), usage)
    assert short == "The node was low on resource: inodes. Threshold quantity: 5, available: 4. "


def limited(container: str = "", volume: str = "") -> Object:
    made = pod("p", volumes=[{"name": "v", "emptyDir": {"sizeLimit": volume} if volume else {}}])
    if container:
        made["spec"]["containers"][0]["resources"]["limits"] = {"ephemeral-storage": container}
    return made


def test_what_a_limit_is_called() -> None:
    messages = [
        limit_message(limited(volume="1Mi"), {"v": 2 * MI}, {}, 0),
        limit_message(limited("1Mi"), {}, {"c": 0}, 2 * MI),
        limit_message(limited("1Mi"), {}, {"c": 2 * MI}, MI),
    ]
    assert [limit_signal(m or "") for m in messages] == [
        "emptydirfs.limit",
        "ephemeralpodfs.limit",
        "ephemeralcontainerfs.limit",
    ]


def test_limits_of_disk() -> None:
    assert not has_limits(limited())
    assert has_limits(limited(volume="1Mi"))
    assert pod_limit(limited("1Gi")) == "1Gi"
    both = limited("1Gi")
    both["spec"]["containers"] *= 2
    assert pod_limit(both) == "2Gi"
    assert limit_message(limited(volume="1Mi"), {"v": 2 * MI}, {}, 0) == (
        'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '
    )
    assert limit_message(limited(volume="1Mi"), {"v": MI}, {}, 0) is None
    assert limit_message(limited("1Mi"), {}, {"c": 0}, 2 * MI) == (
        "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. "
    )
    assert limit_message(limited("1Mi"), {}, {"c": 2 * MI}, MI) == (
        'Container c exceeded its local ephemeral storage limit "1Mi". '
    )


def test_what_the_summary_says_of_pods() -> None:
    summary = {
        "pods": [
            {
                "podRef": {"uid": "p"},
                "memory": {"workingSetBytes": 7},
                "ephemeral-storage": {"usedBytes": 60, "inodesUsed": 6},
                "process_stats": {"process_count": 3},
                "containers": [
                    {
                        "name": "c",
                        "memory": {"workingSetBytes": 5},
                        "rootfs": {"usedBytes": 10},
                        "logs": {"usedBytes": 2},
                    }
                ],
                "volume": [{"name": "v", "usedBytes": 48}, {"name": "other", "usedBytes": 1}],
            },
            {"podRef": {"uid": "unknown"}},
        ]
    }
    found = usages_of(summary, {"p": limited()})
    assert found.keys() == {"p"}
    assert found["p"].empty_dirs == {"v": 48}
    whole = found["p"].whole
    assert (whole.memory, whole.disk, whole.inodes, whole.processes) == (7, 60, 6, 3)
    assert (whole.container_memory, whole.container_disk) == ({"c": 5}, {"c": 12})


def test_images_unused_for_longest_go_first() -> None:
    known = [KnownImage("a", 1, 0.0, 50.0), KnownImage("b", 1, 10.0), KnownImage("c", 1, 5.0), KnownImage("d", 1, 95.0)]
    assert [i.id for i in order(known, {"x"}, 100.0, 10.0)] == ["c", "b", "a"]
    assert [i.id for i in order(known, {"c"}, 100.0, 0.0)] == ["b", "d", "a"]


@pytest.mark.parametrize(("available", "wanted"), [(200, 0), (160, 0), (150, 50), (100, 100)])
def test_how_much_images_have_to_free(available: int, wanted: int) -> None:
    disk = DiskUse(available=available, capacity=1000, used=0, inodes_free=0, inodes=0, inodes_used=0)
    assert excess(disk, 85.0, 80.0) == wanted
