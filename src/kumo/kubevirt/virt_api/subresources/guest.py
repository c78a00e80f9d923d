"""What is done with a running guest through its node: pause, reboot, reset, freeze; questions to the guest agent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kumo.api.conditions import condition
from kumo.api.errors import StatusError, bad_request, internal, is_not_found
from kumo.api.objects import Object, name_of
from kumo.kubevirt.common.names import RUNNING
from kumo.kubevirt.common.specs import acpi_enabled, graphics_device
from kumo.kubevirt.virt_api.subresources.call import BODY_LIMIT, OK, Call
from kumo.kubevirt.virt_api.subresources.nodes import HandlerError, ask_handler
from kumo.kubevirt.virt_api.subresources.refusals import (
    VM_NOT_RUNNING,
    VMI_NOT_RUNNING,
    vm_conflict,
    vmi_conflict,
    vmi_forbidden,
)
from kumo.machinery.http import Response

Check = Callable[[Object], None]
"""Raises StatusError when the instance is not in a state for what is asked."""
_AGENT_MISSING = "VMI does not have guest agent connected"


def _running(vmi: Object, message: str) -> None:
    if (vmi.get("status") or {}).get("phase") != RUNNING:
        raise vmi_conflict(name_of(vmi), message)


async def _put(call: Call, action: str, check: Check, *, dry_run: bool = False) -> Response:
    vmi = await call.vmi()
    check(vmi)
    if dry_run:
        return OK
    try:
        await ask_handler(call.services, vmi, "PUT", action, body=await call.request.read(BODY_LIMIT))
    except HandlerError as error:
        raise internal(str(error)) from error
    return OK


async def pause(call: Call) -> Response:
    """Stop the guest's CPUs."""

    def check(vmi: Object) -> None:
        _running(vmi, VM_NOT_RUNNING)
        probe = vmi["spec"].get("livenessProbe")
        if probe is not None and probe.get("guestAgentPing") is None:
            words = "Pausing VMIs with a non-GuestAgentPing LivenessProbe is not supported"
            raise vmi_forbidden(name_of(vmi), words)
        if condition(vmi, "Paused") is not None:
            raise vmi_conflict(name_of(vmi), "VMI is already paused")

    return await _put(call, "pause", check, dry_run=await call.dry_run())


async def unpause(call: Call) -> Response:
    """Let the guest's CPUs run again."""
    try:
        vm = await call.vm()
        if (vm.get("status") or {}).get("snapshotInProgress") is not None:
            raise vm_conflict(call.name, "VM snapshot is in progress")
    except StatusError as error:
        if not is_not_found(error):
            raise

    def check(vmi: Object) -> None:
        _running(vmi, VMI_NOT_RUNNING)
        if condition(vmi, "Paused") is None:
            raise vmi_conflict(name_of(vmi), "VMI is not paused")

    return await _put(call, "unpause", check, dry_run=await call.dry_run())


async def freeze(call: Call) -> Response:
    """Freeze the guest's file systems."""
    return await _put(call, "freeze", lambda vmi: _running(vmi, VM_NOT_RUNNING))


async def unfreeze(call: Call) -> Response:
    """Thaw the guest's file systems."""
    return await _put(call, "unfreeze", lambda vmi: _running(vmi, VMI_NOT_RUNNING))


async def soft_reboot(call: Call) -> Response:
    """Ask the guest to reboot, by its agent or by ACPI."""

    def check(vmi: Object) -> None:
        _running(vmi, VM_NOT_RUNNING)
        if (condition(vmi, "Paused") or {}).get("status") == "True":
            raise vmi_conflict(name_of(vmi), "VMI is paused")
        if condition(vmi, "AgentConnected") is None and not acpi_enabled(vmi["spec"]):
            words = "VMI neither have the agent connected nor the ACPI feature enabled"
            raise vmi_conflict(name_of(vmi), words)

    return await _put(call, "softreboot", check)


async def reset(call: Call) -> Response:
    """Press the reset button. A failure says in which phase the instance was."""
    vmi = await call.vmi()
    phase = (vmi.get("status") or {}).get("phase", "")

    def told(text: str) -> str:
        return text if phase == RUNNING else f"Failed to reset non-running VMI with phase {phase}: {text}"

    try:
        await ask_handler(call.services, vmi, "PUT", "reset")
    except StatusError as error:
        raise StatusError(error.code, error.reason, told(error.message), error.details) from error
    except HandlerError as error:
        raise internal(told(str(error))) from error
    return OK


def _agent_check(vmi: Object) -> None:
    _running(vmi, VMI_NOT_RUNNING)
    if condition(vmi, "AgentConnected") is None:
        raise vmi_conflict(name_of(vmi), _AGENT_MISSING)


async def _ask(call: Call, action: str, check: Check, query: dict[str, str] | None = None) -> Response:
    """A question to the guest; every refusal is a plain text with the code 500, as upstream answers these."""
    try:
        vmi = await call.vmi()
        check(vmi)
        reply = await ask_handler(call.services, vmi, "GET", action, query=query)
    except (StatusError, HandlerError) as error:
        return Response(500, str(error).encode(), content_type="text/plain; charset=utf-8")
    kind = reply.headers.get("content-type") or "application/json"
    return Response(200, reply.body, content_type=kind)


async def guest_os_info(call: Call) -> Response:
    """What the guest agent says of the guest."""
    return await _ask(call, "guestosinfo", _agent_check)


async def user_list(call: Call) -> Response:
    """Who is logged in in the guest."""
    return await _ask(call, "userlist", _agent_check)


async def filesystem_list(call: Call) -> Response:
    """The guest's file systems."""
    return await _ask(call, "filesystemlist", _agent_check)


def display_check(vmi: Object) -> None:
    """An instance that has a screen, and is running."""
    if not graphics_device(vmi["spec"]):
        raise bad_request("No graphics devices are present.")
    if (vmi.get("status") or {}).get("phase") != RUNNING:
        raise bad_request(VMI_NOT_RUNNING)


async def screenshot(call: Call) -> Response:
    """A PNG of the guest's screen."""
    move = call.request.query.get("moveCursor", "false")
    return await _ask(call, "screenshot", display_check, {"moveCursor": move})


def gated(message: str) -> Callable[[Call], Any]:
    """The answer of a subresource that stands behind a feature gate, which is off."""

    async def refuse(call: Call) -> Response:
        raise bad_request(message)

    return refuse
