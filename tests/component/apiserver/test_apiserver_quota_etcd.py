"""One quota, two API servers on one etcd: neither lets in what the other has used up."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from kumo.api.errors import StatusError
from kumo.api.resources import CONFIGMAPS, core
from kumo.store.etcd.engine import EtcdStore
from support.apiserver import running_apiserver
from support.etcd import EtcdCluster

pytestmark = pytest.mark.component
QUOTAS = core("resourcequotas")


async def test_two_servers_share_a_quota(etcd: EtcdCluster, tmp_path: Path) -> None:
    address = etcd.fresh()
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(running_apiserver(tmp_path, store=EtcdStore(address, patience=3.0)))
            for _ in range(2)
        ]
        one = servers[0].client
        hard = {"count/configmaps": "7"}
        await one.create(QUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": hard}}, "default")
        status = {"hard": hard, "used": {"count/configmaps": "0"}}
        await one.patch(QUOTAS, "q", {"status": status}, "default", subresource="status")
        # Both have seen the quota when each shows it.
        await asyncio.gather(*(server.client.get(QUOTAS, "q", "default") for server in servers))

        async def write(number: int) -> str:
            try:
                await servers[number % 2].client.create(CONFIGMAPS, {"metadata": {"name": f"m{number}"}}, "default")
            except StatusError as error:
                return error.reason
            return "made"

        answers = [await write(0), *await asyncio.gather(*(write(number) for number in range(1, 40)))]
        assert set(answers) <= {"made", "Forbidden", "Conflict"}
        listed = (await one.list(CONFIGMAPS, "default")).items
        assert answers.count("made") == len(listed) <= 7
        while len(listed) < 7:
            assert await write(100 + len(listed)) == "made"
            listed = (await one.list(CONFIGMAPS, "default")).items
        assert await write(999) == await write(998) == "Forbidden"
        quota = await servers[1].client.get(QUOTAS, "q", "default")
        assert quota["status"]["used"] == {"count/configmaps": "7"}
