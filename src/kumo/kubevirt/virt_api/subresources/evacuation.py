"""evacuate/cancel: a marked instance is to stay where it is after all."""

from __future__ import annotations

from kumo.api.errors import StatusError, bad_request, internal
from kumo.api.objects import Object
from kumo.api.resources import NODES, VMIS
from kumo.kubevirt.virt_api.subresources.call import OK, Call
from kumo.kubevirt.virt_api.subresources.port_forward import instance_of_machine
from kumo.machinery.http import Response

_DRAIN_TAINT = "kubevirt.io/drain"


async def cancel(call: Call) -> Response:
    """Take the mark away, if there is one and its node is not being drained."""
    vmi = await (call.vmi() if call.resource == "virtualmachineinstances" else instance_of_machine(call))
    await _check_node(call, vmi)
    if not (vmi.get("status") or {}).get("evacuationNodeName"):
        return OK
    node = (await call.body()).get("evacuationNodeName", "")
    path = "/status/evacuationNodeName"
    operations = [{"op": "test", "path": path, "value": node}, {"op": "remove", "path": path}]
    try:
        await call.patch(VMIS, operations, dry_run=await call.dry_run())
    except StatusError as error:
        raise internal(str(error)) from error
    return OK


async def _check_node(call: Call, vmi: Object) -> None:
    status = vmi.get("status") or {}
    name = status.get("evacuationNodeName") or status.get("nodeName") or ""
    try:
        node = await call.services.client.get(NODES, name)
    except StatusError as error:
        raise internal(str(error)) from error
    for taint in (node.get("spec") or {}).get("taints") or ():
        if taint.get("key") == _DRAIN_TAINT and taint.get("effect") == "NoSchedule":
            raise bad_request(f'Node "{name}" has NodeDrainTaintKey "{_DRAIN_TAINT}:NoSchedule"')
