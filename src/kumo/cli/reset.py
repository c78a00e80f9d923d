"""`kumo reset`: remove the instance without a trace."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import click

from kumo.cli import leftovers
from kumo.cli.facts import user
from kumo.cli.instance import InstanceError, load, lost
from kumo.cli.main import data_dir_option
from kumo.cli.status import children
from kumo.cli.supervisor import lock_holder


@click.command("reset", short_help="Remove the instance without a trace.")
@data_dir_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(data_dir: Path, yes: bool) -> None:
    """Remove the instance: its pods, VMs, images, data, and everything it has put into the kernel."""
    fact = user()
    if fact.level == "fault":
        raise InstanceError(f"{fact.name}: {fact.found}. To fix it: {fact.fix}")
    try:
        instance = load(data_dir)
    except InstanceError:
        instance = lost(data_dir)
        if instance is None:
            raise
    if instance is None:
        click.echo(f"there is no instance in {data_dir}: nothing to remove")
        return
    if not yes and not click.confirm(f"Remove {data_dir} with all its pods, virtual machines, images and data?"):
        sys.exit(1)
    began = time.monotonic()
    pid = lock_holder(instance)
    if pid is not None:
        _end_supervisor(pid)
    leftovers.end_daemons(instance, grace=0.0)
    try:
        leftovers.remove(instance)
    except OSError as error:
        raise InstanceError(f"not all of {data_dir} could be removed: {error}. Run 'kumo reset' again") from error
    click.echo(f"Removed {data_dir} and all that belonged to it, in {time.monotonic() - began:.1f} s.")
    if instance.joined:
        name = instance.node_name
        click.echo(f"Its Node is still known at {instance.server}: there, type 'kubectl delete node {name}'.")


def _end_supervisor(pid: int) -> None:
    """End the supervisor and its children, the supervisor first so that it restarts none."""
    family = [pid, *children(pid)]
    try:
        os.kill(pid, signal.SIGSTOP)
    except ProcessLookupError:
        return
    leftovers.end_processes(family)
