"""What contents and the status of snapshots look like. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kumo.api import quantities, selectors
from kumo.api.objects import Object, labels_of, name_of, namespace_of, timestamp, uid_of
from kumo.kubernetes.snapshot_controller import decision
from kumo.kubernetes.snapshot_controller.names import GROUP, MANAGED_BY, SECRET_NAME, SECRET_NAMESPACE


def content_for(
    snapshot: Object, snapshot_class: Object, volume: Object, secret: dict[str, str] | None, node: str
) -> Object:
    """The content that is made for a snapshot of a volume; `node` is where the volume is, if it is on one."""
    meta: dict[str, Any] = {"name": decision.own_content(snapshot)}
    if node:
        meta["labels"] = {MANAGED_BY: node}
    if secret:
        meta["annotations"] = {SECRET_NAME: secret["name"], SECRET_NAMESPACE: secret["namespace"]}
    spec: dict[str, Any] = {
        "deletionPolicy": snapshot_class.get("deletionPolicy"),
        "driver": snapshot_class.get("driver"),
        "source": {"volumeHandle": volume["spec"]["csi"]["volumeHandle"]},
        "volumeSnapshotClassName": name_of(snapshot_class),
        "volumeSnapshotRef": {
            "apiVersion": f"{GROUP}/v1",
            "kind": "VolumeSnapshot",
            "name": name_of(snapshot),
            "namespace": namespace_of(snapshot),
            "uid": uid_of(snapshot),
            "resourceVersion": snapshot["metadata"].get("resourceVersion", ""),
        },
    }
    mode = volume["spec"].get("volumeMode")
    if mode:
        spec["sourceVolumeMode"] = mode
    return {"apiVersion": f"{GROUP}/v1", "kind": "VolumeSnapshotContent", "metadata": meta, "spec": spec}


def node_of(volume: Object, nodes: Iterable[Object]) -> str:
    """A node that the volume's affinity lets it be used on; empty without an affinity, or such a node."""
    required = ((volume.get("spec") or {}).get("nodeAffinity") or {}).get("required") or {}
    terms = required.get("nodeSelectorTerms") or ()
    for node in sorted(nodes, key=name_of) if terms else ():
        fields = {"metadata.name": name_of(node)}
        if any(selectors.matches_node_term(term, labels_of(node), fields) for term in terms):
            return name_of(node)
    return ""


def status_of(snapshot: Object, content: Object) -> dict[str, Any]:
    """The snapshot's status as its content wants it."""
    theirs = content.get("status") or {}
    status = dict(snapshot.get("status") or {})
    status["boundVolumeSnapshotContentName"] = status.get("boundVolumeSnapshotContentName") or name_of(content)
    status["readyToUse"] = bool(theirs.get("readyToUse"))
    created, size = theirs.get("creationTime"), theirs.get("restoreSize")
    if created is not None and not status.get("creationTime"):
        status["creationTime"] = timestamp(created / 1e9)
    if size is not None and not quantities.whole(status.get("restoreSize") or 0):
        status["restoreSize"] = quantities.to_text(size, binary=True)
    if theirs.get("error"):
        status["error"] = theirs["error"]
    else:
        status.pop("error", None)
    return status


def failed_status(snapshot: Object, message: str, *, unready: bool) -> dict[str, Any] | None:
    """The snapshot's status after a failure; None if it says so already."""
    status = dict(snapshot.get("status") or {})
    if (status.get("error") or {}).get("message") == message:
        return None
    status["error"] = {"message": message, "time": timestamp()}
    return status | ({"readyToUse": False} if unready else {})
