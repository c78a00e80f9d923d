"""How pods are scheduled: a KubeSchedulerConfiguration of `kumo up`, kept in the data directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kumo.cli.instance import Instance, InstanceError

if TYPE_CHECKING:
    from kumo.kubernetes.scheduler import SchedulerConfig

FILE = "scheduler.yaml"
NONE = "none"
"""What is given instead of a file to go back to the default profile."""
_Command = TypeVar("_Command", bound=Callable[..., Any])


def options(command: _Command) -> _Command:
    """The option of `kumo up` about scheduling; it is remembered from start to start."""
    return click.option(
        "--scheduler-config",
        default="",
        metavar="FILE",
        help="File of kind KubeSchedulerConfiguration: profiles, plugins, extenders. Remembered; none for the default.",
    )(command)


def keep(root: Path, given: dict[str, Any]) -> None:
    """Check and remember the file; without one, what was remembered stays. Raises InstanceError."""
    text = given["scheduler_config"]
    if not text:
        return
    if text == NONE:
        (root / FILE).unlink(missing_ok=True)
        return
    from kumo.kubernetes.scheduler.configuration import read
    from kumo.kubernetes.scheduler.settings import SettingsError

    file = Path(text)
    try:
        read(file)
    except SettingsError as error:
        raise InstanceError(f"--scheduler-config: {error}") from error
    root.mkdir(parents=True, exist_ok=True)
    fresh = root / f"{FILE}.new"
    fresh.write_text(file.read_text())
    fresh.replace(root / FILE)


def scheduling(instance: Instance) -> SchedulerConfig:
    """How the instance's scheduler is configured. Raises InstanceError."""
    from kumo.kubernetes.scheduler import SchedulerConfig
    from kumo.kubernetes.scheduler.configuration import read
    from kumo.kubernetes.scheduler.settings import SettingsError

    file = instance.root / FILE
    if not file.exists():
        return SchedulerConfig()
    try:
        return SchedulerConfig(read(file))
    except SettingsError as error:
        raise InstanceError(f"{error}\nTo fix it: correct or remove {file}") from error
