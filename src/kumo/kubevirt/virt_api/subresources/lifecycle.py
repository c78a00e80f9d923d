"""Start, stop, restart and migrate: they change the VirtualMachine; virt-controller does the rest.

What each run strategy makes of them, and the refusals, are upstream's (`pkg/virt-api/rest/lifecycle.go`).
"""

from __future__ import annotations

from typing import Any, cast

from kumo.api.conditions import condition
from kumo.api.errors import StatusError, bad_request, internal, is_not_found
from kumo.api.objects import Object, uid_of
from kumo.api.resources import VMIS, VMS
from kumo.kubevirt.common.names import API_VERSION, FAILED, FINAL_PHASES, MIGRATIONS, RUNNING, SUCCEEDED
from kumo.kubevirt.virt_api.subresources.call import ACCEPTED, Call
from kumo.kubevirt.virt_api.subresources.refusals import RECOVERY_REQUIRED, VM_NOT_RUNNING, vm_conflict
from kumo.machinery.http import Response

_ON_DEMAND = ("Manual", "RerunOnFailure")
_UNDERWAY = "unable to complete request: stop/start already underway"


def run_strategy(vm: Object) -> str:
    """The run strategy, also of a VM that still says `running`. Raises StatusError 500 when it says both."""
    spec = vm.get("spec") or {}
    if spec.get("running") is not None and spec.get("runStrategy") is not None:
        raise internal("running and runStrategy are mutually exclusive")
    if spec.get("runStrategy"):
        return str(spec["runStrategy"])
    return "Always" if spec.get("running") else "Halted"


def _phase(vmi: Object | None) -> str:
    return str(((vmi or {}).get("status") or {}).get("phase") or "")


def _is_final(vmi: Object | None) -> bool:
    return _phase(vmi) in FINAL_PHASES


async def start(call: Call) -> Response:
    """Start the VM, paused if the body says so."""
    vm = await call.vm()
    vmi = await call.maybe_vmi()
    if vmi is not None and not _is_final(vmi) and _phase(vmi) not in ("", "Unknown"):
        raise vm_conflict(call.name, "VM is already running")
    if (condition(vm, "ManualRecoveryRequired") or {}).get("status") == "True":
        raise vm_conflict(call.name, RECOVERY_REQUIRED)
    paused = bool((await call.body()).get("paused"))
    request: dict[str, Any] = {"action": "Start"}
    if paused:
        request["data"] = {"paused": "true"}
    strategy = run_strategy(vm)
    if strategy == "Halted":
        if paused:
            await _ask(call, vm, request)
        else:
            await _switch(call, vm, on=True)
    elif strategy in _ON_DEMAND:
        if strategy == "RerunOnFailure" and _phase(vmi) == FAILED:
            raise vm_conflict(call.name, f"{strategy} does not support starting VM from failed state")
        ended = (SUCCEEDED,) if strategy == "RerunOnFailure" else tuple(FINAL_PHASES)
        if vmi is not None and _phase(vmi) in ended:
            await _ask(call, vm, {"action": "Stop", "uid": uid_of(vmi)}, request)
        else:
            await _ask(call, vm, request)
    else:
        raise vm_conflict(call.name, f"{strategy} does not support manual start requests")
    return ACCEPTED


async def stop(call: Call) -> Response:
    """Stop the VM, within the grace period of the body if it names one."""
    grace = (await call.body()).get("gracePeriod")
    vm = await call.vm()
    strategy = run_strategy(vm)
    vmi = await call.maybe_vmi()
    before = 0
    if vmi is not None and not _is_final(vmi) and grace is not None:
        before = await _set_grace(call, vmi, int(grace))
    if strategy in ("Halted", *_ON_DEMAND):
        if vmi is None or _is_final(vmi):
            raise vm_conflict(call.name, VM_NOT_RUNNING)
        if strategy == "Halted":
            has_grace = (vmi.get("spec") or {}).get("terminationGracePeriodSeconds") is not None
            if grace is None or (has_grace and int(grace) >= before):
                text = "only supports manual stop requests with a shorter graceperiod"
                raise vm_conflict(call.name, f"{strategy} {text}")
        await _ask(call, vm, {"action": "Stop", "uid": uid_of(vmi)})
    else:
        await _switch(call, vm, on=False)
    return ACCEPTED


async def restart(call: Call) -> Response:
    """Stop the VM's instance and start another."""
    grace = (await call.body()).get("gracePeriodSeconds")
    if grace is not None and int(grace) > 0:
        raise bad_request("For force restart, only gracePeriod=0 is supported for now")
    if grace is not None and int(grace) < 0:
        raise bad_request("gracePeriod has to be greater or equal to 0")
    vm = await call.vm()
    if (condition(vm, "VolumesChange") or {}).get("status") == "True":
        raise vm_conflict(call.name, RECOVERY_REQUIRED)
    strategy = run_strategy(vm)
    if strategy in ("Halted", "Once"):
        raise vm_conflict(call.name, f"RunStategy {strategy} does not support manual restart requests")
    vmi = await call.maybe_vmi()
    if vmi is None:
        raise vm_conflict(call.name, f"{VM_NOT_RUNNING}: Halted")
    if grace is not None:
        await _set_grace(call, vmi, 1)
    await _ask(call, vm, {"action": "Stop", "uid": uid_of(vmi)}, {"action": "Start"})
    return ACCEPTED


async def migrate(call: Call) -> Response:
    """Make a migration for the VM's instance."""
    body = await call.body()
    await call.vm()
    vmi = await call.vmi()
    if _phase(vmi) != RUNNING:
        raise vm_conflict(call.name, VM_NOT_RUNNING)
    spec: dict[str, Any] = {"vmiName": call.name}
    if body.get("addedNodeSelector"):
        spec["addedNodeSelector"] = body["addedNodeSelector"]
    meta = {"generateName": "kubevirt-migrate-vm-", "namespace": call.namespace}
    migration = {"apiVersion": API_VERSION, "kind": "VirtualMachineInstanceMigration", "metadata": meta, "spec": spec}
    query = {"dryRun": "All"} if await call.dry_run() else None
    try:
        path = MIGRATIONS.path(call.namespace)
        await call.services.client.request("POST", path, query=query, body=migration)
    except StatusError as error:
        raise internal(str(error)) from error
    return ACCEPTED


async def _switch(call: Call, vm: Object, *, on: bool) -> None:
    """Turn the VM on or off by its spec, if nobody else has meanwhile."""
    name, wanted = "running", cast(Any, on)
    if vm["spec"].get("runStrategy") is not None:
        name, wanted = "runStrategy", "Always" if on else "Halted"
    path, was = f"/spec/{name}", vm["spec"].get(name)
    await _apply(call, [{"op": "test", "path": path, "value": was}, {"op": "replace", "path": path, "value": wanted}])


async def _ask(call: Call, vm: Object, *requests: dict[str, Any]) -> None:
    """Write down what virt-controller is to do. Raises StatusError 500 while something else is under way."""
    status = vm.get("status") or {}
    there = status.get("stateChangeRequests") or []
    path = "/status/stateChangeRequests"
    operations: list[dict[str, Any]]
    if not status:
        operations = [{"op": "add", "path": "/status", "value": {"stateChangeRequests": list(requests)}}]
    elif not there:
        operations = [{"op": "add", "path": path, "value": list(requests)}]
    elif len(requests) == 1 and requests[0]["action"] == "Stop":
        operations = [
            {"op": "test", "path": path, "value": there},
            {"op": "replace", "path": path, "value": list(requests)},
        ]
    else:
        raise internal(_UNDERWAY)
    if status.get("startFailure") is not None:
        operations.append({"op": "remove", "path": "/status/startFailure"})
    await _apply(call, operations, subresource="status")


async def _apply(call: Call, operations: list[dict[str, Any]], *, subresource: str = "") -> None:
    try:
        await call.patch(VMS, operations, subresource=subresource, dry_run=await call.dry_run())
    except StatusError as error:
        if error.code in (409, 422) and not (error.details or {}).get("causes"):
            raise vm_conflict(call.name, str(error)) from error
        raise internal(str(error)) from error


async def _set_grace(call: Call, vmi: Object, seconds: int) -> int:
    """Shorten the instance's grace period; what it was before."""
    path, was = "/spec/terminationGracePeriodSeconds", (vmi.get("spec") or {}).get("terminationGracePeriodSeconds")
    operations: list[dict[str, Any]] = [{"op": "add", "path": path, "value": seconds}]
    if was is not None:
        operations.insert(0, {"op": "test", "path": path, "value": was})
    try:
        await call.patch(VMIS, operations, dry_run=await call.dry_run())
    except StatusError as error:
        if not is_not_found(error):
            raise internal(str(error)) from error
    return int(was or 0)
