"""Settings of containers' groups on version 2: the table of singleProcessOOMKill and memorySwap."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.host.cgroups import Cgroups
from kumo.kubernetes.kubelet.machine import swap_of
from kumo.kubernetes.kubelet.unified import MemoryPolicy, NodeMemory, group_settings, unresizable

pytestmark = pytest.mark.unit
GI = 1 << 30
NODE = NodeMemory(memory=8 * GI, swap=4 * GI, counts_swap=True)
LIMITED = MemoryPolicy(limited_swap=True)
HALF: dict[str, Any] = {"requests": {"memory": "4Gi"}}
EQUAL: dict[str, Any] = {"requests": {"memory": "1Gi"}, "limits": {"memory": "1Gi"}}
GUARANTEED: dict[str, Any] = {"requests": {"memory": "1Gi", "cpu": "1"}, "limits": {"memory": "1Gi", "cpu": "1"}}


def pod(resources: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "namespace": "default", "uid": "u"},
        "spec": {"containers": [{"name": "c", "resources": resources}], **spec},
    }


def settings(made: dict[str, Any], policy: MemoryPolicy, node: NodeMemory = NODE) -> dict[str, str]:
    return group_settings(made, made["spec"]["containers"][0], policy, node)


@pytest.mark.parametrize(
    ("policy", "counts_swap", "wanted"),
    [
        (MemoryPolicy(), True, {"memory.oom.group": "1", "memory.swap.max": "0"}),
        (MemoryPolicy(), False, {"memory.oom.group": "1"}),
        (MemoryPolicy(single_kill=True), True, {"memory.swap.max": "0"}),
        (MemoryPolicy(single_kill=True), False, {}),
        (LIMITED, False, {"memory.oom.group": "1"}),
    ],
)
def test_what_is_written(policy: MemoryPolicy, counts_swap: bool, wanted: dict[str, str]) -> None:
    assert settings(pod(HALF), policy, NodeMemory(8 * GI, 4 * GI, counts_swap)) == wanted


@pytest.mark.parametrize(
    ("resources", "spec", "wanted"),
    [
        (HALF, {}, 2 * GI),
        ({"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}}, {}, GI // 2),
        ({"limits": {"memory": "2Gi"}}, {}, 0),  # asks for none: its share is none
        ({"requests": {"memory": "9Gi"}}, {}, 0),  # more than there is
        (HALF, {"priority": 2_000_000_000}, 0),
        (EQUAL, {}, 0),
        (GUARANTEED, {}, 0),
        ({}, {}, 0),
        ({"requests": {"cpu": "1"}}, {}, 0),
    ],
)
def test_a_burstable_container_may_swap_its_share(resources: dict[str, Any], spec: dict[str, Any], wanted: int) -> None:
    assert settings(pod(resources, **spec), LIMITED)["memory.swap.max"] == str(wanted)
    assert settings(pod(resources, **spec), MemoryPolicy())["memory.swap.max"] == "0"


def test_a_node_without_memory_is_none_of_ours() -> None:
    assert settings(pod(HALF), LIMITED, NodeMemory(0, GI, counts_swap=True))["memory.swap.max"] == "0"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("MemTotal: 8 kB\nSwapTotal:       2048 kB\nSwapFree: 1 kB\n", 2 << 20), ("MemTotal: 8 kB\n", 0), ("", 0)],
)
def test_swap_space(text: str, wanted: int) -> None:
    assert swap_of(text) == wanted


def test_swap_counts_where_the_kernel_has_the_file(tmp_path: Any) -> None:
    (tmp_path / "kumo-1/pod1").mkdir(parents=True)
    file = tmp_path / "kumo-1/pod1/memory.swap.max"
    file.write_text("max\n")
    assert not Cgroups(tmp_path).counts_swap("/kumo-1/pod1")  # version 1
    (tmp_path / "cgroup.controllers").write_text("memory\n")
    assert Cgroups(tmp_path).counts_swap("/kumo-1/pod1")
    file.unlink()
    assert not Cgroups(tmp_path).counts_swap("/kumo-1/pod1")


def pair(
    before: dict[str, Any], after: dict[str, Any], kind: str = "containers", **own: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    made = []
    for resources in (before, after):
        one = pod({"requests": {"cpu": "1"}})
        one["spec"][kind] = [{"name": "x", "resources": resources, **own}]
        one["spec"].setdefault("containers", [])
        made.append(one)
    return made[0], made[1]


ASKS, ASKS_MORE = {"requests": {"memory": "1Gi"}}, {"requests": {"memory": "2Gi"}}
AGAIN = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
RUNS_ON = [{"resourceName": "memory", "restartPolicy": "NotRequired"}]


@pytest.mark.parametrize(
    ("pods", "refused"),
    [
        (pair(ASKS, ASKS_MORE), True),
        (pair(ASKS, ASKS_MORE, "initContainers", restartPolicy="Always"), True),
        (pair(ASKS, ASKS_MORE, resizePolicy=RUNS_ON), True),
        (pair(EQUAL, {"requests": {"memory": "512Mi"}, "limits": {"memory": "1Gi"}}), True),
        (pair(ASKS, ASKS_MORE, resizePolicy=AGAIN), False),
        (pair(ASKS, {"requests": {"memory": "1024Mi", "cpu": "2"}}), False),
        (pair(EQUAL, {"requests": {"memory": "2Gi"}, "limits": {"memory": "2Gi"}}), False),
    ],
)
def test_a_share_of_swap_is_not_resized(pods: tuple[dict[str, Any], dict[str, Any]], refused: bool) -> None:
    wanted = "In-place resize of containers with swap is not supported." if refused else ""
    assert unresizable(*pods, LIMITED) == wanted
    assert unresizable(*pods, MemoryPolicy()) == ""
