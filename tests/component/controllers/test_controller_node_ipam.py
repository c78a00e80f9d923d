"""Parts of the pod network for nodes, when there are more nodes than parts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kumo.api.objects import Object
from kumo.api.resources import EVENTS, NODES
from kumo.kubernetes.controller_manager.node_ipam import NodeIpamConfig, NodeIpamController
from kumo.machinery.client import Client
from kumo.machinery.informer import Informers
from support.apiserver import running_apiserver

pytestmark = pytest.mark.component


async def until_has_part(client: Client, name: str) -> str:
    async with asyncio.timeout(60):
        while True:
            node = await client.get(NODES, name)
            if found := (node.get("spec") or {}).get("podCIDR"):
                return str(found)
            await asyncio.sleep(0.02)


async def test_a_node_without_a_part_gets_that_of_one_that_leaves(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        client, informers = server.client, Informers(server.client)
        controller = NodeIpamController(client, informers, NodeIpamConfig("10.1.0.0/23"))
        tasks = [asyncio.create_task(part.run()) for part in (informers, controller)]
        try:
            for name in ("a", "b"):
                await client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
            assert {await until_has_part(client, n) for n in ("a", "b")} == {"10.1.0.0/24", "10.1.1.0/24"}
            late: Object = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "late"}}
            await client.create(NODES, late)
            async with asyncio.timeout(60):
                while not any(e["reason"] == "CIDRNotAvailable" for e in (await client.list(EVENTS)).items):
                    await asyncio.sleep(0.02)
            free = (await client.get(NODES, "b"))["spec"]["podCIDR"]
            await client.delete(NODES, "b")
            await client.patch(NODES, "late", {"metadata": {"labels": {"look": "again"}}})
            assert await until_has_part(client, "late") == free
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
