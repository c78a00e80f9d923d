"""start, stop, restart, pause, unpause, soft-reboot, reset: one PUT to a subresource each."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from kumo.api.errors import StatusError, is_not_found
from kumo.api.resources import VMS
from kumo.cli.virt.flags import INTEGER, Command
from kumo.cli.virt.session import Session, SessionError, session_options

_DRY_RUN_HELP = "--dry-run=false: Flag used to set whether to perform a dry run or not."
_FORCE_HELP = "--force=false: Only used when grace-period=0. If true, immediately remove VMI pod from API."
_GRACE_HELP = "--grace-period=-1: Period of time in seconds given to the VMI to terminate gracefully."
_KINDS = {
    "vm": "virtualmachines",
    "virtualmachine": "virtualmachines",
    "vmi": "virtualmachineinstances",
    "virtualmachineinstance": "virtualmachineinstances",
}


def _put(session: Session, resource: str, name: str, verb: str, body: dict[str, Any] | None) -> None:
    async def put() -> None:
        async with session.client() as client:
            await client.request("PUT", session.subresource_path(resource, name, verb), body=body)

    asyncio.run(put())


def _options(dry_run: bool) -> dict[str, Any]:
    if not dry_run:
        return {}
    click.echo("Dry Run execution")
    return {"dryRun": ["All"]}


@click.command("start", cls=Command)
@click.argument("vm")
@click.option("--paused", is_flag=True, help="--paused=false: If set to true, start virtual machine in paused state")
@click.option("--dry-run", is_flag=True, help=_DRY_RUN_HELP)
@session_options
def start(session: Session, vm: str, paused: bool, dry_run: bool) -> None:
    """Start a virtual machine."""
    body = _options(dry_run) | ({"paused": True} if paused else {})
    try:
        _put(session, "virtualmachines", vm, "start", body)
    except StatusError as error:
        raise SessionError(f"Error starting VirtualMachine {error}") from error
    click.echo(f"VM {vm} was scheduled to start")


def _graceful(session: Session, vm: str, verb: str, field: str, grace: int | None, force: bool, dry_run: bool) -> None:
    if (grace is not None) != force:
        raise SessionError("Must both use --force=true and set --grace-period.")
    body = _options(dry_run) | ({field: grace} if force else {})
    doing = {"stop": "stopping", "restart": "restarting"}[verb]
    colon = "" if verb == "stop" and not force else ":"
    try:
        _put(session, "virtualmachines", vm, verb, body)
    except StatusError as error:
        raise SessionError(f"error {'force ' if force else ''}{doing} VirtualMachine{colon} {error}") from error
    click.echo(f"VM {vm} was scheduled to {verb}")


@click.command("stop", cls=Command)
@click.argument("vm")
@click.option("--force", is_flag=True, help=_FORCE_HELP)
@click.option("--grace-period", type=INTEGER, default=None, help=_GRACE_HELP)
@click.option("--dry-run", is_flag=True, help=_DRY_RUN_HELP)
@session_options
def stop(session: Session, vm: str, force: bool, grace_period: int | None, dry_run: bool) -> None:
    """Stop a virtual machine."""
    _graceful(session, vm, "stop", "gracePeriod", grace_period, force, dry_run)


@click.command("restart", cls=Command)
@click.argument("vm")
@click.option("--force", is_flag=True, help=_FORCE_HELP)
@click.option("--grace-period", type=INTEGER, default=None, help=_GRACE_HELP)
@click.option("--dry-run", is_flag=True, help=_DRY_RUN_HELP)
@session_options
def restart(session: Session, vm: str, force: bool, grace_period: int | None, dry_run: bool) -> None:
    """Restart a virtual machine."""
    _graceful(session, vm, "restart", "gracePeriodSeconds", grace_period, force, dry_run)


def _suspension(session: Session, kind: str, name: str, verb: str, dry_run: bool) -> None:
    """Pause or unpause; for a VM its existence is asked first, so that its own refusals come out."""
    resource = _KINDS.get(kind.lower().removesuffix("s"))
    if resource is None:
        # virtctl reports success here without having done anything.
        raise SessionError(f"unsupported resource type '{kind}'")
    doing = f"{verb.removesuffix('e')}ing"
    body = _options(dry_run)

    async def run() -> None:
        async with session.client() as client:
            vm: dict[str, Any] = {}
            if resource == "virtualmachines":
                try:
                    vm = await client.get(VMS, name, session.namespace)
                except StatusError as error:
                    raise SessionError(f"Error getting VirtualMachine {name}: {error}") from error
            path = session.subresource_path("virtualmachineinstances", name, verb)
            try:
                await client.request("PUT", path, body=body)
            except StatusError as error:
                if vm and verb == "pause" and is_not_found(error):
                    raise SessionError(_absent(vm, name, doing)) from error
                raise SessionError(f"Error {doing} VirtualMachineInstance {name}: {error}") from error

    asyncio.run(run())
    click.echo(f"VMI {name} was scheduled to {verb}")


def _absent(vm: dict[str, Any], name: str, doing: str) -> str:
    spec = vm.get("spec") or {}
    if spec.get("runStrategy") == "Halted" or spec.get("running") is False:
        return f"Error {doing} VirtualMachineInstance {name}. VirtualMachine {name} is not set to run"
    return f"Error {doing} VirtualMachineInstance {name}, it was not found"


@click.command("pause", cls=Command)
@click.argument("kind", metavar="vm|vmi")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help=_DRY_RUN_HELP)
@session_options
def pause(session: Session, kind: str, name: str, dry_run: bool) -> None:
    """Pause a virtual machine. Machine state is kept in memory."""
    _suspension(session, kind, name, "pause", dry_run)


@click.command("unpause", cls=Command)
@click.argument("kind", metavar="vm|vmi")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help=_DRY_RUN_HELP)
@session_options
def unpause(session: Session, kind: str, name: str, dry_run: bool) -> None:
    """Unpause a virtual machine."""
    _suspension(session, kind, name, "unpause", dry_run)


@click.command("soft-reboot", cls=Command)
@click.argument("vmi")
@session_options
def soft_reboot(session: Session, vmi: str) -> None:
    """Soft reboot a virtual machine instance."""
    try:
        _put(session, "virtualmachineinstances", vmi, "softreboot", None)
    except StatusError as error:
        raise SessionError(f"Error soft rebooting VirtualMachineInstance {vmi}: {error}") from error
    click.echo(f"VMI {vmi} was scheduled to soft-reboot")


@click.command("reset", cls=Command)
@click.argument("vmi")
@session_options
def reset(session: Session, vmi: str) -> None:
    """Reset a virtual machine instance."""
    try:
        _put(session, "virtualmachineinstances", vmi, "reset", None)
    except StatusError as error:
        raise SessionError(f"Error reseting VirtualMachineInstance {vmi}: {error}") from error
    click.echo(f"VMI {vmi} was scheduled to reset")
