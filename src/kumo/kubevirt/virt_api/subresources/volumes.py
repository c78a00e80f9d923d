"""addvolume and removevolume: they change the volumes of the VM (or of an instance without a VM).

Plugging into a running guest is virt-controller's and virt-handler's work; until they can, the VM's condition
RestartRequired tells that the change takes a restart.
"""

from __future__ import annotations

import copy
from typing import Any

from kumo.api.errors import StatusError, bad_request, internal
from kumo.api.objects import Object, controller_of
from kumo.api.resources import VMIS, VMS
from kumo.kubevirt.common.names import RUNNING
from kumo.kubevirt.common.specs import Spec, child, disks, volumes
from kumo.kubevirt.virt_api.subresources.call import ACCEPTED, Call
from kumo.kubevirt.virt_api.subresources.refusals import VMI_NOT_RUNNING, vm_conflict, vmi_conflict
from kumo.machinery.http import Response

NOT_ENABLED = "Unable to Add/Remove Volume because HotplugVolumes feature gate is not enabled."
_SOURCES = (("dataVolume", "name"), ("persistentVolumeClaim", "claimName"))


async def add(call: Call) -> Response:
    """Add a volume with its disk."""
    options = await _options(call, "AddVolumeOptions")
    if options.get("disk") is None:
        raise bad_request("AddVolumeOptions requires disk to not be nil")
    if options.get("volumeSource") is None:
        raise bad_request("AddVolumeOptions requires VolumeSource to not be nil")
    return await _change(call, options, _added)


async def remove(call: Call) -> Response:
    """Remove a volume that was added."""
    return await _change(call, await _options(call, "RemoveVolumeOptions"), _removed)


async def _options(call: Call, kind: str) -> dict[str, Any]:
    config = call.services.config()
    if not config.gate("HotplugVolumes") and not config.gate("DeclarativeHotplugVolumes"):
        raise bad_request(NOT_ENABLED)
    options = await call.body()
    if not options.get("name"):
        raise bad_request(f"{kind} requires name to be set")
    return options


async def _change(call: Call, options: dict[str, Any], apply: Any) -> Response:
    of_instance = call.resource == "virtualmachineinstances"
    obj: Object = await (call.vmi() if of_instance else call.vm())
    if of_instance:
        owner = controller_of(obj)
        if owner is not None and owner.get("kind") == "VirtualMachine" and not _ephemeral(call):
            raise bad_request(f"VMI {call.namespace}/{call.name} is owned by a VM")
        if (obj.get("status") or {}).get("phase") != RUNNING:
            raise vmi_conflict(call.name, VMI_NOT_RUNNING)
    spec: Spec = obj["spec"] if of_instance else obj["spec"]["template"]["spec"]
    wanted = copy.deepcopy(spec)
    try:
        apply(wanted, options)
    except ValueError as error:
        raise (vmi_conflict if of_instance else vm_conflict)(call.name, str(error)) from error
    operations = _operations("/spec" if of_instance else "/spec/template/spec", spec, wanted)
    try:
        await call.patch(VMIS if of_instance else VMS, operations, dry_run=await call.dry_run())
    except StatusError as error:
        if error.reason == "Invalid":
            raise
        raise internal(f"unable to patch {'vmi' if of_instance else 'vm'}: {error}") from error
    return ACCEPTED


def _ephemeral(call: Call) -> bool:
    return call.services.config().gate("HotplugVolumes")


def _source_name(holder: dict[str, Any]) -> str:
    for kind, name in _SOURCES:
        if holder.get(kind) is not None:
            return str(holder[kind].get(name, ""))
    return ""


def _added(spec: Spec, options: dict[str, Any]) -> None:
    """Put volume and disk into the spec. Raises ValueError in upstream's words."""
    name, source = options["name"], copy.deepcopy(options["volumeSource"])
    for volume in volumes(spec):
        if volume.get("name") == name:
            raise ValueError(f"Unable to add volume [{name}] because volume with that name already exists")
        if _source_name(source) and _source_name(volume) == _source_name(source):
            raise ValueError(f"Unable to add volume source [{_source_name(source)}] because it already exists")
    for kind, _ in _SOURCES:
        if source.get(kind) is not None:
            source[kind]["hotpluggable"] = True
            break
    spec["volumes"] = [*volumes(spec), {"name": name, **source}]
    devices = child(child(spec, "domain"), "devices")
    devices["disks"] = [*disks(spec), {**options["disk"], "name": name}]


def _removed(spec: Spec, options: dict[str, Any]) -> None:
    """Take volume and disk out of the spec. Raises ValueError in upstream's words."""
    name = options["name"]
    found = next((v for v in volumes(spec) if name in (v.get("name"), _source_name(v))), None)
    if found is None:
        raise ValueError(f"Unable to remove volume [{name}] because it does not exist")
    own = found["name"]
    if not any((found.get(kind) or {}).get("hotpluggable") for kind, _ in _SOURCES):
        raise ValueError(f"Unable to remove volume [{own}] because it is not hotpluggable")
    spec["volumes"] = [v for v in volumes(spec) if v.get("name") != own]
    spec["domain"]["devices"]["disks"] = [d for d in disks(spec) if d.get("name") != own]


def _operations(prefix: str, before: Spec, after: Spec) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    pairs = (
        (f"{prefix}/volumes", before.get("volumes"), volumes(after)),
        (f"{prefix}/domain/devices/disks", (before.get("domain") or {}).get("devices", {}).get("disks"), disks(after)),
    )
    for path, was, now in pairs:
        if was is not None:
            made.append({"op": "test", "path": path, "value": was})
        made.append({"op": "add", "path": path, "value": now})
    return made
