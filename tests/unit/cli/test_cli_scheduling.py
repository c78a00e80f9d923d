"""`kumo up --scheduler-config` remembers a checked file; `kumo hollow-node` says which option it can't understand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kumo.cli import scheduling
from kumo.cli.hollow_node import configuration
from kumo.cli.instance import Instance, InstanceError

pytestmark = pytest.mark.unit
GOOD = (
    "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles: [{schedulerName: mine}]\n"
)
SHAPE: dict[str, Any] = {
    "count": 2,
    "name_prefix": "n",
    "first": 5,
    "cpu": "4",
    "memory": "8Gi",
    "pods": "110",
    "ephemeral_storage": "1Gi",
    "resources": (),
    "labels": (),
    "taints": (),
    "run_seconds": None,
}


def keep(root: Path, given: str) -> None:
    scheduling.keep(root, {"scheduler_config": given})


def profiles(root: Path) -> list[str]:
    instance = cast("Instance", SimpleNamespace(root=root))
    return [p.name for p in scheduling.scheduling(instance).configuration.profiles]


def test_cli_scheduler_configuration_is_kept_until_it_is_given_up(tmp_path: Path) -> None:
    file, root = tmp_path / "mine.yaml", tmp_path / "root"
    assert profiles(root) == ["default-scheduler"]
    file.write_text(GOOD)
    keep(root, str(file))
    file.unlink()
    keep(root, "")
    assert profiles(root) == ["mine"]
    keep(root, "none")
    assert profiles(root) == ["default-scheduler"]


def test_cli_scheduler_configuration_that_is_wrong_changes_nothing(tmp_path: Path) -> None:
    file, root = tmp_path / "mine.yaml", tmp_path / "root"
    for text, message in (("profiles: [", "is not YAML"), (GOOD + "more: 1\n", 'unknown field "more"')):
        file.write_text(text)
        with pytest.raises(InstanceError, match=message):
            keep(root, str(file))
    with pytest.raises(InstanceError, match="can't be read"):
        keep(root, str(tmp_path / "missing"))
    root.mkdir()
    (root / scheduling.FILE).write_text("[]")
    with pytest.raises(InstanceError, match="To fix it: correct or remove"):
        profiles(root)


def test_cli_hollow_node_options() -> None:
    given = {"resources": ("example.com/gpu=2",), "labels": ("zone=a,b",), "taints": ("k=v:NoSchedule", "x:NoExecute")}
    found = configuration({**SHAPE, **given})
    assert found.names() == ["n5", "n6"] and found.capacity["example.com/gpu"] == "2"
    assert found.labels == {"zone": ("a", "b")}
    assert found.taints == ({"key": "k", "value": "v", "effect": "NoSchedule"}, {"key": "x", "effect": "NoExecute"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cpu": "many"}, "cpu 'many' is no quantity"),
        ({"memory": "-1"}, "it is negative"),
        ({"labels": ("zone",)}, "--label 'zone' is not NAME=VALUE"),
        ({"resources": ("=1",)}, "--resource '=1' is not NAME=VALUE"),
        ({"taints": ("k:Never",)}, "--taint 'k:Never' is not KEY"),
        ({"taints": (":NoSchedule",)}, "is not KEY"),
    ],
)
def test_cli_hollow_node_says_what_it_does_not_understand(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InstanceError, match=message.replace("[", r"\[")):
        configuration({**SHAPE, **given})
