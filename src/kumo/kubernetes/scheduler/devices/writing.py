"""Allocations and reservations become true: written into claims before the pod is bound, or taken back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from kumo.api.errors import StatusError, is_conflict
from kumo.api.objects import Object, is_deleting, name_of, namespace_of, timestamp, uid_of
from kumo.api.resources import PODS
from kumo.kubernetes.scheduler.cycle import CycleError
from kumo.kubernetes.scheduler.devices.claims import RESOURCE_CLAIMS, AssumedClaims
from kumo.kubernetes.scheduler.devices.readiness import NotReady, deadline, has_conditions, is_ready
from kumo.kubernetes.scheduler.devices.wishes import full_name
from kumo.kubernetes.scheduler.nodes import PodInfo
from kumo.machinery.client import STRATEGIC_MERGE_PATCH, Client

FINALIZER = "resource.kubernetes.io/delete-protection"
_ATTEMPTS = 5
_SEEN = 10.0
_log = structlog.get_logger("kumo.scheduler")


@dataclass(frozen=True, slots=True)
class Reservation:
    """A claim that the pod is still to be written into, with its allocation if it has none yet."""

    claim: Object
    allocation: Mapping[str, Any] | None = None
    held: bool = False
    """The pod is in it already; its devices are still to become ready."""
    mappings: tuple[Mapping[str, str], ...] = ()
    """Of a claim for extended resources, which is made now: which request is for which container."""


class ClaimWriter:
    """Writes reservations. What it has promised in `assumed` it forgets once that is written or has failed."""

    def __init__(self, client: Client, assumed: AssumedClaims) -> None:
        self._client = client
        self._assumed = assumed
        self._made: dict[str, Object] = {}
        """Claims for extended resources that were made, by the uid under which their devices were promised."""

    def promise(self, reservations: Sequence[Reservation]) -> None:
        """Others must not have these devices any more."""
        for found in reservations:
            if found.allocation is not None:
                self._assumed.promise(uid_of(found.claim), found.allocation)

    def forget(self, reservations: Sequence[Reservation]) -> None:
        """End the promises."""
        for found in reservations:
            if found.allocation is not None:
                self._assumed.forget(uid_of(found.claim))
                self._made.pop(uid_of(found.claim), None)

    async def reserve(self, pod: PodInfo, reservations: Sequence[Reservation]) -> None:
        """Write all of them. Raises CycleError, and StatusError or OSError."""
        for found in reservations:
            if found.mappings:
                await self._make(pod, found)
            elif not found.held:
                self._assumed.wrote(await self._reserve(pod, found))

    async def _make(self, pod: PodInfo, found: Reservation) -> None:
        """Make the claim of a pod's extended resources, and tell the pod of it."""
        meta = {k: v for k, v in found.claim["metadata"].items() if k not in ("name", "uid")}
        try:
            made = await self._client.create(RESOURCE_CLAIMS, {**found.claim, "metadata": meta})
        except StatusError as error:
            raise CycleError(f"create claim for extended resources {full_name(found.claim)}: {error}") from error
        self._made[uid_of(found.claim)] = made
        written = self._made[uid_of(found.claim)] = await self._reserve(pod, replace(found, claim=made))
        await self._appears(written)
        status = {"requestMappings": [dict(m) for m in found.mappings], "resourceClaimName": name_of(made)}
        patch = {"metadata": {"uid": pod.uid}, "status": {"extendedResourceClaimStatus": status}}
        await self._client.patch(PODS, pod.name, patch, pod.namespace, kind=STRATEGIC_MERGE_PATCH, subresource="status")

    async def _appears(self, claim: Object) -> None:
        """Return once those who look for free devices see the claim's."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SEEN):
                while self._assumed.claim(namespace_of(claim), name_of(claim)) is None:
                    await self._assumed.moved()
        self._assumed.wrote(claim)

    async def remove(self, claim: Object) -> None:
        """Delete the claim of a pod's extended resources. Raises StatusError, OSError."""
        fresh = await self._client.get(RESOURCE_CLAIMS, name_of(claim), namespace_of(claim))
        if uid_of(fresh) != uid_of(claim):
            return
        finalizers = [f for f in fresh["metadata"].get("finalizers") or () if f != FINALIZER]
        fresh = {**fresh, "metadata": {**fresh["metadata"], "finalizers": finalizers}}
        await self._client.update(RESOURCE_CLAIMS, fresh)
        await self._client.delete(RESOURCE_CLAIMS, name_of(claim), namespace_of(claim), uid=uid_of(claim))

    def awaited(self, reservations: Sequence[Reservation]) -> list[Object]:
        """The claims, as they are now, whose devices have to become ready."""
        found = [self._assumed.claim(namespace_of(r.claim), name_of(r.claim)) for r in reservations]
        return [c for c in found if c is not None and has_conditions(c)]

    async def wait_ready(self, claims: Sequence[Object]) -> None:
        """Return once the devices of all claims are ready for the pod. Raises CycleError if they won't be."""
        for before in claims:
            try:
                await self._ready(before)
            except (NotReady, TimeoutError) as error:
                text = str(error) or f"device binding timeout: claim={name_of(before)}"
                raise CycleError(f'running PreBind plugin "DynamicResources": {text}') from None

    async def _ready(self, claim: Object) -> None:
        until = deadline(claim)
        async with asyncio.timeout(None if until is None else max(0.0, until - time.time())):
            while True:
                found = self._assumed.claim(namespace_of(claim), name_of(claim))
                if found is None or uid_of(found) != uid_of(claim):
                    raise NotReady(f'resourceclaim.resource.k8s.io "{name_of(claim)}" not found')
                if is_ready(found):
                    return
                await self._assumed.moved()

    async def release(self, pod: PodInfo, reservations: Sequence[Reservation]) -> None:
        """The pod is not bound after all: the claims are free for others; their allocations stay."""
        for found in reservations:
            if found.mappings:
                await self._take_away(found)
                continue
            patch = {
                "metadata": {"uid": uid_of(found.claim)},
                "status": {"reservedFor": [{"$patch": "delete", "uid": pod.uid}]},
            }
            kind = "application/strategic-merge-patch+json"
            try:
                written = await self._client.patch(
                    RESOURCE_CLAIMS,
                    name_of(found.claim),
                    patch,
                    namespace_of(found.claim),
                    subresource="status",
                    kind=kind,
                )
            except (StatusError, OSError) as error:
                _log.info("a claim stays reserved", claim=full_name(found.claim), error=str(error))
            else:
                self._assumed.wrote(written)

    async def _take_away(self, found: Reservation) -> None:
        made = self._made.get(uid_of(found.claim))
        if made is None:
            return
        try:
            await self.remove(made)
        except (StatusError, OSError) as error:
            _log.info("a claim for extended resources stays", claim=full_name(made), error=str(error))

    async def deallocate(self, claim: Object) -> None:
        """Give back the devices of a claim that nobody uses. Raises StatusError, OSError."""
        kept = {k: v for k, v in claim["status"].items() if k not in ("allocation", "reservedFor", "devices")}
        self._assumed.wrote(await self._client.update_status(RESOURCE_CLAIMS, {**claim, "status": kept}))

    async def _reserve(self, pod: PodInfo, found: Reservation) -> Object:
        claim, name = found.claim, full_name(found.claim)
        for attempt in range(_ATTEMPTS):
            if attempt:
                claim = await self._client.get(RESOURCE_CLAIMS, name_of(claim), namespace_of(claim))
            if is_deleting(claim) or uid_of(claim) != uid_of(found.claim):
                raise CycleError(f"claim {name} got deleted in the meantime")
            try:
                return await self._write(pod, claim, found.allocation)
            except StatusError as error:
                if not is_conflict(error) or attempt == _ATTEMPTS - 1:
                    what = "allocation and reservation" if found.allocation is not None else "reservation"
                    raise CycleError(f"add {what} to claim {name}: {error}") from error
        raise AssertionError("unreachable")

    async def _write(self, pod: PodInfo, claim: Object, allocation: Mapping[str, Any] | None) -> Object:
        name, status = full_name(claim), dict(claim.get("status") or {})
        if allocation is not None:
            if status.get("allocation"):
                raise CycleError(f"claim {name} got allocated elsewhere in the meantime")
            finalizers = claim["metadata"].get("finalizers") or []
            if FINALIZER not in finalizers:
                marked = {**claim, "metadata": {**claim["metadata"], "finalizers": [*finalizers, FINALIZER]}}
                claim = await self._client.update(RESOURCE_CLAIMS, marked)
            status["allocation"] = {**allocation, "allocationTimestamp": timestamp()}
        elif not status.get("allocation"):
            raise CycleError(f"claim {name} got deallocated elsewhere in the meantime")
        holders = status.get("reservedFor") or []
        status["reservedFor"] = [*holders, {"resource": "pods", "name": pod.name, "uid": pod.uid}]
        return await self._client.update_status(RESOURCE_CLAIMS, {**claim, "status": status})
