"""Before a pod is bound its claims are: volumes are given to them, or their provisioners are told where they go."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from kumo.api.objects import Key, Object, annotations_of, key_of, name_of, uid_of
from kumo.api.resources import core
from kumo.api.volume_claims import SELECTED_NODE, bound_volume, is_fully_bound
from kumo.kubernetes.scheduler.nodes import PodInfo
from kumo.kubernetes.scheduler.volumes import NodeVolumes
from kumo.machinery.client import Client
from kumo.machinery.informer import Informer

CLAIMS = core("persistentvolumeclaims")
VOLUMES = core("persistentvolumes", False)


class VolumesNotBound(Exception):
    """A claim can't be bound where the pod should go; another try may find another place."""

    def __init__(self, why: str) -> None:
        super().__init__(f'running PreBind plugin "VolumeBinding": binding volumes: {why}')


class VolumeBinder:
    """Writes what was decided on a pod's claims and waits until they are bound."""

    def __init__(self, client: Client, pods: Informer, claims: Informer, volumes: Informer) -> None:
        self._client = client
        self._pods, self._claims, self._volumes = pods, claims, volumes
        self._moved = asyncio.Event()

    def moved(self) -> None:
        """A claim, a volume or a waiting pod changed."""
        self._moved.set()

    async def bind(self, pod: PodInfo, chosen: NodeVolumes, node: str, timeout: float) -> None:
        """Bind the claims for a pod that goes to the node, within `timeout` seconds.

        Raises VolumesNotBound, or what the client does.
        """
        if not chosen.bindings and not chosen.provisions:
            return
        versions: dict[Key, int] = {}
        for volume, claim in chosen.bindings:
            wanted = bound_volume(volume, claim)
            if wanted != volume:
                written = await self._client.update(VOLUMES, wanted)
                versions[key_of(volume)] = _version(written)
        for claim in chosen.provisions:
            if annotations_of(claim).get(SELECTED_NODE) != node:
                patch = {"metadata": {"uid": uid_of(claim), "annotations": {SELECTED_NODE: node}}}
                key = key_of(claim)
                versions[key] = _version(await self._client.patch(CLAIMS, key.name, patch, key.namespace))
        try:
            async with asyncio.timeout(timeout):
                while not self._is_done(pod, chosen, node, versions):
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            raise VolumesNotBound("context deadline exceeded") from None

    def _is_done(self, pod: PodInfo, chosen: NodeVolumes, node: str, versions: Mapping[Key, int]) -> bool:
        """Whether all claims are bound; VolumesNotBound if that won't happen any more."""
        current = self._pods.get(pod.name, pod.namespace)
        if current is None or uid_of(current) != pod.uid:
            raise VolumesNotBound(f'pod does not exist any more: pod "{pod.name}" not found')
        done = True
        for volume, claim in chosen.bindings:
            if not is_fully_bound(self._current(claim)):
                done = False
                self._check_volume(volume, claim, versions.get(key_of(volume), 0))
        for claim in chosen.provisions:
            found = self._current(claim)
            if not is_fully_bound(found):
                done = False
                given_up = annotations_of(found).get(SELECTED_NODE) != node
                if given_up and _version(found) >= versions.get(key_of(claim), 0):
                    raise VolumesNotBound(f'provisioning failed for PVC "{name_of(claim)}"')
        return done

    def _current(self, claim: Object) -> Object:
        found = self._claims.get_key(key_of(claim))
        if found is None or uid_of(found) != uid_of(claim):
            raise VolumesNotBound(f'failed to check binding: persistentvolumeclaim "{name_of(claim)}" not found')
        return found

    def _check_volume(self, volume: Object, claim: Object, version: int) -> None:
        """The controller takes a volume back from a claim that has got another one."""
        found = self._volumes.get(name_of(volume))
        if found is None:
            raise VolumesNotBound(f'failed to check binding: persistentvolume "{name_of(volume)}" not found')
        ref = (found.get("spec") or {}).get("claimRef") or {}
        if _version(found) >= version and ref.get("uid") != uid_of(claim):
            raise VolumesNotBound(f'ClaimRef got reset for pv "{name_of(volume)}"')


def _version(obj: Object) -> int:
    return int(obj["metadata"]["resourceVersion"])
