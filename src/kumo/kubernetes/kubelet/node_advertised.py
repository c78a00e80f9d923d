"""Resources that somebody else wrote into a Node's capacity. Pure.

Upstream: `MachineInfo` of `pkg/kubelet/nodestatus/setters.go`, "Advertise Extended Resources for a Node".
"""

from __future__ import annotations

from collections.abc import Collection

from kumo.api.objects import Object
from kumo.kubernetes.kubelet.devices.registration import is_extended


def advertised(node: Object | None, own: Collection[str]) -> dict[str, str | None]:
    """What a patch of the Node's allocatable says of resources that are not the kubelet's `own`.

    All that the capacity has of them may be allocated; None for an extended resource that the capacity no longer has.
    """
    status = (node or {}).get("status") or {}
    capacity = {k: str(v) for k, v in (status.get("capacity") or {}).items()}
    gone = [k for k in status.get("allocatable") or {} if k not in capacity and k not in own and is_extended(k)]
    return {k: v for k, v in capacity.items() if k not in own} | dict.fromkeys(gone)


def is_behind(node: Object, own: Collection[str]) -> bool:
    """Whether the Node's allocatable is not yet what its capacity wants it to be."""
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    return any(allocatable.get(k) != v for k, v in advertised(node, own).items())
