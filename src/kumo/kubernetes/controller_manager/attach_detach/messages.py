"""What the pods of a volume are told about its attaching. Pure; reasons and messages are upstream's."""

from __future__ import annotations

from collections.abc import Sequence

from kumo.api.objects import Object, name_of, namespace_of

FAILED = "FailedAttachVolume"
SUCCEEDED = "SuccessfulAttachVolume"


def attached(volume: str) -> str:
    """The volume is attached."""
    return f'AttachVolume.Attach succeeded for volume "{volume}" '


def failed(volume: str, why: str) -> str:
    """The volume can't be attached."""
    return f'AttachVolume.Attach failed for volume "{volume}" : {why}'


def timed_out(driver: str, handle: str) -> str:
    """Why a volume is not attached that no attacher has answered for."""
    return f"timed out waiting for external-attacher of {driver} CSI driver to attach volume {handle}"


def multi_attach(volume: str, pod: Object, others: Sequence[Object]) -> str:
    """The volume is attached to another node, where `others` use it; pods of other namespaces are not named."""
    if not others:
        why = "Volume is already exclusively attached to one node and can't be attached to another"
        return f'Multi-Attach error for volume "{volume}" {why}'
    local = [name_of(o) for o in others if namespace_of(o) == namespace_of(pod)]
    foreign = len(others) - len(local)
    if not local:
        why = f"Volume is already used by {foreign} pod(s) in different namespaces"
    else:
        why = f"Volume is already used by pod(s) {', '.join(local)}"
        why += f" and {foreign} pod(s) in different namespaces" if foreign else ""
    return f'Multi-Attach error for volume "{volume}" {why}'
