"""What may be asked of the driver: checks of requests, without I/O. All raise CsiError."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from kumo.host.csi.errors import CsiError, missing
from kumo.host.csi.stubs import csi_pb2 as pb
from kumo.kubernetes.local_csi.backing import GRAIN, Abilities, default_kind
from kumo.kubernetes.local_csi.config import TOPOLOGY
from kumo.kubernetes.local_csi.records import DIRECTORY, IMAGE, THICK, THIN, VolumeRecord

DEFAULT_SIZE = 1 << 30
LEAST = 4 << 20
"""Bytes: below this there is no room for a file system with a journal."""
MOST = 1 << 50
_LONGEST_NAME = 128
_MODES = pb.VolumeCapability.AccessMode
_ONE_NODE = {
    _MODES.SINGLE_NODE_WRITER,
    _MODES.SINGLE_NODE_READER_ONLY,
    _MODES.SINGLE_NODE_SINGLE_WRITER,
    _MODES.SINGLE_NODE_MULTI_WRITER,
}
_FOREIGN = "csi.storage.k8s.io/"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a new volume shall be."""

    block: bool
    fs_type: str
    backing: str
    allocation: str


def need(value: T, what: str) -> T:
    """The value, unless it is empty."""
    if not value:
        raise missing(what)
    return value


def name_of(text: str, what: str) -> str:
    """A name that a caller chose."""
    need(text, what)
    if len(text.encode()) > _LONGEST_NAME:
        raise CsiError("INVALID_ARGUMENT", f"{what} is longer than {_LONGEST_NAME} bytes")
    return text


def size_wanted(has_range: bool, required: int, limit: int, least: int = LEAST) -> int:
    """The bytes that a volume gets for a capacity range: a multiple of 1 MiB, at least `least`."""
    if not has_range:
        return max(DEFAULT_SIZE, least)
    if required < 0 or limit < 0:
        raise CsiError("INVALID_ARGUMENT", "capacity range: sizes must not be negative")
    if limit and required > limit:
        raise CsiError("INVALID_ARGUMENT", "capacity range: the limit is less than what is required")
    wanted = required or (min(limit, DEFAULT_SIZE) if limit else DEFAULT_SIZE)
    if wanted > MOST:
        raise CsiError("OUT_OF_RANGE", f"volumes have at most {MOST} bytes")
    size = max(-(-wanted // GRAIN) * GRAIN, least)
    if limit and size > limit:
        if limit >= max(required, least) and limit // GRAIN * GRAIN >= required:
            return limit // GRAIN * GRAIN
        raise CsiError(
            "OUT_OF_RANGE", f"volumes have multiples of {GRAIN} bytes and at least {least}: {limit} is too few"
        )
    return size


def unsupported(capability: Any) -> str:
    """Why the driver can't do what a volume capability says; empty if it can."""
    kind = capability.WhichOneof("access_type")
    if kind is None:
        return "access type missing"
    if capability.access_mode.mode == _MODES.UNKNOWN:
        return "access mode missing"
    if capability.access_mode.mode not in _ONE_NODE:
        name = _MODES.Mode.Name(capability.access_mode.mode) if capability.access_mode.mode in range(8) else "unknown"
        return f"access mode {name} is not supported: a volume is on one node"
    if kind == "mount" and capability.mount.fs_type not in ("", "ext2", "ext3", "ext4", "xfs"):
        return f"file system {capability.mount.fs_type} is not supported"
    return ""


def capability_of(capability: Any, present: bool) -> Any:
    """The capability, if it is there and can be had."""
    if not present:
        raise missing("Volume capability")
    why = unsupported(capability)
    if why:
        raise CsiError("INVALID_ARGUMENT", why)
    return capability


def wanted(
    capabilities: Sequence[Any],
    parameters: Mapping[str, str],
    mutable: Mapping[str, str],
    abilities: Abilities,
    capacity: int,
) -> Wanted:
    """What a new volume of `capacity` bytes shall be."""
    if not capabilities:
        raise missing("Volume capabilities")
    for capability in capabilities:
        capability_of(capability, True)
    kinds = {c.WhichOneof("access_type") for c in capabilities}
    if len(kinds) > 1:
        raise CsiError("INVALID_ARGUMENT", "a volume can't be both a block device and mounted")
    block = kinds == {"block"}
    backing = _backing(parameters, abilities, block)
    types = {c.mount.fs_type for c in capabilities if not block} - {""}
    if len(types) > 1:
        raise CsiError("INVALID_ARGUMENT", f"a volume has one file system, not {' and '.join(sorted(types))}")
    fs_type = ""
    if backing == IMAGE and not block:
        fs_type = types.pop() if types else default_kind(abilities, capacity)
        if fs_type not in abilities.kinds:
            raise CsiError("INVALID_ARGUMENT", f"mkfs.{fs_type} is not installed on this node")
    return Wanted(block, fs_type, backing, allocation_of(mutable) or THIN)


def _backing(parameters: Mapping[str, str], abilities: Abilities, block: bool) -> str:
    for key in parameters:
        if key != "backing" and not key.startswith(_FOREIGN):
            raise CsiError("INVALID_ARGUMENT", f'unknown parameter "{key}": there is only "backing"')
    backing = parameters.get("backing") or (IMAGE if abilities.images else DIRECTORY)
    if backing not in (IMAGE, DIRECTORY):
        raise CsiError("INVALID_ARGUMENT", f'backing must be "{IMAGE}" or "{DIRECTORY}", not "{backing}"')
    if backing == IMAGE and not abilities.images:
        raise CsiError("INVALID_ARGUMENT", "this node has no loop devices: only backing: directory is to be had")
    if backing == DIRECTORY and block:
        raise CsiError("INVALID_ARGUMENT", "a directory can't be a block device")
    return backing


def allocation_of(mutable: Mapping[str, str]) -> str:
    """What the mutable parameters say of the allocation; empty if nothing."""
    for key in mutable:
        if key != "allocation" and not key.startswith(_FOREIGN):
            raise CsiError("INVALID_ARGUMENT", f'unknown mutable parameter "{key}": there is only "allocation"')
    found = mutable.get("allocation", "")
    if found not in ("", THIN, THICK):
        raise CsiError("INVALID_ARGUMENT", f'allocation must be "{THIN}" or "{THICK}", not "{found}"')
    return found


def reachable(requirement: Any, present: bool, node: str) -> bool:
    """Whether a topology requirement lets the volume be on this node."""
    if not present:
        return True
    places = [*requirement.requisite] or [*requirement.preferred]
    return not places or any(here(t.segments, node) for t in places)


def here(segments: Mapping[str, str], node: str) -> bool:
    """Whether the segments of a topology name this node (or no node at all)."""
    return segments.get(TOPOLOGY, node) == node


def contradiction(found: VolumeRecord, asked: Wanted, source: tuple[str, str], required: int, limit: int) -> str:
    """Why a volume that is there is not what is asked for under the same name; empty if it is."""
    if found.block != asked.block:
        return "it has another volume mode"
    if found.backing != asked.backing:
        return "it has another backing"
    if (found.source.kind, found.source.id) != source:
        return "it has another source"
    if asked.fs_type != found.fs_type:
        return "it has another file system"
    if found.capacity < required or (limit and found.capacity > limit):
        return f"it has {found.capacity} bytes"
    return ""


def page(ids: Sequence[str], entries: int, token: str) -> tuple[Sequence[str], str]:
    """One page of sorted ids, and the token of the next; a token is the id that a page begins after."""
    if entries < 0:
        raise CsiError("INVALID_ARGUMENT", "max_entries must not be negative")
    rest = ids
    if token:
        if not token.startswith("after:"):
            raise CsiError("ABORTED", "starting_token is not one of this driver's")
        rest = [i for i in ids if i > token.removeprefix("after:")]
    if not entries or len(rest) <= entries:
        return rest, ""
    return rest[:entries], f"after:{rest[entries - 1]}"
