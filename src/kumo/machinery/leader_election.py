"""One of several: whoever holds a Lease object does the work, the others wait (as client-go's leaderelection).

The holder writes the Lease again and again. Whoever has seen it unchanged for its whole duration, by his own clock,
may take it over, by comparing and swapping: clocks need not agree. A holder that can't renew stops its work before
anybody may take over. Upstream's times: 15 s lease, 10 s to renew, 2 s between attempts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Object, micro_timestamp
from kumo.api.resources import LEASES
from kumo.machinery.client import Client
from kumo.machinery.controller import Component

_log = structlog.get_logger("kumo.leader-election")


class LeadershipLost(Exception):
    """The Lease is another's, or could not be renewed in time: the work has been stopped."""


@dataclass(frozen=True, slots=True)
class Election:
    """What is run for: the Lease's namespace and name, who we are, and the times in seconds."""

    name: str
    identity: str
    namespace: str = "kube-system"
    duration: float = 15.0
    renew_deadline: float = 10.0
    retry: float = 2.0


class Elected:
    """Runs `components` while we are the leader. `run` raises LeadershipLost afterwards: the process starts anew.

    `client` may get, create and update Leases.
    """

    def __init__(self, client: Client, election: Election, components: Sequence[Component]) -> None:
        self.name = election.name
        self._client = client
        self._election = election
        self._components = components
        self._seen: Object | None = None
        self._seen_at = 0.0
        self.leading = False

    async def run(self) -> None:
        """Wait for the Lease, work, renew. Cancelled, it lets go of the Lease, so that another need not wait."""
        await self._acquire()
        self.leading = True
        _log.info("we lead", lease=self._election.name, identity=self._election.identity)
        try:
            async with asyncio.TaskGroup() as group:
                for component in self._components:
                    group.create_task(component.run(), name=component.name)
                await self._renew()
        finally:
            self.leading = False
            with suppress(Exception):  # Whatever keeps us from it: the Lease then ends by itself.
                await asyncio.wait_for(self._release(), 2.0)

    async def _acquire(self) -> None:
        while not await self._attempt():  # noqa: ASYNC110 - the Lease may end with no event
            await asyncio.sleep(self._election.retry)

    async def _renew(self) -> None:
        """Renew until that fails for too long."""
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(self._election.retry)
            left = renewed + self._election.renew_deadline - time.monotonic()
            try:
                async with asyncio.timeout(max(0.01, left)):
                    if await self._attempt():
                        renewed = time.monotonic()
                        continue
            except TimeoutError:
                pass
            if time.monotonic() - renewed >= self._election.renew_deadline or self._holder() not in ("", self._me):
                _log.error("we lead no longer", lease=self._election.name, holder=self._holder())
                raise LeadershipLost(f"the lease {self._election.name} could not be renewed in time")

    @property
    def _me(self) -> str:
        return self._election.identity

    def _holder(self) -> str:
        spec = (self._seen or {}).get("spec") or {}
        return spec.get("holderIdentity") or ""

    async def _attempt(self) -> bool:
        """Take or renew the Lease; whether it is ours now."""
        try:
            try:
                found = await self._client.get(LEASES, self._election.name, self._election.namespace)
            except StatusError as error:
                if not is_not_found(error):
                    raise
                found = await self._client.create(LEASES, self._lease(None), self._election.namespace)
                self._observe(found)
                return True
            self._observe(found)
            holder = self._holder()
            duration = (found.get("spec") or {}).get("leaseDurationSeconds") or self._election.duration
            if holder not in ("", self._me) and time.monotonic() < self._seen_at + duration:
                return False
            self._observe(await self._client.update(LEASES, self._lease(found)))
        except (StatusError, OSError) as error:
            _log.info("the lease could not be had", lease=self._election.name, error=str(error))
            return False
        return True

    def _observe(self, found: Object) -> None:
        if self._seen is None or self._seen["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
            self._seen, self._seen_at = found, time.monotonic()

    def _lease(self, old: Object | None) -> Object:
        """The Lease as we want it."""
        now = micro_timestamp(time.time())
        before = (old or {}).get("spec") or {}
        same = before.get("holderIdentity") == self._me
        spec = {
            "holderIdentity": self._me,
            "leaseDurationSeconds": max(1, round(self._election.duration)),
            "acquireTime": before.get("acquireTime") if same else now,
            "renewTime": now,
            "leaseTransitions": (before.get("leaseTransitions") or 0) + (old is not None and not same),
        }
        meta = (old or {}).get("metadata") or {"name": self._election.name, "namespace": self._election.namespace}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}

    async def _release(self) -> None:
        found = await self._client.get(LEASES, self._election.name, self._election.namespace)
        spec = found["spec"]
        if spec.get("holderIdentity") == self._me:
            now = micro_timestamp(time.time())
            free = {**spec, "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": now, "acquireTime": now}
            await self._client.update(LEASES, {**found, "spec": free})
