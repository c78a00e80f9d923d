"""What the node's own driver lets be asked of it, in tables."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.host.csi.errors import CsiError
from kumo.host.csi.stubs import csi_pb2 as pb
from kumo.kubernetes.local_csi import records, requests
from kumo.kubernetes.local_csi.backing import Abilities, default_kind
from kumo.kubernetes.local_csi.config import TOPOLOGY
from kumo.kubernetes.local_csi.records import SnapshotRecord, Source, VolumeRecord

pytestmark = pytest.mark.unit
MIB, GIB = 1 << 20, 1 << 30
ALL = Abilities(images=True, kinds=frozenset(("ext2", "ext3", "ext4", "xfs")), grows_ext=True)
NO_XFS = Abilities(images=True, kinds=frozenset(("ext4",)), grows_ext=True)
POOR = Abilities(images=False, kinds=frozenset(), grows_ext=True)


def use(mode: str = "SINGLE_NODE_WRITER", *, block: bool = False, fs_type: str = "") -> Any:
    made = pb.VolumeCapability()
    made.access_mode.mode = pb.VolumeCapability.AccessMode.Mode.Value(mode)
    if block:
        made.block.SetInParent()
    else:
        made.mount.fs_type = fs_type
    return made


@pytest.mark.parametrize(
    ("given", "required", "limit", "size"),
    [
        (False, 0, 0, GIB),
        (True, 0, 0, GIB),
        (True, 1, 0, 4 * MIB),
        (True, 5 * MIB, 0, 5 * MIB),
        (True, 5 * MIB + 1, 0, 6 * MIB),
        (True, 0, 10 * MIB, 10 * MIB),
        (True, 5 * MIB, 5 * MIB, 5 * MIB),
        (True, 0, 5 * MIB + 5, 5 * MIB),
        (True, 2 * GIB, 0, 2 * GIB),
    ],
)
def test_local_csi_sizes(given: bool, required: int, limit: int, size: int) -> None:
    assert requests.size_wanted(given, required, limit) == size


@pytest.mark.parametrize(
    ("required", "limit", "code"),
    [
        (2, 1, "INVALID_ARGUMENT"),
        (-1, 0, "INVALID_ARGUMENT"),
        (0, -1, "INVALID_ARGUMENT"),
        (0, MIB, "OUT_OF_RANGE"),
        (5 * MIB + 1, 5 * MIB + 2, "OUT_OF_RANGE"),
        (1 << 60, 0, "OUT_OF_RANGE"),
    ],
)
def test_local_csi_sizes_that_can_t_be(required: int, limit: int, code: str) -> None:
    with pytest.raises(CsiError) as refusal:
        requests.size_wanted(True, required, limit)
    assert refusal.value.code == code


@pytest.mark.parametrize(
    ("capability", "why"),
    [
        (use(), ""),
        (use("SINGLE_NODE_MULTI_WRITER", block=True), ""),
        (use(fs_type="xfs"), ""),
        (use(fs_type="zfs"), "file system zfs is not supported"),
        (
            use("MULTI_NODE_MULTI_WRITER"),
            "access mode MULTI_NODE_MULTI_WRITER is not supported: a volume is on one node",
        ),
        (use("UNKNOWN"), "access mode missing"),
        (pb.VolumeCapability(), "access type missing"),
    ],
)
def test_local_csi_capabilities(capability: Any, why: str) -> None:
    assert requests.unsupported(capability) == why


@pytest.mark.parametrize(
    ("capabilities", "parameters", "mutable", "abilities", "found"),
    [
        ([use()], {}, {}, ALL, (False, "ext4", "image", "thin")),
        ([use(fs_type="ext3"), use()], {}, {}, ALL, (False, "ext3", "image", "thin")),
        ([use(block=True)], {"csi.storage.k8s.io/pvc/name": "x"}, {}, ALL, (True, "", "image", "thin")),
        ([use()], {"backing": "directory"}, {}, ALL, (False, "", "directory", "thin")),
        ([use()], {}, {"allocation": "thick"}, ALL, (False, "ext4", "image", "thick")),
        ([use()], {}, {}, POOR, (False, "", "directory", "thin")),
        ([], {}, {}, ALL, "Volume capabilities missing in request"),
        ([use(), use(block=True)], {}, {}, ALL, "a volume can't be both a block device and mounted"),
        ([use(fs_type="ext3"), use(fs_type="ext4")], {}, {}, ALL, "a volume has one file system, not ext3 and ext4"),
        ([use()], {"size": "1"}, {}, ALL, 'unknown parameter "size": there is only "backing"'),
        ([use()], {"backing": "x"}, {}, ALL, 'backing must be "image" or "directory", not "x"'),
        ([use()], {}, {"iops": "1"}, ALL, 'unknown mutable parameter "iops": there is only "allocation"'),
        ([use()], {}, {"allocation": "x"}, ALL, 'allocation must be "thin" or "thick", not "x"'),
        ([use(block=True)], {}, {}, POOR, "a directory can't be a block device"),
        (
            [use()],
            {"backing": "image"},
            {},
            POOR,
            "this node has no loop devices: only backing: directory is to be had",
        ),
        (
            [use(fs_type="xfs")],
            {},
            {},
            Abilities(True, frozenset(("ext4",)), True),
            "mkfs.xfs is not installed on this node",
        ),
    ],
)
def test_local_csi_what_a_volume_shall_be(
    capabilities: list[Any], parameters: dict[str, str], mutable: dict[str, str], abilities: Abilities, found: Any
) -> None:
    if isinstance(found, tuple):
        made = requests.wanted(capabilities, parameters, mutable, abilities, GIB)
        assert (made.block, made.fs_type, made.backing, made.allocation) == found
        return
    with pytest.raises(CsiError) as refusal:
        requests.wanted(capabilities, parameters, mutable, abilities, GIB)
    assert (refusal.value.code, refusal.value.message) == ("INVALID_ARGUMENT", found)


def test_local_csi_file_system_that_can_grow_in_use() -> None:
    stuck = Abilities(images=True, kinds=frozenset(("ext4", "xfs")), grows_ext=False)
    assert default_kind(ALL, GIB) == "ext4"
    assert default_kind(stuck, GIB) == "xfs"
    assert default_kind(stuck, 64 * MIB) == "ext4"
    assert default_kind(Abilities(True, frozenset(("ext4",)), False), GIB) == "ext4"


def test_local_csi_topology() -> None:
    requirement = pb.TopologyRequirement()
    assert requests.reachable(requirement, False, "n")
    requirement.requisite.add().segments[TOPOLOGY] = "other"
    assert not requests.reachable(requirement, True, "n")
    requirement.requisite.add().segments[TOPOLOGY] = "n"
    assert requests.reachable(requirement, True, "n")


@pytest.mark.parametrize(
    ("entries", "token", "page", "following"),
    [
        (0, "", ["a", "b", "c"], ""),
        (2, "", ["a", "b"], "after:b"),
        (2, "after:b", ["c"], ""),
        (3, "", ["a", "b", "c"], ""),
        (1, "after:aa", ["b"], "after:b"),  # what it named is gone meanwhile
    ],
)
def test_local_csi_pages(entries: int, token: str, page: list[str], following: str) -> None:
    assert requests.page(["a", "b", "c"], entries, token) == (page, following)


@pytest.mark.parametrize(("entries", "token", "code"), [(-1, "", "INVALID_ARGUMENT"), (0, "what", "ABORTED")])
def test_local_csi_pages_that_can_t_be(entries: int, token: str, code: str) -> None:
    with pytest.raises(CsiError) as refusal:
        requests.page(["a"], entries, token)
    assert refusal.value.code == code


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, ""),
        ({"required": 11 * MIB}, "it has 10485760 bytes"),
        ({"limit": 9 * MIB}, "it has 10485760 bytes"),
        ({"asked": requests.Wanted(True, "", "image", "thin")}, "it has another volume mode"),
        ({"asked": requests.Wanted(False, "xfs", "image", "thin")}, "it has another file system"),
        ({"asked": requests.Wanted(False, "ext4", "directory", "thin")}, "it has another backing"),
        ({"source": ("volume", "x")}, "it has another source"),
    ],
)
def test_local_csi_contradictions(change: dict[str, Any], why: str) -> None:
    record = VolumeRecord("i", "n", 10 * MIB, fs_type="ext4")
    asked = change.get("asked", requests.Wanted(False, "ext4", "image", "thin"))
    source = change.get("source", ("", ""))
    assert requests.contradiction(record, asked, source, change.get("required", MIB), change.get("limit", 0)) == why


def test_local_csi_records() -> None:
    volume = VolumeRecord("i@n", "v", 7, block=True, source=Source("snapshot", "s"), allocation="thick")
    assert records.decode(VolumeRecord, records.encode(volume)) == volume
    snapshot = SnapshotRecord("s", "n", "v", 7, 1.5)
    assert records.decode(SnapshotRecord, records.encode(snapshot)) == snapshot
    assert records.decode(SnapshotRecord, records.encode(snapshot).replace(b"{", b'{"new": 1,', 1)) == snapshot
    for text in (b"", b"[]", b"{}", b"null", b'{"id": 1}'):
        with pytest.raises(ValueError):
            records.decode(VolumeRecord, text)
