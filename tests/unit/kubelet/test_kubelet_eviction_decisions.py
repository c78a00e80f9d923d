"""Who is evicted for what, and what is said of it; which images go."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api.objects import Object
from kumo.kubernetes.kubelet.eviction.manager import usages_of
from kumo.kubernetes.kubelet.eviction.ranking import Usage, has_limits, limit_message, node_message, pod_limit, ranked
from kumo.kubernetes.kubelet.eviction.thresholds import (
    DEFAULT,
    BadThreshold,
    Observation,
    Threshold,
    met,
    parse,
    pressures,
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
    found = parse({"memory.available": "100Mi", "nodefs.available": "10%", "pid.available": "0"})
    assert found == (
        Threshold("memory.available", "100Mi"),
        Threshold("allocatableMemory.available", "100Mi"),
        Threshold("nodefs.available", "10%"),
    )
    assert len(parse(DEFAULT)) == 6
    seen = {"memory.available": Observation(99 * MI, 1000 * MI), "nodefs.available": Observation(10, 100)}
    assert met(found, seen) == [found[0]]
    assert met(found, seen | {"nodefs.available": Observation(9, 100)}) == [found[0], found[2]]
    assert met(found, {"allocatableMemory.available": Observation(1, 2)}) == [found[1]]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"memory": "1Gi"}, 'there is no eviction signal "memory"'),
        ({"memory.available": "much"}, '"much" is no threshold for memory.available'),
        ({"nodefs.available": "x%"}, '"x%" is no threshold'),
        ({"nodefs.available": "101%"}, '"101%" is no threshold'),
    ],
)
def test_bad_thresholds(given: dict[str, str], text: str) -> None:
    with pytest.raises(BadThreshold, match=text):
        parse(given)


def test_pressure_outlasts_its_cause() -> None:
    threshold = Threshold("nodefs.inodesFree", "5%")
    held = pressures(100.0, [threshold], {"MemoryPressure": 50.0}, 60.0)
    assert held == {"MemoryPressure": 50.0, "DiskPressure": 100.0}
    assert pressures(120.0, [], held, 60.0) == {"DiskPressure": 100.0}
    assert pressures(160.0, [], held, 60.0) == {}


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
