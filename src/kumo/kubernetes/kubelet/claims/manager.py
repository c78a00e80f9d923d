"""The claims of this node's pods: prepared by their drivers before a pod starts, given back when it has ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from kumo.api.errors import StatusError
from kumo.api.objects import Object, controller_of, name_of, namespace_of, uid_of
from kumo.api.resources import GVR
from kumo.kubernetes.kubelet.claims import cdi
from kumo.kubernetes.kubelet.claims.health import HealthBook, statuses, watch
from kumo.kubernetes.kubelet.claims.plugin import SERVICES, ClaimDriver, ClaimError
from kumo.kubernetes.kubelet.claims.records import FILE, ClaimRecord, load, save
from kumo.kubernetes.kubelet.csi.registration import Refused
from kumo.kubernetes.kubelet.devices.options import NOTHING, DeviceOptions
from kumo.kubernetes.kubelet.spec import claimed_resources, containers
from kumo.machinery.client import Client

_GROUP = ("resource.k8s.io", "v1")
CLAIMS, SLICES = GVR(*_GROUP, "resourceclaims"), GVR(*_GROUP, "resourceslices", False)
WIPE_AFTER = 30.0
"""Seconds after which the ResourceSlices of a driver that has gone go too."""
_RETRY = 5.0
_log = structlog.get_logger("kumo.kubelet")


class ClaimManager:
    """One node's. It is the handler of plugins of type `DRAPlugin`."""

    def __init__(
        self,
        folder: Path,
        node_name: str,
        client: Client,
        *,
        wipe_after: float = WIPE_AFTER,
        folders: Sequence[Path] = cdi.FOLDERS,
        touched: Callable[[str], None] = lambda uid: None,
    ) -> None:
        """`folder` holds the checkpoint, `folders` the CDI specs; `touched` hears of pods whose devices changed.

        Raises OSError if the checkpoint can't be read."""
        self._file = folder / FILE
        self._node_name = node_name
        self._client = client
        self._wipe_after = wipe_after
        self._folders = folders
        self._touched = touched
        self._drivers: dict[str, ClaimDriver] = {}
        self._wipes: dict[str, asyncio.Task[None]] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._book = HealthBook()
        self._lock = asyncio.Lock()
        self._pending: set[str] = set()
        """Pods that have ended but whose claims could not be given back yet."""
        self._moved = asyncio.Event()
        try:
            self._records = load(self._file)
        except ValueError as error:
            _log.warning("prepared claims are not known any more", error=str(error))
            self._records = {}

    async def run(self) -> None:
        """Give back what could not be given back at once, until cancelled."""
        self._wipes[""] = asyncio.create_task(self._wipe(""))
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_RETRY if self._pending else None):
                        await self._moved.wait()
                self._moved.clear()
                for uid in list(self._pending):
                    await self.release(uid)
        finally:
            for task in (*self._wipes.values(), *self._watches.values()):
                task.cancel()
            for driver in self._drivers.values():
                await driver.close()

    # -- drivers ----------------------------------------------------------------------------------------------------

    async def register(self, name: str, endpoint: str, versions: Sequence[str]) -> None:
        """Take a driver in. Raises Refused."""
        service = next((service for version, service in SERVICES.items() if version in versions), None)
        if service is None:
            asked, known = (" ".join(f'"{v}"' for v in found) for found in (versions, SERVICES))
            text = f"none of services supported by the plugin ([{asked}]) are supported by the kubelet ([{known}])"
            raise Refused(f"invalid supported gRPC versions of DRA driver plugin {name} at endpoint {endpoint}: {text}")
        await self._close(self._drivers.pop(name, None))
        self._drivers[name] = ClaimDriver(name, endpoint, service)
        self._watches[name] = asyncio.create_task(self._watch(name, endpoint))
        wipe = self._wipes.pop(name, None)
        if wipe is not None:
            wipe.cancel()
        self._moved.set()

    async def unregister(self, name: str, endpoint: str) -> None:
        """A driver has gone: if it stays away so do its ResourceSlices."""
        found = self._drivers.get(name)
        if found is None or found.endpoint != endpoint:
            return
        await self._close(self._drivers.pop(name))
        self._wipes[name] = asyncio.create_task(self._wipe(name))

    async def _close(self, driver: ClaimDriver | None) -> None:
        if driver is not None:
            watch = self._watches.pop(driver.name, None)
            if watch is not None:
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)
            await driver.close()

    async def _watch(self, name: str, endpoint: str) -> None:
        """Follow what a driver says of its devices' health; those that say nothing are unknown."""
        try:
            async for told in watch(endpoint):
                self._tell(self._book.update(name, told))
        except OSError as error:
            _log.debug("a driver tells no more of its devices' health", driver=name, error=str(error))
        finally:
            self._tell(self._book.forget(name))

    def _tell(self, devices: Collection[tuple[str, str, str]]) -> None:
        for record in self._records.values():
            mine = {(driver, d.pool, d.device) for driver, made in record.drivers.items() for d in made}
            if mine.intersection(devices):
                for uid in record.pods:
                    self._touched(uid)

    def health(self, pod: Object, others: Mapping[str, list[dict[str, Any]]]) -> Mapping[str, list[dict[str, Any]]]:
        """`allocatedResourcesStatus` of the pod's containers: what claims gave them, after what `others` say."""
        if not (pod.get("spec") or {}).get("resourceClaims"):
            return others
        names = {entry["name"]: name for entry, name in named(pod)}

        def find(entry: str) -> ClaimRecord | None:
            return self._find(namespace_of(pod), names.get(entry) or "")

        asked = {c["name"]: (c.get("resources") or {}).get("claims") for c in containers(pod)}
        mine = {name: statuses(claims, find, self._book) for name, claims in asked.items() if claims}
        return {name: [*others.get(name, ()), *mine.get(name, ())] for name in {*others, *mine}}

    async def _wipe(self, name: str) -> None:
        """Delete a driver's slices of this node; without a name, those of drivers that have not come back."""
        await asyncio.sleep(self._wipe_after)
        selector = f"spec.nodeName={self._node_name}" + (f",spec.driver={name}" if name else "")
        while True:
            try:
                found = await self._client.list(SLICES, field_selector=selector)
                for item in found.items:
                    if item["spec"]["driver"] not in self._drivers:
                        await self._client.delete(SLICES, name_of(item))
                return
            except (StatusError, OSError) as error:
                _log.info("ResourceSlices of a driver that has gone stay", driver=name, error=str(error))
                await asyncio.sleep(_RETRY)

    # -- pods -------------------------------------------------------------------------------------------------------

    async def prepare(self, pod: Object) -> None:
        """Have the pod's claims prepared. Raises ClaimError."""
        wanted = [c for c in [await self._claim(pod, e, n) for e, n in named(pod) if n] if c is not None]
        if not wanted:
            return
        async with self._lock:
            batches: dict[str, list[ClaimRecord]] = {}
            for claim in wanted:
                record = self._record(claim)
                record.pods.add(uid_of(pod))
                for name in record.drivers if not record.prepared else ():
                    if name not in self._drivers:
                        raise ClaimError(f"prepare dynamic resources: DRA driver {name} is not registered")
                    batches.setdefault(name, []).append(record)
            await self._save()
            for name, records in batches.items():
                try:
                    made = await self._drivers[name].prepare(records)
                except ClaimError as error:
                    raise ClaimError(f"prepare dynamic resources: {error}") from error
                for record in records:
                    record.drivers[name] = made[record.uid]
            for records in batches.values():
                for record in records:
                    record.prepared = True
            await self._save()

    def records_of(self, pod: Object, container: Mapping[str, Any]) -> list[ClaimRecord]:
        """The claims that a container uses, as far as they are prepared."""
        asked = {c["name"] for c in asked_of(pod, container)}
        found = [self._find(namespace_of(pod), n) for e, n in named(pod) if n and e["name"] in asked]
        return [record for record in found if record is not None]

    async def options(self, pod: Object, container: Mapping[str, Any], more: Sequence[str] = ()) -> DeviceOptions:
        """What a container gets with its claims, and with the CDI devices in `more`. Raises OSError."""
        asked = asked_of(pod, container)
        ids = list(more)
        names = {entry["name"]: name for entry, name in named(pod)}
        for claim in asked:
            name = names.get(claim["name"])
            if not name:
                continue
            record = self._find(namespace_of(pod), name)
            if record is None:
                space = namespace_of(pod)
                raise ClaimError(
                    f"internal error: unable to get claim info for ResourceClaim {name} in namespace {space}"
                )
            for device in (d for made in record.drivers.values() for d in made):
                if device.serves(claim.get("request") or ""):
                    ids += device.cdi
        if not ids:
            return NOTHING
        return cdi.options(ids, await asyncio.to_thread(cdi.specs, self._folders))

    async def release(self, uid: str) -> None:
        """The pod has ended: claims that no other pod here uses are given back, now or as soon as that can be."""
        if not any(uid in r.pods for r in self._records.values()):
            self._pending.discard(uid)
            return
        async with self._lock:
            mine = [r for r in self._records.values() if uid in r.pods]
            try:
                for record in mine:
                    if len(record.pods) == 1:
                        await self._unprepare(record)
                        del self._records[record.uid]
                    record.pods.discard(uid)
            except ClaimError as error:
                _log.warning("claims are not given back yet", pod=uid, error=str(error))
                if uid not in self._pending:
                    self._pending.add(uid)
                    self._moved.set()
                return
            finally:
                await self._save()
        self._pending.discard(uid)

    async def keep(self, uids: Collection[str]) -> None:
        """Only these pods are left; what others had is given back."""
        for uid in {u for r in self._records.values() for u in r.pods if u not in uids}:
            await self.release(uid)

    async def _unprepare(self, record: ClaimRecord) -> None:
        for name in record.drivers:
            driver = self._drivers.get(name)
            if driver is None:
                raise ClaimError(f"unprepare dynamic resources: DRA driver {name} is not registered")
            await driver.unprepare([record])

    async def _claim(self, pod: Object, entry: Mapping[str, Any], name: str) -> Object | None:
        try:
            claim = await self._client.get(CLAIMS, name, namespace_of(pod))
        except (StatusError, OSError) as error:
            raise ClaimError(f"prepare dynamic resources: fetch ResourceClaim {name}: {error}") from error
        if entry.get("resourceClaimTemplateName") and (controller_of(claim) or {}).get("uid") != uid_of(pod):
            where = f"{namespace_of(pod)}/{name} was not created for Pod {namespace_of(pod)}/{name_of(pod)}"
            raise ClaimError(f"prepare dynamic resources: ResourceClaim {where} (Pod is not owner)")
        status = claim.get("status") or {}
        if not any(h.get("uid") == uid_of(pod) for h in status.get("reservedFor") or ()):
            text = f"pod {name_of(pod)} ({uid_of(pod)}) is not allowed to use ResourceClaim {name} ({uid_of(claim)})"
            raise ClaimError(f"prepare dynamic resources: {text}")
        if not status.get("allocation"):
            raise ClaimError(f"prepare dynamic resources: ResourceClaim {name}: not allocated")
        return claim

    def _record(self, claim: Object) -> ClaimRecord:
        known = self._find(namespace_of(claim), name_of(claim))
        if known is not None and known.uid != uid_of(claim):
            text = f"old ResourceClaim with same name {name_of(claim)} and different UID {known.uid} still exists"
            raise ClaimError(f"prepare dynamic resources: {text} (previous pod force-deleted?!)")
        if known is None:
            results = claim["status"]["allocation"]["devices"].get("results") or ()
            known = ClaimRecord(
                uid_of(claim), name_of(claim), namespace_of(claim), drivers={r["driver"]: [] for r in results}
            )
            self._records[known.uid] = known
        return known

    def _find(self, namespace: str, name: str) -> ClaimRecord | None:
        return next((r for r in self._records.values() if (r.namespace, r.name) == (namespace, name)), None)

    async def _save(self) -> None:
        await asyncio.to_thread(save, self._file, dict(self._records))


def named(pod: Object) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The entries of a pod's `spec.resourceClaims` with the names of their claims; empty where there is none.

    The claim for the pod's extended resources comes last, with an entry of the claim's name.
    """
    status = pod.get("status") or {}
    made = {s["name"]: s for s in status.get("resourceClaimStatuses") or ()}
    for entry in (pod.get("spec") or {}).get("resourceClaims") or ():
        yield entry, entry.get("resourceClaimName") or made.get(entry["name"], {}).get("resourceClaimName") or ""
    special = (status.get("extendedResourceClaimStatus") or {}).get("resourceClaimName")
    if special:
        yield {"name": special, "resourceClaimName": special}, special


def asked_of(pod: Object, container: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What a container uses of its pod's claims: `resources.claims`, and what its extended resources are."""
    found = [*((container.get("resources") or {}).get("claims") or ())]
    special = ((pod.get("status") or {}).get("extendedResourceClaimStatus") or {}).get("resourceClaimName")
    requests = [r for names in claimed_resources(pod, container["name"]).values() for r in names]
    return found + [{"name": special, "request": r} for r in dict.fromkeys(requests) if special]
