"""kill -9 of the server under sixteen writers: nothing acknowledged is lost or doubled (`benchmarks.kills`: 1,000)."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.etcd import free_ports
from support.kills import kill_again_and_again

pytestmark = pytest.mark.component


async def test_a_server_that_is_killed_again_and_again_loses_nothing(tmp_path: Path) -> None:
    outcome = await kill_again_and_again(tmp_path / "server", free_ports(1)[0], kills=20)
    assert outcome.kills == 20 and outcome.acknowledged > 400
    assert outcome.unknown > 0, "no write was ever under way when the server was killed"
