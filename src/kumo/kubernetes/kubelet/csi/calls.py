"""What is asked of a driver for a pod's volume: the requests, from objects. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kumo.api.objects import Object, name_of, namespace_of, uid_of
from kumo.host.csi.stubs import csi_pb2 as pb
from kumo.kubernetes.kubelet.csi.records import EPHEMERAL, PERSISTENT

TOKENS = "csi.storage.k8s.io/serviceAccount.tokens"
_MODES = {
    "ReadWriteOnce": "SINGLE_NODE_WRITER",
    "ReadOnlyMany": "MULTI_NODE_READER_ONLY",
    "ReadWriteMany": "MULTI_NODE_MULTI_WRITER",
    "ReadWriteOncePod": "SINGLE_NODE_WRITER",
}
_FINER = {"ReadWriteOnce": "SINGLE_NODE_MULTI_WRITER", "ReadWriteOncePod": "SINGLE_NODE_SINGLE_WRITER"}


def access_mode(modes: Sequence[str], *, finer: bool) -> str:
    """CSI's name of the first access mode. `finer`: the driver tells one pod from one node."""
    mode = modes[0] if modes else "ReadWriteOnce"
    return (_FINER.get(mode) if finer else None) or _MODES.get(mode, "UNKNOWN")


def capability(mode: str, *, block: bool, fs_type: str, options: Sequence[str], group: int | None) -> Any:
    """One use of a volume; `group` is given to drivers that set it themselves."""
    made = pb.VolumeCapability()
    made.access_mode.mode = pb.VolumeCapability.AccessMode.Mode.Value(mode)
    if block:
        made.block.SetInParent()
    else:
        made.mount.fs_type = fs_type
        made.mount.mount_flags.extend(options)
        if group is not None:
            made.mount.volume_mount_group = str(group)
    return made


def pod_info(pod: Object, *, ephemeral: bool) -> dict[str, str]:
    """What a driver with podInfoOnMount is told of the pod."""
    return {
        "csi.storage.k8s.io/pod.name": name_of(pod),
        "csi.storage.k8s.io/pod.namespace": namespace_of(pod),
        "csi.storage.k8s.io/pod.uid": uid_of(pod),
        "csi.storage.k8s.io/serviceAccount.name": pod["spec"].get("serviceAccountName") or "",
        "csi.storage.k8s.io/ephemeral": "true" if ephemeral else "false",
    }


def tokens(statuses: Mapping[str, Mapping[str, str]]) -> str:
    """The tokens by audience, as drivers read them."""
    return json.dumps(statuses, separators=(",", ":"), sort_keys=True)


def unsupported_mode(driver: str, found: Object | None, *, ephemeral: bool) -> str:
    """Why the driver does not take volumes of this life cycle, in upstream's words; empty if it does."""
    mode = EPHEMERAL if ephemeral else PERSISTENT
    if found is None:
        if not ephemeral:
            return ""
        return f'volume mode "{mode}" not supported by driver {driver} (no CSIDriver object)'
    modes = (found.get("spec") or {}).get("volumeLifecycleModes") or [PERSISTENT]
    if mode in modes:
        return ""
    listed = " ".join(f'"{m}"' for m in modes)
    return f'volume mode "{mode}" not supported by driver {driver} (only supports [{listed}])'


def attach_required(found: Object | None) -> bool:
    """Whether the volumes of a driver are attached first; so are those of a driver without a CSIDriver."""
    return found is None or (found.get("spec") or {}).get("attachRequired") is not False


def wants(found: Object | None, field: str) -> bool:
    """Whether the CSIDriver has the switch set: podInfoOnMount, requiresRepublish, ..."""
    return found is not None and (found.get("spec") or {}).get(field) is True


def limit_period(found: Object | None) -> float:
    """Seconds after which a driver is asked anew how many volumes it takes; 0: never."""
    return float(((found or {}).get("spec") or {}).get("nodeAllocatableUpdatePeriodSeconds") or 0)


def sets_group(
    found: Object | None, group: int | None, *, read_only: bool, fs_type: str, modes: Sequence[str] | None
) -> bool:
    """Whether the kubelet gives a volume's files to fsGroup. `modes`: access modes; None for an inline volume."""
    policy = ((found or {}).get("spec") or {}).get("fsGroupPolicy") or "ReadWriteOnceWithFSType"
    if group is None or read_only or policy == "None":
        return False
    if policy == "File":
        return True
    return bool(fs_type) and (modes is None or "ReadWriteOnce" in modes)
