"""Who gets which device, in upstream's words; what is written down of it; what a container gets."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from kumo.kubernetes.kubelet.devices import checkpoint
from kumo.kubernetes.kubelet.devices.ledger import Device, DeviceError, Ledger, fill
from kumo.kubernetes.kubelet.devices.manager import DeviceManager
from kumo.kubernetes.kubelet.devices.options import merge
from kumo.kubernetes.kubelet.devices.registration import check_request, clean
from kumo.kubernetes.kubelet.devices.stubs import deviceplugin_pb2 as pb

pytestmark = pytest.mark.unit
R = "example.com/thing"


def ledger(**health: bool) -> Ledger:
    made = Ledger()
    made.update(R, {i: Device(ok) for i, ok in health.items()})
    return made


def test_device_counts_follow_health_and_loss() -> None:
    found = ledger(a=True, b=True, c=False)
    assert found.counts() == ({R: 3}, {R: 2})
    found.lose(R)
    assert found.counts() == ({R: 3}, {R: 0})
    found.drop(R)
    assert found.counts() == ({}, {})
    assert not found.managed(R)


@pytest.mark.parametrize(
    ("known", "wanted", "running", "expected"),
    [
        (ledger(a=True, b=True), 2, False, 2),
        (Ledger(), 1, False, f"cannot allocate unregistered device {R}"),
        (Ledger(), 1, True, 0),
        (ledger(a=False), 1, False, f"no healthy devices present; cannot allocate unhealthy devices {R}"),
        (ledger(a=False), 1, True, 0),
    ],
)
def test_device_needed(known: Ledger, wanted: int, running: bool, expected: int | str) -> None:
    if isinstance(expected, int):
        assert known.needed("u", "c", R, wanted, running=running) == expected
    else:
        with pytest.raises(DeviceError) as error:
            known.needed("u", "c", R, wanted, running=running)
        assert str(error.value) == expected


def test_device_that_somebody_has() -> None:
    found = ledger(a=True, b=True)
    found.give("u", "c", R, ["a"], b"")
    assert found.needed("u", "c", R, 1) == 0
    assert found.free(R, 1) == ["b"]
    with pytest.raises(DeviceError, match=r"unavailable for example.com/thing\. Requested: 2, Available: 1$"):
        found.free(R, 2)
    with pytest.raises(DeviceError, match=r'pod "u" container "c" changed request for resource .* from 1 to 2'):
        found.needed("u", "c", R, 2)
    assert found.update(R, {"a": Device(False), "b": Device(True)}) == {"u"}
    assert found.update(R, {"a": Device(False), "b": Device(False)}) == set(), "nobody has b"
    found.update(R, {"b": Device(True)})
    with pytest.raises(DeviceError, match="previously allocated devices are no longer healthy"):
        found.needed("u", "c", R, 1)
    assert found.update(R, {"a": Device(True), "b": Device(True)}) == {"u"}, "it is back"


@pytest.mark.parametrize(
    ("needed", "groups", "expected"),
    [(2, (["x"], ["b", "a"], ["a", "b", "c"]), ["x", "b"]), (1, ([], ["a"]), ["a"]), (2, (["a"], ["a"]), ["a"])],
)
def test_device_choice(needed: int, groups: tuple[list[str], ...], expected: list[str]) -> None:
    assert fill(needed, *groups) == expected


def test_device_checkpoint_brings_claims_back_and_no_health(tmp_path: Path) -> None:
    found = Ledger()
    found.update(R, {"a": Device(True, (0, 1)), "b": Device(True)})
    found.give("u", "c", R, ["a", "b"], b"\x00\xff")
    checkpoint.save(tmp_path, found)
    again = checkpoint.load(tmp_path)
    assert again is not None
    assert again.claims == found.claims
    assert dict(again.claims["u"]["c"][R].devices) == {0: ("a",), 1: ("a",), -1: ("b",)}
    assert again.counts() == ({R: 0}, {R: 0})
    assert checkpoint.load(tmp_path / "none") is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"Data":{},"Checksum":1}', b'{"Data":null,"Checksum":0}'])
def test_device_checkpoint_that_is_broken_is_not_believed(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r".+"):
        checkpoint.decode(content)
    (tmp_path / checkpoint.FILE).write_bytes(content)
    assert DeviceManager(tmp_path, lambda: None, lambda uid: None).offered() == ({}, {})


def test_device_answers_of_plugins_together() -> None:
    def answer(value: str, **more: Any) -> bytes:
        device = pb.DeviceSpec(container_path="/dev/x", host_path=f"/dev/{value}", permissions="r")
        made = pb.ContainerAllocateResponse(envs={"A": value, value: "1"}, devices=[device], **more)
        return bytes(made.SerializeToString())

    found = merge(
        [answer("one"), answer("two", mounts=[pb.Mount(container_path="/m", host_path="/h", read_only=True)])]
    )
    assert found.environment == {"A": "one", "one": "1", "two": "1"}
    assert found.devices == {"/dev/x": ("/dev/one", "r")}
    assert found.mounts == {"/m": ("/h", True)}


@pytest.mark.parametrize("name", ["cpu", "kubernetes.io/x", "requests.example.com/x", "example.com/", "a/b/c", ""])
def test_device_plugin_with_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(DeviceError, match=r"is invalid$"):
        check_request("v1beta1", name)


def test_device_room_is_what_is_given_away(tmp_path: Path) -> None:
    manager = DeviceManager(tmp_path, lambda: None, lambda uid: None)
    manager.ledger.update(R, {"a": Device(True)})
    manager.ledger.give("u", "c", R, ["a"], b"")
    node: dict[str, Any] = {"status": {"allocatable": {"cpu": "1"}}}
    pod = {"metadata": {"uid": "u"}}
    assert manager.roomy(pod, node)["status"]["allocatable"] == {"cpu": "1", R: "1"}
    assert manager.roomy({"metadata": {"uid": "other"}}, node) is node
    manager.keep({"other"})
    assert not manager.ledger.claims
    assert checkpoint.load(tmp_path) is not None


def test_device_folder_loses_sockets_only(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "p.sock"))
        (tmp_path / checkpoint.FILE).write_text("{}")
        clean(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [checkpoint.FILE]
