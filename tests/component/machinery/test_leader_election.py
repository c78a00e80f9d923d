"""Several run for one Lease on a real API server: one works at a time, whoever waits takes over."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kumo.api.errors import StatusError
from kumo.api.resources import LEASES
from kumo.machinery.client import Client
from kumo.machinery.leader_election import Elected, Election, LeadershipLost
from kumo.machinery.transport import InProcessTransport
from support.apiserver import ADMIN, running_apiserver

pytestmark = pytest.mark.component


class Work:
    name = "work"

    def __init__(self, working: set[str], identity: str) -> None:
        self._working = working
        self._identity = identity

    async def run(self) -> None:
        assert not self._working, "two work at once"
        self._working.add(self._identity)
        try:
            await asyncio.Event().wait()
        finally:
            self._working.discard(self._identity)


def elected(client: Client, identity: str, working: set[str]) -> Elected:
    times = Election("work", identity, duration=1.0, renew_deadline=0.6, retry=0.1)
    return Elected(client, times, [Work(working, identity)])


async def until(working: set[str], expected: set[str]) -> None:
    async with asyncio.timeout(5):
        while working != expected:
            await asyncio.sleep(0.01)


async def test_one_works_and_another_takes_over(tmp_path: Path) -> None:
    working: set[str] = set()
    async with running_apiserver(tmp_path) as server:
        first = asyncio.create_task(elected(server.client, "a", working).run())
        await until(working, {"a"})
        others = [asyncio.create_task(elected(server.client, name, working).run()) for name in "bc"]
        await asyncio.sleep(0.5)
        assert working == {"a"}
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        async with asyncio.timeout(0.9):  # The lease was given back: nobody waits for its end.
            while not working:
                await asyncio.sleep(0.01)
        lease = await server.client.get(LEASES, "work", "kube-system")
        assert lease["spec"]["holderIdentity"] in ("b", "c") and lease["spec"]["leaseTransitions"] >= 1
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        assert not working


async def test_a_leader_that_cannot_renew_stops_before_another_begins(tmp_path: Path) -> None:
    working: set[str] = set()
    async with running_apiserver(tmp_path) as server:
        cut = False

        async def handle(request):  # type: ignore[no-untyped-def]
            if cut:
                raise ConnectionError("cut off")
            return await server.server.handle(request)

        lonely = asyncio.create_task(elected(Client(InProcessTransport(handle, ADMIN)), "a", working).run())
        await until(working, {"a"})
        other = asyncio.create_task(elected(server.client, "b", working).run())
        cut = True
        with pytest.raises(ExceptionGroup) as lost:
            async with asyncio.timeout(5):
                await lonely
        assert lost.group_contains(LeadershipLost)
        await until(working, {"b"})
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)


async def test_a_lease_taken_by_force_ends_the_work(tmp_path: Path) -> None:
    working: set[str] = set()
    async with running_apiserver(tmp_path) as server:
        task = asyncio.create_task(elected(server.client, "a", working).run())
        await until(working, {"a"})
        while True:
            lease = await server.client.get(LEASES, "work", "kube-system")
            lease["spec"]["holderIdentity"] = "thief"
            try:
                await server.client.update(LEASES, lease)
                break
            except StatusError:
                continue
        with pytest.raises(ExceptionGroup):
            async with asyncio.timeout(5):
                await task
        assert not working
