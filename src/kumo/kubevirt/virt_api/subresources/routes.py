"""Which function answers which path and method."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from kumo.api.errors import method_not_allowed, no_such_path
from kumo.kubevirt.common.names import SUBRESOURCE_GROUP, SUBRESOURCE_VERSIONS
from kumo.kubevirt.virt_api.subresources import (
    discovery,
    evacuation,
    expand,
    guest,
    lifecycle,
    memory_dump,
    port_forward,
    streams,
    volumes,
)
from kumo.kubevirt.virt_api.subresources.call import Call, Services
from kumo.machinery.http import Answer, Request

Function = Callable[[Call], Awaitable[Answer]]

_GRAPH = guest.gated("ObjectGraph feature gate not enabled: Unable to return object graph.")
_SEV = guest.gated("'WorkloadEncryptionSEV' feature gate is not enabled")
_BACKUP = guest.gated("'IncrementalBackup' feature gate is not enabled")

INSTANCES: dict[str, tuple[str, Function]] = {
    "console": ("GET", streams.console),
    "vnc": ("GET", streams.vnc),
    "vnc/screenshot": ("GET", guest.screenshot),
    "usbredir": ("GET", streams.usb_redirection),
    "vsock": ("GET", streams.vsock),
    "portforward": ("GET", port_forward.to_instance),
    "pause": ("PUT", guest.pause),
    "unpause": ("PUT", guest.unpause),
    "freeze": ("PUT", guest.freeze),
    "unfreeze": ("PUT", guest.unfreeze),
    "reset": ("PUT", guest.reset),
    "softreboot": ("PUT", guest.soft_reboot),
    "guestosinfo": ("GET", guest.guest_os_info),
    "userlist": ("GET", guest.user_list),
    "filesystemlist": ("GET", guest.filesystem_list),
    "addvolume": ("PUT", volumes.add),
    "removevolume": ("PUT", volumes.remove),
    "evacuate/cancel": ("PUT", evacuation.cancel),
    "objectgraph": ("GET", _GRAPH),
    "backup": ("PUT", _BACKUP),
    "redefine-checkpoint": ("PUT", _BACKUP),
    "sev/fetchcertchain": ("GET", _SEV),
    "sev/querylaunchmeasurement": ("GET", _SEV),
    "sev/setupsession": ("PUT", _SEV),
    "sev/injectlaunchsecret": ("PUT", _SEV),
}
MACHINES: dict[str, tuple[str, Function]] = {
    "start": ("PUT", lifecycle.start),
    "stop": ("PUT", lifecycle.stop),
    "restart": ("PUT", lifecycle.restart),
    "migrate": ("PUT", lifecycle.migrate),
    "expand-spec": ("GET", expand.stored),
    "portforward": ("GET", port_forward.to_machine),
    "addvolume": ("PUT", volumes.add),
    "removevolume": ("PUT", volumes.remove),
    "memorydump": ("PUT", memory_dump.dump),
    "removememorydump": ("PUT", memory_dump.remove),
    "evacuate/cancel": ("PUT", evacuation.cancel),
    "objectgraph": ("GET", _GRAPH),
}
CLUSTER: dict[str, Function] = {
    "version": discovery.version,
    "healthz": discovery.health,
    "guestfs": discovery.guestfs,
}
_TABLES = {"virtualmachineinstances": INSTANCES, "virtualmachines": MACHINES}


def find(request: Request, services: Services) -> tuple[Call, Function | None]:
    """The call that a request is, and its function; None for the lists of discovery.

    Raises StatusError 404 or 405 for what there is not.
    """
    parts = [p for p in request.path.split("/") if p]
    if parts[:2] != ["apis", SUBRESOURCE_GROUP] or (len(parts) > 2 and parts[2] not in SUBRESOURCE_VERSIONS):
        raise no_such_path()
    call = Call(request, services, version=parts[2] if len(parts) > 2 else "")
    rest = parts[3:]
    if not rest:
        return call, None
    if len(rest) == 1 and rest[0] in CLUSTER:
        return call, _allowed(request, "GET", CLUSTER[rest[0]])
    if rest[0] != "namespaces" or len(rest) < 3:
        raise no_such_path()
    call.namespace, call.resource = rest[1], rest[2]
    if rest[2:] == ["expand-vm-spec"]:
        return call, _allowed(request, "PUT", expand.given)
    table = _TABLES.get(call.resource)
    if table is None or len(rest) < 5:
        raise no_such_path()
    call.name = rest[3]
    if rest[4] == "portforward":
        call.subresource, call.parameters = "portforward", tuple(rest[5:])
    else:
        call.subresource = "/".join(rest[4:])
    if call.subresource not in table:
        raise no_such_path()
    method, function = table[call.subresource]
    return call, _allowed(request, method, function)


def _allowed(request: Request, method: str, function: Function) -> Function:
    if request.method != method:
        raise method_not_allowed()
    return function
