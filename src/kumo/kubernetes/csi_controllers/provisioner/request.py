"""Puts a CreateVolume together for a claim."""

from __future__ import annotations

from collections.abc import Mapping

from kumo.api.errors import StatusError
from kumo.api.objects import Object, annotations_of, name_of, namespace_of
from kumo.api.resources import GVR, NODES
from kumo.api.volume_claims import SELECTED_NODE
from kumo.host.csi.stubs import csi_pb2 as pb
from kumo.kubernetes.csi_controllers import secrets, topology, volumes
from kumo.kubernetes.csi_controllers.driver import DriverFacts
from kumo.kubernetes.csi_controllers.provisioner.decision import Failed, State, volume_name_for
from kumo.kubernetes.csi_controllers.provisioner.forms import Prepared
from kumo.kubernetes.csi_controllers.provisioner.sources import Source, content_source, source_of
from kumo.kubernetes.csi_controllers.tools import Tools

CSI_NODES = GVR("storage.k8s.io", "v1", "csinodes", False)
ATTRIBUTES_CLASSES = GVR("storage.k8s.io", "v1", "volumeattributesclasses", False)


def capability_trouble(facts: DriverFacts, source: Source | None, *, attributes: bool = False) -> str:
    """What the driver can't do that the claim needs; empty if it can do it all."""
    lacking = "CSI driver does not support"
    if "CONTROLLER_SERVICE" not in facts.plugin:
        return f"{lacking} dynamic provisioning: plugin CONTROLLER_SERVICE capability is not reported"
    if "CREATE_DELETE_VOLUME" not in facts.controller:
        return f"{lacking} dynamic provisioning: controller CREATE_DELETE_VOLUME capability is not reported"
    if source is not None and source.is_snapshot and "CREATE_DELETE_SNAPSHOT" not in facts.controller:
        return f"{lacking} snapshot restore: controller CREATE_DELETE_SNAPSHOT capability is not reported"
    if source is not None and source.is_claim and "CLONE_VOLUME" not in facts.controller:
        return f"{lacking} clone operations: controller CLONE_VOLUME capability is not reported"
    if attributes and "MODIFY_VOLUME" not in facts.controller:
        return f"{lacking} VolumeAttributesClass: controller MODIFY_VOLUME capability is not reported"
    return ""


def fs_type(parameters: Mapping[str, str], default: str) -> str:
    """The file system that a class wants. Raises Failed for a class that says it twice."""
    found = [v for k, v in parameters.items() if k.lower() == "fstype" or k == secrets.FS_TYPE]
    if len(found) > 1:
        raise Failed(f'fstype specified in parameters with both "fstype" and "{secrets.FS_TYPE}" keys')
    return (found[0] if found else "") or default


async def prepare(tools: Tools, claim: Object, storage_class: Object) -> Prepared:
    """The request, with everything looked up that it needs. Raises Failed and StatusError."""
    source = source_of(claim)
    if source is not None and not (source.is_snapshot or source.is_claim):
        raise Failed("Assuming an external populator will provision the volume", silent=True, again=False)
    spec = claim.get("spec") or {}
    attributes = spec.get("volumeAttributesClassName") or ""
    trouble = capability_trouble(tools.facts, source, attributes=bool(attributes))
    if trouble:
        raise Failed(trouble)
    if spec.get("selector") is not None:
        raise Failed("claim Selector is not supported")
    parameters = storage_class.get("parameters") or {}
    name, system = volume_name_for(claim), fs_type(parameters, tools.config.default_fs_type)
    request = pb.CreateVolumeRequest(name=name)
    request.capacity_range.required_bytes = volumes.size(claim, "spec", "resources", "requests")
    request.volume_capabilities.extend(_capabilities(tools, claim, storage_class, system))
    if source is not None:
        request.volume_content_source.CopyFrom(await content_source(tools, claim, storage_class, source))
    _place(tools, claim, storage_class, request)
    try:
        found = {kind: secrets.reference(kind, parameters, name, claim) for kind in secrets.KINDS}
        request.secrets.update(await secrets.read(tools.client, found["Provisioner"]))
    except secrets.SecretError as error:
        raise Failed(str(error), State.UNCHANGED) from None
    try:
        request.parameters.update(secrets.driver_parameters(parameters))
    except secrets.SecretError as error:
        raise Failed(f"failed to strip CSI Parameters of prefixed keys: {error}") from None
    if tools.config.extra_metadata:
        request.parameters[volumes.CLAIM_NAME] = name_of(claim)
        request.parameters[volumes.CLAIM_NAMESPACE] = namespace_of(claim)
        request.parameters[volumes.VOLUME_NAME] = name
    if attributes:
        request.mutable_parameters.update(await _attributes(tools, attributes))
    return Prepared(request, system, found)


def _capabilities(tools: Tools, claim: Object, storage_class: Object, system: str) -> list[pb.VolumeCapability]:
    spec = claim.get("spec") or {}
    try:
        return [
            volumes.capability(
                [mode],
                block=spec.get("volumeMode") == "Block",
                fs_type=system,
                mount_options=storage_class.get("mountOptions") or (),
                many_writers=tools.facts.many_writers,
            )
            for mode in spec.get("accessModes") or ()
        ]
    except volumes.Unsupported as error:
        raise Failed(str(error)) from None


def _place(tools: Tools, claim: Object, storage_class: Object, request: pb.CreateVolumeRequest) -> None:
    if not tools.facts.has_topology:
        return
    allowed = topology.flatten(storage_class.get("allowedTopologies") or ())
    selected = annotations_of(claim).get(SELECTED_NODE) or ""
    csi_nodes = tools.informers.informer(CSI_NODES).objects()
    nodes = tools.informers.informer(NODES).objects()
    try:
        found = topology.requirement(tools.facts.name, allowed, selected, csi_nodes, nodes)
    except topology.NoPlace as error:
        if error.missing:
            raise Failed(str(error), State.RESCHEDULE) from None
        raise Failed(f"error generating accessibility requirements: {error}", State.UNCHANGED) from None
    for place in found:
        request.accessibility_requirements.requisite.append(volumes.topology(place))
        request.accessibility_requirements.preferred.append(volumes.topology(place))


async def _attributes(tools: Tools, name: str) -> dict[str, str]:
    try:
        found = await tools.client.get(ATTRIBUTES_CLASSES, name)
    except StatusError as error:
        raise Failed(str(error), State.UNCHANGED) from None
    if found.get("driverName") != tools.facts.name:
        other = f"is for driver {found.get('driverName')} which does not match driver name {tools.facts.name}"
        raise Failed(f"VAC {name} referenced in PVC {other}")
    return dict(found.get("parameters") or {})
