"""What the operator sets of admission: a file of `kumo up`, kept in the data directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from kumo.cli.instance import Instance, InstanceError

FILE = "admission.yaml"
_Command = TypeVar("_Command", bound=Callable[..., Any])


def options(command: _Command) -> _Command:
    """The option of `kumo up` about admission plugins; it is remembered from start to start."""
    return click.option(
        "--admission-control-config-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="File of kind AdmissionConfiguration: settings of admission plugins. Remembered.",
    )(command)


def keep(root: Path, given: dict[str, Any]) -> None:
    """Check and remember the file; without one, what was remembered stays. Raises InstanceError."""
    file: Path | None = given["admission_control_config_file"]
    if file is not None:
        _read(file)
        root.mkdir(parents=True, exist_ok=True)
        fresh = root / f"{FILE}.new"
        fresh.write_text(file.read_text())
        fresh.replace(root / FILE)


def admission(instance: Instance) -> dict[str, Any]:
    """The settings of the instance's admission plugins, for `ApiServerConfig.admission`. Raises InstanceError."""
    file = instance.root / FILE
    if not file.exists():
        return {}
    try:
        return _read(file)
    except InstanceError as error:
        raise InstanceError(f"{error}\nTo fix it: correct or remove {file}") from error


def _read(file: Path) -> dict[str, Any]:
    import yaml

    from kumo.kubernetes.apiserver.admission.config import plugin_options

    try:
        value = yaml.safe_load(file.read_text())
        if not isinstance(value, dict):
            raise ValueError("expected an object of kind AdmissionConfiguration")
        return plugin_options(value)
    except (yaml.YAMLError, ValueError, UnicodeDecodeError, AttributeError, TypeError) as error:
        raise InstanceError(f"{file} is no AdmissionConfiguration: {error}") from error
