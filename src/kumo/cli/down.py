"""`kumo down`: end the cloud, keep its data."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from pathlib import Path

import click

from kumo.cli.instance import Instance, load
from kumo.cli.main import data_dir_option
from kumo.cli.orphans import left_behind
from kumo.cli.supervisor import lock_holder


def stop(instance: Instance, timeout: float) -> bool:
    """Ask the supervisor to end and wait for it; False if it has not ended in `timeout` seconds."""
    pid = lock_holder(instance)
    if pid is None:
        return True
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        return bool(select.select([descriptor], [], [], timeout)[0])
    finally:
        os.close(descriptor)


@click.command("down", short_help="End the cloud, keep its data.")
@data_dir_option
@click.option("--timeout", default=180, show_default=True, help="Seconds to wait for pods and VMs to end.")
def command(data_dir: Path, timeout: int) -> None:
    """End the cloud. Running pods and VMs end cleanly; all data is kept, and `kumo up` brings everything back."""
    instance = load(data_dir)
    if instance is None or lock_holder(instance) is None:
        verb = "join" if instance is not None and instance.joined else "up"
        problem = left_behind(instance.containerd_dir, str(data_dir), verb) if instance is not None else ""
        if problem:
            click.echo(f"kumo does not run on {data_dir}. {problem}", err=True)
            sys.exit(1)
        click.echo(f"kumo does not run on {data_dir}")
        return
    began = time.monotonic()
    click.echo("Ending pods and virtual machines, then the cloud ...")
    if not stop(instance, timeout):
        click.echo(
            f"kumo: pods or VMs have not ended within {timeout} s. Wait longer with --timeout, "
            f"or end everything at once with 'kumo reset' (which removes the data)",
            err=True,
        )
        sys.exit(1)
    verb = "join" if instance.joined else "up"
    click.echo(f"Ended in {time.monotonic() - began:.1f} s. The data is in {data_dir}; 'kumo {verb}' starts it again.")
