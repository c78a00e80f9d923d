"""The kumo command line. Each subcommand's module is imported when it is called, so that none pays for another."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import click

from kumo.cli.instance import DEFAULT_DATA_DIR, InstanceError

_COMMANDS = {
    "up": "kumo.cli.up",
    "join": "kumo.cli.join",
    "token": "kumo.cli.token",
    "down": "kumo.cli.down",
    "reset": "kumo.cli.reset",
    "status": "kumo.cli.status",
    "doctor": "kumo.cli.doctor",
    "kubeconfig": "kumo.cli.kubeconfig",
    "certs": "kumo.cli.certs",
    "image": "kumo.cli.image",
    "backup": "kumo.cli.backup",
    "restore": "kumo.cli.restore",
    "store": "kumo.cli.store",
    "service": "kumo.cli.service",
    "hollow-node": "kumo.cli.hollow_node",
    "virt": "kumo.cli.virt.main",
    "version": "kumo.cli.version",
}


class LazyGroup(click.Group):
    """A group whose commands live in modules of their own, each with the name `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the subcommands, in the order of a machine's life."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The subcommand, imported now."""
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = importlib.import_module(module).command
        return command


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: kumo doctor, then kumo up --detach",
)
def kumo() -> None:
    """A private cloud on this machine: Kubernetes, KubeVirt and OpenStack over one set of objects."""


def data_dir_option(function: Any) -> Any:
    """The option `--data-dir`, which every subcommand takes."""
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        default=DEFAULT_DATA_DIR,
        envvar="KUMO_DATA_DIR",
        show_default=True,
        help="The instance's directory.",
    )(function)


def main() -> None:
    """Run the command line; faults that the user can fix are one line and exit code 1."""
    try:
        kumo.main(standalone_mode=True)
    except InstanceError as error:
        print(f"kumo: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:  # a disk that is full, a file system that can't be written: the error names the file
        print(f"kumo: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
