"""Labels and taints that a Node is made with, which versions may meet, and what is said of a wrong clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from kumo.cli import node_registration
from kumo.cli.discovery import with_clock
from kumo.cli.enlisting import skew
from kumo.cli.instance import Instance, InstanceError, choose

pytestmark = pytest.mark.unit


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    return choose(tmp_path / "a", port=7000, node_name="n1")


def test_they_are_remembered_and_added_to_those_of_the_file(instance: Instance) -> None:
    given = {
        "node_labels": "disk=ssd,node.kubernetes.io/pool=a,bare=",
        "register_with_taints": "own=yes:NoExecute,x:NoSchedule",
    }
    chosen = node_registration.choose(instance, given)
    assert node_registration.choose(chosen, {}) == chosen
    chosen.node_dir.mkdir(parents=True)
    (chosen.root / "kubelet.yaml").write_text(
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
        "registerWithTaints: [{key: file, effect: NoSchedule}]\n"
    )
    labels, taints = node_registration.registration(chosen)
    assert labels == {"disk": "ssd", "node.kubernetes.io/pool": "a", "bare": ""}
    assert taints == [
        {"key": "file", "effect": "NoSchedule"},
        {"key": "own", "effect": "NoExecute", "value": "yes"},
        {"key": "x", "effect": "NoSchedule"},
    ]
    none = node_registration.choose(chosen, {"node_labels": "none", "register_with_taints": "none"})
    assert (none.node_labels, none.node_taints) == ("", "")


@pytest.mark.parametrize(
    ("option", "text", "why"),
    [
        ("node_labels", "a b=c", "--node-labels a b=c: "),
        ("node_labels", "a=b c", "--node-labels a=b c: "),
        (
            "node_labels",
            "node-role.kubernetes.io/worker=",
            "give itself the labels node-role.kubernetes.io/worker",
        ),
        ("node_labels", "node-restriction.kubernetes.io/x=y", "may not give itself the labels node-restriction"),
        ("register_with_taints", "a=b", "write KEY=VALUE:EFFECT"),
        ("register_with_taints", "a=b:Never", "one of NoSchedule, PreferNoSchedule, NoExecute"),
        ("register_with_taints", ":NoSchedule", "write KEY=VALUE:EFFECT"),
        ("register_with_taints", "a=b c:NoSchedule", "--register-with-taints a=b c:NoSchedule: "),
        ("register_with_taints", "a:NoSchedule,a=b:NoSchedule", "a:NoSchedule is there twice"),
    ],
)
def test_what_can_not_be(instance: Instance, option: str, text: str, why: str) -> None:
    with pytest.raises(InstanceError, match=why):
        node_registration.choose(instance, {option: text})


@pytest.mark.parametrize(
    ("server", "own", "why"),
    [(36, 36, ""), (39, 36, ""), (36, 37, "must not be newer"), (40, 36, "at most three minor versions older")],
)
def test_versions_that_may_meet(server: int, own: int, why: str) -> None:
    assert (why in skew(server, own)) and bool(why) == bool(skew(server, own))


def test_a_certificate_of_another_time_lets_one_look_at_the_clock() -> None:
    assert "This machine's clock says" in with_clock("certificate verify failed: certificate is not yet valid")
    assert "This machine's clock says" in with_clock("certificate verify failed: certificate has expired")
    assert with_clock("connection refused") == "connection refused"
