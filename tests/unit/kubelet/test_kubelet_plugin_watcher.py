"""Plugins that never register are tried for days."""

from __future__ import annotations

from pathlib import Path

import pytest

from kumo.kubernetes.kubelet.csi.registration import PluginWatcher, _Plugin, _Socket

pytestmark = pytest.mark.unit


async def test_a_socket_that_nobody_answers_at_is_tried_again_for_ever(tmp_path: Path) -> None:
    watcher, plugin = PluginWatcher(tmp_path, {}), _Plugin()
    plugin.attempts = 5000
    (tmp_path / "dead.sock").touch()
    socket = _Socket(tmp_path / "dead.sock", 1, 1)
    assert await watcher._register(socket, plugin) == 120.0
