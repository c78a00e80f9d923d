"""Allocations and reservations become true: written into claims before the pod is bound, or taken back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from kumo.api.errors import StatusError, is_conflict
from kumo.api.objects import Object, is_deleting, name_of, namespace_of, timestamp, uid_of
from kumo.kubernetes.scheduler.cycle import CycleError
from kumo.kubernetes.scheduler.devices.claims import RESOURCE_CLAIMS, AssumedClaims
from kumo.kubernetes.scheduler.devices.readiness import NotReady, deadline, has_conditions, is_ready
from kumo.kubernetes.scheduler.devices.wishes import full_name
from kumo.kubernetes.scheduler.nodes import PodInfo
from kumo.machinery.client import Client

FINALIZER = "resource.kubernetes.io/delete-protection"
_ATTEMPTS = 5
_log = structlog.get_logger("kumo.scheduler")


@dataclass(frozen=True, slots=True)
class Reservation:
    """A claim that the pod is still to be written into, with its allocation if it has none yet."""

    claim: Object
    allocation: Mapping[str, Any] | None = None
    held: bool = False
    """The pod is in it already; its devices are still to become ready."""


class ClaimWriter:
    """Writes reservations. What it has promised in `assumed` it forgets once that is written or has failed."""

    def __init__(self, client: Client, assumed: AssumedClaims) -> None:
        self._client = client
        self._assumed = assumed

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

    async def reserve(self, pod: PodInfo, reservations: Sequence[Reservation]) -> None:
        """Write all of them. Raises CycleError, and StatusError or OSError."""
        for found in reservations:
            if not found.held:
                self._assumed.wrote(await self._reserve(pod, found))

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
