"""How this machine's kubelet is configured: a KubeletConfiguration of `kumo up` and `kumo join`, kept in the data
directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kumo.cli.instance import Instance, InstanceError

if TYPE_CHECKING:
    from kumo.kubernetes.kubelet.config import KubeletConfig

FILE = "kubelet.yaml"
NONE = "none"
"""What is given instead of a file to go back to the defaults."""
_Command = TypeVar("_Command", bound=Callable[..., Any])


def options(command: _Command) -> _Command:
    """The option about the node's kubelet; it is remembered from start to start."""
    return click.option(
        "--kubelet-config",
        default="",
        metavar="FILE",
        help="File of kind KubeletConfiguration for this machine's node. Remembered; none for the defaults.",
    )(command)


def keep(root: Path, given: dict[str, Any]) -> None:
    """Check and remember the file; without one, what was remembered stays. Raises InstanceError."""
    text = given["kubelet_config"]
    if not text:
        return
    if text == NONE:
        (root / FILE).unlink(missing_ok=True)
        return
    from kumo.host.cgroups import Cgroups
    from kumo.kubernetes.kubelet.configuration.applying import check_machine, checked, ignored
    from kumo.kubernetes.kubelet.configuration.reading import ConfigurationError, read

    file = Path(text)
    try:
        document = read(file)
        check_machine(checked(document), unified=Cgroups().unified)
    except ConfigurationError as error:
        raise InstanceError(f"--kubelet-config {file}: {error}") from error
    without_effect = ignored(document)
    if without_effect:
        click.echo(f"  ! {warning(without_effect)}")
    root.mkdir(parents=True, exist_ok=True)
    fresh = root / f"{FILE}.new"
    fresh.write_bytes(file.read_bytes())
    fresh.replace(root / FILE)


def warning(names: list[str]) -> str:
    """What is said of fields that the kubelet does not follow."""
    return f"fields of the KubeletConfiguration that have no effect here: {', '.join(names)}"


def configured(instance: Instance, config: KubeletConfig) -> tuple[KubeletConfig, list[str]]:
    """The kubelet's settings by the file that is remembered, and the fields in it without effect.

    Raises InstanceError.
    """
    file = instance.root / FILE
    if not file.exists():
        return config, []
    from kumo.kubernetes.kubelet.configuration.applying import applied, ignored
    from kumo.kubernetes.kubelet.configuration.reading import ConfigurationError, read

    try:
        document = read(file)
        return applied(config, document), ignored(document)
    except ConfigurationError as error:
        text = f"{file}: {error}\nTo fix it: 'kumo up --kubelet-config FILE' (or 'kumo join') with another one, or none"
        raise InstanceError(text) from error
