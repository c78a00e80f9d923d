"""The shell of the persistent volume controller."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Key, Object, annotations_of, key_of, name_of, namespace_of, uid_of
from kumo.api.resources import GVR, PODS, core
from kumo.api.volume_claims import BIND_COMPLETED, bound_volume, class_of, default_class, has_class, volume_name
from kumo.kubernetes.controller_manager.volume_binding import claims, forms, recycling, volumes
from kumo.kubernetes.controller_manager.volume_protection.usage import claims_of
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.events import NORMAL, WARNING, EventRecorder
from kumo.machinery.informer import Informers

CLAIMS = core("persistentvolumeclaims")
VOLUMES = core("persistentvolumes", False)
CLASSES = GVR("storage.k8s.io", "v1", "storageclasses", False)
_INDEX = "volume-binding"
_RECYCLE_AGAIN = 15.0
"""Seconds after which a volume that could not be emptied is tried again."""
_SAY_AGAIN = 1800.0
"""Seconds after which a claim that still waits says so again: an event lives for an hour."""


class VolumeBindingController:
    """Binds claims to volumes and frees volumes. Claims are bound one by one, so that they don't race for volumes."""

    name = "persistentvolume-binder-controller"

    def __init__(self, client: Client, informers: Informers) -> None:
        self._client = client
        self._recorder = EventRecorder(client, "persistentvolume-controller")
        self._claims, self._volumes = informers.informer(CLAIMS), informers.informer(VOLUMES)
        self._classes, self._pods = informers.informer(CLASSES), informers.informer(PODS)
        self._claims.add_index(_INDEX, _claim_index)
        self._volumes.add_index(_INDEX, _volume_index)
        self._pods.add_index(_INDEX, _pod_index)
        self._for_claims = Controller("persistentvolume-binder-claims", self._claim, workers=1)
        self._for_claims.watch(self._claims)
        self._for_claims.watch(self._volumes, self._claims_for)
        self._for_claims.watch(self._classes, self._claims_of_class)
        self._for_claims.watch(self._pods, self._claims_of_pod)
        self._for_volumes = Controller("persistentvolume-binder-volumes", self._volume, workers=2)
        self._for_volumes.watch(self._volumes)
        self._for_volumes.watch(self._claims, self._volumes_for)
        self._for_volumes.watch(self._pods, recycling.volume_of)
        self._recycler = recycling.Recycler(client, self._pods)

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._for_claims.run(), name="claims")
            group.create_task(self._for_volumes.run(), name="volumes")

    # -- what a change is of interest to ------------------------------------------------------------------------------

    def _claims_for(self, volume: Object) -> Iterable[Key]:
        """Claims that name the volume or are named by it; if anybody may have it, all that wait for its class."""
        ref = (volume.get("spec") or {}).get("claimRef")
        if ref:
            yield Key(ref.get("namespace") or "", ref.get("name") or "")
        elif (volume.get("status") or {}).get("phase") == "Available":
            yield from map(key_of, self._claims.by_index(_INDEX, f"class/{class_of(volume)}"))
        yield from map(key_of, self._claims.by_index(_INDEX, f"volume/{name_of(volume)}"))

    def _claims_of_class(self, storage_class: Object) -> Iterable[Key]:
        yield from map(key_of, self._claims.by_index(_INDEX, f"class/{name_of(storage_class)}"))
        yield from map(key_of, self._claims.by_index(_INDEX, "unclassed"))

    def _claims_of_pod(self, pod: Object) -> Iterable[Key]:
        for name in claims_of(pod):
            claim = self._claims.get(name, namespace_of(pod))
            if claim is not None and not volume_name(claim):
                yield key_of(claim)

    def _volumes_for(self, claim: Object) -> Iterable[Key]:
        if volume_name(claim):
            yield Key("", volume_name(claim))
        yield from map(key_of, self._volumes.by_index(_INDEX, f"claim/{namespace_of(claim)}/{name_of(claim)}"))

    # -- claims -------------------------------------------------------------------------------------------------------

    async def _claim(self, key: Key) -> float | None:
        claim = self._claims.get_key(key)
        if claim is None:
            return None
        claim = await self._update(CLAIMS, claim, forms.migrated_claim(claim))
        made = claims.decide(claim, self._world(claim))
        if made.volume is not None:
            await self._bind(made.volume, claim)
            return None
        if made.storage_class:
            await self._client.update(CLAIMS, forms.claim_of_class(claim, made.storage_class))
            return None
        if made.provisioner:
            claim = await self._update(CLAIMS, claim, forms.claim_for_provisioner(claim, made.provisioner))
        if made.phase and (made.lost is None or (claim.get("status") or {}).get("phase") != made.phase):
            claim = await self._update(CLAIMS, claim, forms.claim_with_status(claim, made.phase), status=True)
            if made.lost is not None:
                self._recorder.event(claim, *made.lost)
        if made.event is None:
            return None
        self._recorder.event(claim, *made.event)
        return _SAY_AGAIN

    def _world(self, claim: Object) -> claims.ClaimWorld:
        key = f"{namespace_of(claim)}/{name_of(claim)}"
        if volume_name(claim) or BIND_COMPLETED in annotations_of(claim):
            return claims.ClaimWorld(named=self._volumes.get(volume_name(claim)))
        own = self._volumes.by_index(_INDEX, f"claim/{key}")
        free = self._volumes.by_index(_INDEX, f"class/{class_of(claim)}")
        pods = [p for p in self._pods.by_index(_INDEX, key) if not (p.get("spec") or {}).get("nodeName")]
        return claims.ClaimWorld(
            candidates=[*own, *free],
            storage_class=self._classes.get(class_of(claim)) if class_of(claim) else None,
            default=None if has_class(claim) else default_class(self._classes.objects()),
            waiting=sorted(name_of(p) for p in pods if not _has_ended(p)),
        )

    async def _bind(self, volume: Object, claim: Object) -> None:
        """Write both sides. A race for the volume is lost with a conflict before the claim is touched."""
        volume = await self._update(VOLUMES, volume, bound_volume(volume, claim))
        volume = await self._update(VOLUMES, volume, forms.volume_in_phase(volume, "Bound"), status=True)
        claim = await self._update(CLAIMS, claim, forms.bound_claim(claim, volume))
        await self._update(CLAIMS, claim, forms.claim_with_status(claim, "Bound", volume), status=True)

    async def _update(self, gvr: GVR, old: Object, new: Object, *, status: bool = False) -> Object:
        """Write what differs; the object as it is afterwards."""
        if new == old:
            return old
        return await (self._client.update_status(gvr, new) if status else self._client.update(gvr, new))

    # -- volumes ------------------------------------------------------------------------------------------------------

    async def _volume(self, key: Key) -> float | None:
        volume = self._volumes.get_key(key)
        if volume is None:
            return None
        volume = await self._update(VOLUMES, volume, forms.migrated_volume(volume))
        claim = await self._claimant(volume)
        made = volumes.decide(volume, claim)
        if made.ask_claim and claim is not None:
            self._for_claims.queue.add(key_of(claim))
        again = None
        try:
            volume = await self._carry_out(volume, made)
            if made.recycle:
                again = await self._recycle(volume)
        except StatusError as error:
            if not is_not_found(error):
                raise
        for event in made.events:
            self._recorder.event(volume, *event)
        for event in made.claim_events if claim is not None else ():
            self._recorder.event(claim or {}, *event)
        return again

    async def _recycle(self, volume: Object) -> float | None:
        """Have the volume emptied, once no pod uses it; the seconds after which to try again."""
        ref = (volume.get("spec") or {}).get("claimRef") or {}
        name, namespace = ref.get("name") or "", ref.get("namespace") or ""
        using = recycling.users(self._pods.by_index(_INDEX, f"{namespace}/{name}"))
        if using and self._claims.get(name, namespace) is None:
            text = f"Volume is used by pods: {','.join(using)}"
            self._recorder.event(volume, NORMAL, "VolumeFailedRecycle", text)
            return _RECYCLE_AGAIN
        # What the informer shows may be old: a volume that has a new claimant must not be emptied.
        volume = await self._client.get(VOLUMES, name_of(volume))
        if not volumes.decide(volume, await self._claimant(volume)).recycle:
            return None
        found = await self._recycler.recycle(volume)
        if found is None:
            return None
        if found:
            failed = forms.volume_in_phase(volume, "Failed", found)
            if failed != volume:
                volume = await self._update(VOLUMES, volume, failed, status=True)
                self._recorder.event(volume, WARNING, "VolumeFailedRecycle", found)
            return _RECYCLE_AGAIN
        self._recorder.event(volume, NORMAL, "VolumeRecycled", "Volume recycled")
        volume = await self._update(VOLUMES, volume, forms.unbound_volume(volume))
        await self._update(VOLUMES, volume, forms.volume_in_phase(volume, "Available"), status=True)
        return None

    async def _carry_out(self, volume: Object, made: volumes.VolumePlan) -> Object:
        if made.unbind:
            volume = await self._update(VOLUMES, volume, forms.unbound_volume(volume))
        if made.phase:
            volume = await self._update(VOLUMES, volume, forms.volume_in_phase(volume, made.phase), status=True)
        if made.failure is not None:
            reason, message = made.failure
            failed = forms.volume_in_phase(volume, "Failed", message)
            if failed != volume:
                volume = await self._update(VOLUMES, volume, failed, status=True)
                self._recorder.event(volume, WARNING, reason, message)
        return volume

    async def _claimant(self, volume: Object) -> Object | None:
        """The claim that the volume is bound to, asked for anew before it is taken for gone."""
        ref: dict[str, Any] = (volume.get("spec") or {}).get("claimRef") or {}
        if not ref.get("uid"):
            return None
        name, namespace = ref.get("name") or "", ref.get("namespace") or ""
        claim = self._claims.get(name, namespace)
        if claim is None or uid_of(claim) != ref["uid"]:
            if claim is None and (volume.get("status") or {}).get("phase") in ("Released", "Failed"):
                return None
            try:
                claim = await self._client.get(CLAIMS, name, namespace)
            except StatusError as error:
                if not is_not_found(error):
                    raise
                return None
        return claim if uid_of(claim) == ref["uid"] else None


def _claim_index(claim: Object) -> Iterable[str]:
    if volume_name(claim):
        yield f"volume/{volume_name(claim)}"
    elif BIND_COMPLETED not in annotations_of(claim):
        yield f"class/{class_of(claim)}"
        if not has_class(claim):
            yield "unclassed"


def _volume_index(volume: Object) -> Iterable[str]:
    ref = (volume.get("spec") or {}).get("claimRef")
    return [f"claim/{ref.get('namespace')}/{ref.get('name')}"] if ref else [f"class/{class_of(volume)}"]


def _pod_index(pod: Object) -> Iterable[str]:
    return [f"{namespace_of(pod)}/{name}" for name in claims_of(pod)]


def _has_ended(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
