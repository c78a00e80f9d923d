"""`kumo doctor`: the facts about this machine, and the fix beside each that needs one."""

from __future__ import annotations

import json
import sys
from itertools import chain
from pathlib import Path

import click

from kumo.cli import facts
from kumo.cli.instance import DEFAULT_NODE_PORT, DEFAULT_PORT, InstanceError, load
from kumo.cli.main import data_dir_option
from kumo.cli.supervisor import lock_holder

_MARKS = {"ok": ("✓", "green"), "note": ("!", "yellow"), "fault": ("✗", "red")}


@click.command("doctor", short_help="Check this machine, with the fix beside each fault.")
@data_dir_option
@click.option("-o", "--output", type=click.Choice(["json"]), help="Output for scripts.")
def command(data_dir: Path, output: str | None) -> None:
    """Look at this machine and say what keeps a cloud from running on it. Exit code 1 if anything does."""
    instance, known = None, []
    try:
        instance = load(data_dir)
    except InstanceError as error:
        known.append(facts.Fact("instance", "fault", str(error)))
    running = instance is not None and lock_holder(instance) is not None
    ports = (instance.port, instance.node_port) if instance else (DEFAULT_PORT, DEFAULT_NODE_PORT)
    found = []
    for fact in chain(known, facts.all_facts(data_dir, None if running else ports)):
        found.append(fact)
        if output is None:
            mark, colour = _MARKS[fact.level]
            click.echo(f"  {click.style(mark, fg=colour)} {fact.name:<20} {fact.found}")
            if fact.fix:
                click.echo(f"    {'':<20} fix: {fact.fix}")
    if output == "json":
        click.echo(json.dumps([f._asdict() for f in found], indent=2))
    if any(f.level == "fault" for f in found):
        sys.exit(1)
    if output is None:
        click.echo("\nThis machine can run kumo. Next: kumo up --detach" if not running else "\nkumo runs: kumo status")
