"""The ephemeral volume controller: makes the claims that pods carry templates of, owned by their pod."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy

from kumo.api.errors import StatusError
from kumo.api.objects import (
    Key,
    Object,
    controller_of,
    is_deleting,
    key_of,
    name_of,
    namespace_of,
    owner_reference,
    uid_of,
)
from kumo.api.resources import PODS, core
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.events import WARNING, EventRecorder
from kumo.machinery.informer import Informers

CLAIMS = core("persistentvolumeclaims")
_INDEX = "ephemeral-volumes"


def claims_for(pod: Object) -> Iterator[tuple[str, Object]]:
    """For each ephemeral volume of the pod its name and the claim that stands for it."""
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        if volume.get("ephemeral") is None:
            continue
        template = volume["ephemeral"].get("volumeClaimTemplate") or {}
        given = template.get("metadata") or {}
        meta = {name: deepcopy(given[name]) for name in ("annotations", "labels") if given.get(name)}
        meta |= {"name": f"{name_of(pod)}-{volume['name']}", "namespace": namespace_of(pod)}
        meta["ownerReferences"] = [owner_reference({"apiVersion": "v1", "kind": "Pod"} | pod)]
        claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta}
        yield volume["name"], {**claim, "spec": deepcopy(template.get("spec") or {})}


def conflict(pod: Object, claim: Object) -> str:
    """Why an existing claim is not the pod's; empty if it is."""
    owner = controller_of(claim)
    if owner is not None and owner.get("uid") == uid_of(pod):
        return ""
    space = namespace_of(pod)
    return f"PVC {space}/{name_of(claim)} was not created for pod {space}/{name_of(pod)} (pod is not owner)"


class EphemeralVolumeController:
    """Makes missing claims of pods' ephemeral volumes. The garbage collector deletes them after the pod."""

    name = "ephemeral-volume-controller"

    def __init__(self, client: Client, informers: Informers) -> None:
        self._client = client
        self._recorder = EventRecorder(client, "ephemeral_volume")
        self._pods, self._claims = informers.informer(PODS), informers.informer(CLAIMS)
        self._pods.add_index(_INDEX, _claim_names)
        self._controller = Controller(self.name, self._reconcile, workers=2)
        self._controller.watch(self._pods, _interesting)
        self._claims.on_change(self._claim_changed)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._claims.wait_synced()
        await self._controller.run()

    def _claim_changed(self, old: Object | None, new: Object | None) -> None:
        """A claim that somebody deleted while its pod is there is made again."""
        if new is None and old is not None:
            for pod in self._pods.by_index(_INDEX, f"{namespace_of(old)}/{name_of(old)}"):
                self._controller.queue.add(key_of(pod))

    async def _reconcile(self, key: Key) -> float | None:
        pod = self._pods.get_key(key)
        if pod is None or is_deleting(pod):
            return None
        for volume, wanted in claims_for(pod):
            found = self._claims.get(name_of(wanted), key.namespace)
            try:
                if found is None:
                    await self._client.create(CLAIMS, wanted)
                    continue
                trouble = conflict(pod, found)
                if trouble:
                    raise StatusError(409, "Conflict", trouble)
            except StatusError as error:
                name = name_of(wanted)
                text = str(error) if found is not None else f"create PVC {name}: {error}"
                self._recorder.event(pod, WARNING, "FailedBinding", f"ephemeral volume {volume}: {text}")
                raise
        return None


def _interesting(pod: Object) -> Iterable[Key]:
    return [key_of(pod)] if any(True for _ in _claim_names(pod)) and not is_deleting(pod) else []


def _claim_names(pod: Object) -> Iterator[str]:
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        if volume.get("ephemeral") is not None:
            yield f"{namespace_of(pod)}/{name_of(pod)}-{volume.get('name', '')}"
