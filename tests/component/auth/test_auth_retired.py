"""Data of earlier versions: nodes lose the binding that let each do what concerns all; what others have made stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kumo.api.resources import CLUSTERROLEBINDINGS
from support.apiserver import RunningApiServer, running_apiserver

pytestmark = pytest.mark.component
_NODES = {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:nodes"}


async def bind_nodes(server: RunningApiServer, client: Any) -> None:
    """Let all nodes have the role, as this client."""
    found = await server.client.get(CLUSTERROLEBINDINGS, "system:node")
    await client.update(CLUSTERROLEBINDINGS, {**found, "subjects": [_NODES]})


async def subjects(server: RunningApiServer) -> list[dict[str, str]]:
    return (await server.client.get(CLUSTERROLEBINDINGS, "system:node")).get("subjects") or []


async def test_the_binding_of_all_nodes_is_taken_away_once(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        assert await subjects(server) == []
        await bind_nodes(server, server.server.client)  # As an earlier version's start did.
    async with running_apiserver(tmp_path) as server:
        assert await subjects(server) == []


async def test_a_binding_that_somebody_made_stays(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        await bind_nodes(server, server.client)
    async with running_apiserver(tmp_path) as server:
        assert await subjects(server) == [_NODES]
