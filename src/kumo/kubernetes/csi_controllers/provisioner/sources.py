"""What a new volume is a copy of: a snapshot or another claim, looked up and judged.

Of other kinds of sources a populator makes the volume, which then is bound to the claim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kumo.api import quantities
from kumo.api.errors import StatusError
from kumo.api.objects import Object, annotations_of, is_deleting, name_of, namespace_of, uid_of
from kumo.api.resources import GVR, core
from kumo.api.volume_claims import volume_name
from kumo.host.csi.stubs import csi_pb2 as pb
from kumo.kubernetes.csi_controllers import volumes
from kumo.kubernetes.csi_controllers.provisioner.decision import Failed, State
from kumo.kubernetes.csi_controllers.tools import Tools

SNAPSHOT_GROUP = "snapshot.storage.k8s.io"
CLAIMS, VOLUMES = core("persistentvolumeclaims"), core("persistentvolumes", False)
SNAPSHOTS = GVR(SNAPSHOT_GROUP, "v1", "volumesnapshots")
CONTENTS = GVR(SNAPSHOT_GROUP, "v1", "volumesnapshotcontents", False)
SNAPSHOT_FINALIZER = "provisioner.storage.kubernetes.io/volumesnapshot-as-source-protection"
CLONE_FINALIZER = "provisioner.storage.kubernetes.io/cloning-protection"
_ALLOW_MODE_CHANGE = "snapshot.storage.kubernetes.io/allow-volume-mode-change"
_INVALID = "claim in dataSource not bound or invalid"


@dataclass(frozen=True, slots=True)
class Source:
    """What a claim's volume is to be made of, as the claim says it."""

    kind: str
    name: str
    namespace: str
    group: str = ""

    @property
    def is_snapshot(self) -> bool:
        """Whether it is a VolumeSnapshot."""
        return self.kind == "VolumeSnapshot"

    @property
    def is_claim(self) -> bool:
        """Whether it is another claim."""
        return self.kind == "PersistentVolumeClaim"


def source_of(claim: Object) -> Source | None:
    """The claim's source, or None for an empty volume. Raises Failed for one in another namespace."""
    spec = claim.get("spec") or {}
    named: dict[str, Any] | None = spec.get("dataSource") or spec.get("dataSourceRef")
    if not named:
        return None
    if not spec.get("dataSource") and named.get("namespace"):
        feature = "the CrossNamespaceVolumeDataSource feature is disabled"
        raise Failed(f"dataSourceRef namespace specified but {feature}")
    source = Source(named.get("kind") or "", named.get("name") or "", namespace_of(claim), named.get("apiGroup") or "")
    if not source.name:
        raise Failed(f"the PVC source not found for PVC {name_of(claim)}")
    if source.is_snapshot and source.group != SNAPSHOT_GROUP:
        wrong = f"Expected {SNAPSHOT_GROUP}, Got {source.group}"
        raise Failed(f"the PVC source does not belong to the right APIGroup. {wrong}")
    return source


async def content_source(tools: Tools, claim: Object, storage_class: Object, source: Source) -> pb.VolumeContentSource:
    """The source as CSI wants it; it is kept from being deleted from now on. Raises Failed and StatusError."""
    look_up = _snapshot if source.is_snapshot else _claim
    try:
        found, handle = await look_up(tools, claim, storage_class, source)
    except Failed as error:
        kind = f"error getting handle for DataSource Type {source.kind} by Name {source.name}"
        raise Failed(f"{kind}: {error.message}", State.UNCHANGED) from None
    gvr, finalizer = (SNAPSHOTS, SNAPSHOT_FINALIZER) if source.is_snapshot else (CLAIMS, CLONE_FINALIZER)
    finalizers = found["metadata"].get("finalizers") or []
    if finalizer not in finalizers:
        meta = {"finalizers": [*finalizers, finalizer], "resourceVersion": found["metadata"]["resourceVersion"]}
        await tools.client.patch(gvr, source.name, {"metadata": meta}, source.namespace)
    made = pb.VolumeContentSource()
    if source.is_snapshot:
        made.snapshot.snapshot_id = handle
    else:
        made.volume.volume_id = handle
    return made


async def _get(tools: Tools, gvr: GVR, name: str, namespace: str, why: str) -> Object:
    try:
        return await tools.client.get(gvr, name, namespace)
    except StatusError as error:
        raise Failed(f"{why}: {error}") from None


async def _claim(tools: Tools, claim: Object, storage_class: Object, source: Source) -> tuple[Object, str]:
    why = f'error getting PVC {source.name} (namespace "{source.namespace}") from api server'
    origin = await _get(tools, CLAIMS, source.name, source.namespace, why)
    trouble = claim_trouble(origin, claim)
    if trouble:
        raise Failed(trouble)
    volume = await _get(tools, VOLUMES, volume_name(origin), "", _INVALID)
    trouble = volume_trouble(volume, origin, claim, storage_class)
    if trouble:
        raise Failed(trouble)
    return origin, str(volume["spec"]["csi"]["volumeHandle"])


def claim_trouble(origin: Object, claim: Object) -> str:
    """Why the claim can't be a copy of `origin`; empty if it can, as far as the claims go."""
    phase = (origin.get("status") or {}).get("phase")
    if phase != "Bound":
        return f"the PVC DataSource {name_of(origin)} must have a status of Bound.  Got {phase}"
    if is_deleting(origin):
        return f"the PVC DataSource {name_of(origin)} is currently being deleted"
    if (origin.get("spec") or {}).get("storageClassName") is None:
        return f"the source PVC ({name_of(origin)}) storageclass cannot be empty"
    if (claim.get("spec") or {}).get("storageClassName") is None:
        return f"the requested PVC ({name_of(claim)}) storageclass cannot be empty"
    asked, had = (volumes.size(c, "spec", "resources", "requests") for c in (claim, origin))
    if asked < had:
        return (
            "error, new PVC request must be greater than or equal in size to the specified PVC data source, "
            f"requested {asked} but source is {had}"
        )
    return "" if volume_name(origin) else f"volume name is empty in source PVC {name_of(origin)}"


def volume_trouble(volume: Object, origin: Object, claim: Object, storage_class: Object) -> str:
    """Why the claim can't be a copy of the volume behind `origin`; empty if it can."""
    spec = volume.get("spec") or {}
    ref = spec.get("claimRef") or {}
    bound = (ref.get("uid"), ref.get("namespace"), ref.get("name"))
    ours = (spec.get("csi") or {}).get("driver") == storage_class.get("provisioner")
    if not ours or bound != (uid_of(origin), namespace_of(origin), name_of(origin)):
        return _INVALID
    if (volume.get("status") or {}).get("phase") != "Bound":
        return _INVALID
    had, asked = (o.get("volumeMode") or "Filesystem" for o in (spec, claim.get("spec") or {}))
    if had != asked:
        modes = f"Source is {had}, but new PVC requested {asked}"
        return f"the source PVC and destination PVCs must have the same volume mode for cloning.  {modes}"
    return ""


async def _snapshot(tools: Tools, claim: Object, storage_class: Object, source: Source) -> tuple[Object, str]:
    why = f"error getting snapshot {source.name} from api server"
    snapshot = await _get(tools, SNAPSHOTS, source.name, source.namespace, why)
    if is_deleting(snapshot) and SNAPSHOT_FINALIZER not in (snapshot["metadata"].get("finalizers") or ()):
        raise Failed(f"snapshot {source.name} is being deleted")
    bound = (snapshot.get("status") or {}).get("boundVolumeSnapshotContentName")
    if not bound:
        raise Failed(f"snapshot {source.name} not bound")
    why = f"error getting snapshotcontent {bound} for snapshot {source.name}"
    try:
        content = await tools.client.get(CONTENTS, bound)
    except StatusError:
        raise Failed(why) from None
    trouble = snapshot_trouble(snapshot, content, claim, storage_class)
    if trouble:
        raise Failed(trouble)
    return snapshot, str(content["status"]["snapshotHandle"])


def snapshot_trouble(snapshot: Object, content: Object, claim: Object, storage_class: Object) -> str:
    """Why the claim can't be made of the snapshot with that content; empty if it can."""
    name, of = name_of(snapshot), f"snapshotcontent {name_of(content)} for snapshot {name_of(snapshot)}"
    spec, status = content.get("spec") or {}, snapshot.get("status") or {}
    ref = spec.get("volumeSnapshotRef") or {}
    if (ref.get("uid"), ref.get("namespace"), ref.get("name")) != (uid_of(snapshot), namespace_of(snapshot), name):
        return f"{of} is bound to a different snapshot"
    if spec.get("driver") != storage_class.get("provisioner"):
        return f"{of} is not handled by CSI driver of StorageClass {name_of(storage_class)}"
    if not status.get("readyToUse"):
        return f"snapshot {name} is not Ready"
    if not (content.get("status") or {}).get("snapshotHandle"):
        return f"snapshot handle {name} is not available"
    asked = volumes.size(claim, "spec", "resources", "requests")
    least = quantities.whole(status.get("restoreSize") or 0)
    if asked < least:
        return f"requested volume size {asked} is less than the size {least} for the source snapshot {name}"
    return _mode_trouble(content, claim)


def _mode_trouble(content: Object, claim: Object) -> str:
    had = (content.get("spec") or {}).get("sourceVolumeMode")
    asked = (claim.get("spec") or {}).get("volumeMode")
    if not had or not asked or had == asked:
        return ""
    allowed = annotations_of(content).get(_ALLOW_MODE_CHANGE)
    which = f"requested volume {namespace_of(claim)}/{name_of(claim)} modifies the mode of the source volume"
    lead = f"{which} but does not have permission to do so. "
    if allowed is None:
        return f"{lead}{_ALLOW_MODE_CHANGE} annotation is not present on snapshotcontent {name_of(content)}"
    if allowed.lower() in ("1", "t", "true"):
        return ""
    return f"{lead}{_ALLOW_MODE_CHANGE} is set to false on snapshotcontent {name_of(content)}"
