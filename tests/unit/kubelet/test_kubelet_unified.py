"""Settings of containers' groups on version 2: the table of singleProcessOOMKill and memorySwap."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.host.cgroups import Cgroups
from kumo.kubernetes.kubelet.machine import swap_of
from kumo.kubernetes.kubelet.unified import MemoryPolicy, NodeMemory, group_settings

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
