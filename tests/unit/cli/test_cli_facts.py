"""Facts about the machine that follow from a path."""

from __future__ import annotations

from pathlib import Path

import pytest

from kumo.cli import facts

pytestmark = pytest.mark.unit


def test_a_node_s_sockets_need_a_short_data_directory() -> None:
    longest = Path("/var") / ("d" * 52)
    assert len(str(longest / "node/plugins_registry/local.csi.kumo.dev-reg.sock")) == 107
    assert facts.sockets(longest).level == "ok"
    refused = facts.sockets(longest / "d")
    assert (
        refused.level == "fault" and "has 59 bytes; with more than 57," in refused.found and "--data-dir" in refused.fix
    )
