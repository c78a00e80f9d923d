"""Resource metrics and autoscaling: how often they look, by options of `kumo up` that are kept with the instance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import click

from kumo.cli.instance import Instance

_Command = TypeVar("_Command", bound=Callable[..., Any])
SYNC = "horizontal_pod_autoscaler_sync_period"
RESOLUTION = "metric_resolution"


def options(command: _Command) -> _Command:
    """The options of `kumo up` about metrics and autoscaling, by the names of upstream's flags."""
    seconds = click.FloatRange(0.5, 3600)
    for name, text in (
        (SYNC, "Seconds between two looks of an autoscaler at its target.  [default: 15]"),
        (RESOLUTION, "Seconds between two looks at what nodes and pods use.  [default: 15]"),
    ):
        command = click.option(f"--{name.replace('_', '-')}", type=seconds, help=text)(command)
    return command


def choose(instance: Instance, given: dict[str, Any]) -> Instance:
    """The instance with what was chosen now; the rest stays as it was."""
    return replace(
        instance,
        autoscaler_sync=given.get(SYNC) or instance.autoscaler_sync,
        metric_resolution=given.get(RESOLUTION) or instance.metric_resolution,
    )
