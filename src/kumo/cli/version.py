"""`kumo version`: what this is and what it presents itself as."""

from __future__ import annotations

import json

import click

from kumo import __version__

PRESENTS = {"kubernetes": "1.36", "kubevirt": "v1"}


@click.command("version")
@click.option("-o", "--output", type=click.Choice(["json"]), help="Output for scripts.")
def command(output: str | None) -> None:
    """Print the version."""
    if output == "json":
        click.echo(json.dumps({"kumo": __version__, **PRESENTS}))
        return
    click.echo(f"kumo {__version__} (Kubernetes {PRESENTS['kubernetes']}, KubeVirt {PRESENTS['kubevirt']})")
