"""`kumo kubeconfig`: the administrator's kubeconfig, to standard output."""

from __future__ import annotations

from pathlib import Path

import click

from kumo.cli.instance import InstanceError, load
from kumo.cli.main import data_dir_option


@click.command("kubeconfig", short_help="Print the administrator's kubeconfig.")
@data_dir_option
@click.option("--path", "only_path", is_flag=True, help="Print the file's path instead of its content.")
def command(data_dir: Path, only_path: bool) -> None:
    """Print the administrator's kubeconfig: kumo kubeconfig > ~/.kube/config"""
    instance = load(data_dir)
    if instance is not None and instance.joined:
        raise InstanceError(f"{data_dir} is a node of {instance.server}: the administrator's kubeconfig is there")
    if instance is None or not instance.kubeconfig.exists():
        raise InstanceError(f"there is no kubeconfig in {data_dir} yet: 'kumo up --data-dir {data_dir}' makes one")
    click.echo(instance.kubeconfig if only_path else instance.kubeconfig.read_text(), nl=only_path)
