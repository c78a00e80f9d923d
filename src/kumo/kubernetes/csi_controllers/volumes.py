"""How claims and volumes look in CSI's messages. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kumo.api import quantities
from kumo.api.objects import Object
from kumo.host.csi.stubs import csi_pb2 as pb

CLAIM_NAME = "csi.storage.k8s.io/pvc/name"
CLAIM_NAMESPACE = "csi.storage.k8s.io/pvc/namespace"
VOLUME_NAME = "csi.storage.k8s.io/pv/name"


class Unsupported(ValueError):
    """Access modes that CSI can't express together."""


def access_mode(modes: Iterable[str], *, many_writers: bool) -> str:
    """The access mode of CSI for those of Kubernetes. Raises Unsupported.

    `many_writers`: whether the driver tells apart a single pod and a single node (SINGLE_NODE_MULTI_WRITER).
    """
    wanted = set(modes)
    if "ReadWriteMany" in wanted:
        return "MULTI_NODE_MULTI_WRITER"
    if "ReadOnlyMany" in wanted and wanted & {"ReadWriteOnce", "ReadWriteOncePod"}:
        raise Unsupported("CSI does not support ReadOnlyMany and ReadWriteOnce on the same PersistentVolume")
    if "ReadOnlyMany" in wanted:
        return "MULTI_NODE_READER_ONLY"
    if "ReadWriteOnce" in wanted:
        return "SINGLE_NODE_MULTI_WRITER" if many_writers else "SINGLE_NODE_WRITER"
    if "ReadWriteOncePod" in wanted:
        return "SINGLE_NODE_SINGLE_WRITER" if many_writers else "SINGLE_NODE_WRITER"
    raise Unsupported(f"unsupported AccessMode combination: [{' '.join(sorted(wanted))}]")


def capability(
    modes: Iterable[str], *, block: bool, fs_type: str, mount_options: Sequence[str], many_writers: bool
) -> pb.VolumeCapability:
    """One use of a volume. Raises Unsupported."""
    made = pb.VolumeCapability()
    made.access_mode.mode = pb.VolumeCapability.AccessMode.Mode.Value(access_mode(modes, many_writers=many_writers))
    if block:
        made.block.SetInParent()
    else:
        made.mount.fs_type = fs_type
        made.mount.mount_flags.extend(mount_options)
    return made


def capability_of(volume: Object, *, many_writers: bool, default_fs_type: str = "") -> pb.VolumeCapability:
    """How a CSI PersistentVolume is used, in all its access modes. Raises Unsupported."""
    spec = volume.get("spec") or {}
    return capability(
        spec.get("accessModes") or (),
        block=spec.get("volumeMode") == "Block",
        fs_type=(spec.get("csi") or {}).get("fsType") or default_fs_type,
        mount_options=spec.get("mountOptions") or (),
        many_writers=many_writers,
    )


def topology(place: Mapping[str, str]) -> pb.Topology:
    """A place as a message."""
    return pb.Topology(segments=dict(place))


def size(obj: Object, *path: str) -> int:
    """The bytes of `storage` in a resource list of the object (`spec`, `capacity`); 0 without."""
    found = obj
    for name in path:
        found = found.get(name) or {}
    return quantities.whole(found.get("storage") or 0)


def in_bytes(count: int) -> str:
    """A number of bytes as a quantity."""
    return quantities.to_text(count, binary=True)
