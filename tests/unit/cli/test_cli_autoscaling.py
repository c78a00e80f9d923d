"""The options of metrics and autoscaling: remembered until others are given."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from kumo.cli import autoscaling, instance

pytestmark = pytest.mark.unit


def test_what_was_chosen_stays(tmp_path: Path) -> None:
    found = instance.choose(tmp_path, port=None, node_name="n")
    assert (found.autoscaler_sync, found.metric_resolution) == (0.0, 0.0)
    found = autoscaling.choose(found, {autoscaling.SYNC: 5.0, autoscaling.RESOLUTION: None})
    found = autoscaling.choose(found, {autoscaling.SYNC: None, autoscaling.RESOLUTION: 2.0})
    assert (found.autoscaler_sync, found.metric_resolution) == (5.0, 2.0)


@pytest.mark.parametrize("given", ["0", "-1", "soon", "1e9"])
def test_what_cannot_be_is_refused(given: str) -> None:
    @click.command()
    @autoscaling.options
    def command(**_: object) -> None:
        """Nothing."""

    result = CliRunner().invoke(command, ["--metric-resolution", given])
    assert result.exit_code == 2 and "--metric-resolution" in result.output
