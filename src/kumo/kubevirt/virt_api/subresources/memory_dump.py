"""Memory dumps: the request is checked and written down in the VM's status, as upstream."""

from __future__ import annotations

from typing import Any

from kumo.api.errors import StatusError, bad_request, conflict, internal, is_not_found, not_found
from kumo.api.objects import Object
from kumo.api.quantities import parse, to_text
from kumo.api.resources import VMS, core
from kumo.kubevirt.common.names import GROUP, RUNNING
from kumo.kubevirt.common.specs import quantity, requests
from kumo.kubevirt.virt_api.subresources.call import ACCEPTED, Call
from kumo.kubevirt.virt_api.subresources.refusals import VMI_NOT_RUNNING, vm_conflict, vmi_conflict
from kumo.kubevirt.virt_api.subresources.volumes import NOT_ENABLED
from kumo.machinery.http import Response

_CLAIMS = core("persistentvolumeclaims")
_OVERHEAD = 100 << 20
_FILESYSTEM_SHARE = "0.055"


async def dump(call: Call) -> Response:
    """Ask for the guest's memory to be written to a claim."""
    config = call.services.config()
    if not config.gate("HotplugVolumes") and not config.gate("DeclarativeHotplugVolumes"):
        raise bad_request(NOT_ENABLED)
    request = dict(await call.body())
    vm = await call.vm()
    known = (vm.get("status") or {}).get("memoryDumpRequest")
    claim = request.get("claimName") or (known or {}).get("claimName")
    if not claim:
        raise bad_request("Memory dump requires claim name to be set")
    if known is not None and known.get("claimName") != claim:
        words = "can't request memory dump for pvc [{}] while pvc [{}] is still associated as the memory dump pvc"
        raise vm_conflict(call.name, words.format(claim, known.get("claimName")))
    vmi = await call.vmi()
    if (vmi.get("status") or {}).get("phase") != RUNNING:
        raise vmi_conflict(call.name, VMI_NOT_RUNNING)
    await _check_claim(call, vmi, claim)
    if known is not None:
        if known.get("phase") == "Dissociating":
            words = f"can't dump memory for pvc [{claim}] a remove memory dump request is in progress"
            raise vm_conflict(call.name, words)
        if known.get("phase") not in ("Completed", "Failed"):
            raise vm_conflict(call.name, f"memory dump request for pvc [{claim}] already in progress")
    await _write(call, known, {"claimName": claim, "phase": "Associating"})
    return ACCEPTED


async def remove(call: Call) -> Response:
    """Let go of the claim that the last dump went to."""
    vm = await call.vm()
    known = (vm.get("status") or {}).get("memoryDumpRequest")
    if known is None:
        words = f"can't remove memory dump association for vm {call.name}, no association found"
        raise vm_conflict(call.name, words)
    if known.get("remove"):
        raise vm_conflict(call.name, f"memory dump remove request for pvc [{known['claimName']}] already exists")
    await _write(call, known, {"claimName": known["claimName"], "phase": "Dissociating", "remove": True})
    return ACCEPTED


async def _check_claim(call: Call, vmi: Object, name: str) -> None:
    try:
        claim = await call.services.client.get(_CLAIMS, name, call.namespace)
    except StatusError as error:
        if is_not_found(error):
            raise not_found(GROUP, "persistentvolumeclaim", name) from error
        raise internal(f"unable to retrieve pvc [{name}]: {error}") from error
    spec = claim.get("spec") or {}
    if spec.get("volumeMode") == "Block":
        raise _claim_conflict(name, "pvc should be filesystem pvc")
    if spec.get("accessModes") == ["ReadOnlyMany"]:
        raise _claim_conflict(name, "pvc access mode can't be read only")
    size = parse(((spec.get("resources") or {}).get("requests") or {}).get("storage") or 0)
    least = quantity(requests(vmi["spec"]), "memory") + _OVERHEAD
    least = least / (1 - parse(_FILESYSTEM_SHARE))
    if size < least:
        shown = to_text(int(size), binary=True), to_text(int(least), binary=True)
        raise _claim_conflict(name, f"pvc size [{shown[0]}] should be bigger then [{shown[1]}]")


def _claim_conflict(name: str, why: str) -> StatusError:
    return conflict(GROUP, "persistentvolumeclaim", name, why)


async def _write(call: Call, known: dict[str, Any] | None, wanted: dict[str, Any]) -> None:
    path = "/status/memoryDumpRequest"
    operations: list[dict[str, Any]] = [{"op": "add", "path": path, "value": wanted}]
    if known is not None:
        operations.insert(0, {"op": "test", "path": path, "value": known})
    try:
        await call.patch(VMS, operations, subresource="status")
    except StatusError as error:
        if error.reason == "Invalid":
            raise
        raise internal(f"unable to patch vm status: {error}") from error
