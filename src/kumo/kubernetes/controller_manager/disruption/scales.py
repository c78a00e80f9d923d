"""How many pods the controllers of a budget's pods should have."""

from __future__ import annotations

from collections.abc import Iterable

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Object, controller_of, namespace_of, uid_of
from kumo.api.resources import DEPLOYMENTS, GVR, REPLICASETS, core
from kumo.kubernetes.controller_manager.disruption.decision import NotFound
from kumo.kubernetes.controller_manager.monitor import ResourceMonitor
from kumo.machinery.client import Client
from kumo.machinery.informer import Informer, Informers

STATEFULSETS = GVR("apps", "v1", "statefulsets")
REPLICATIONCONTROLLERS = core("replicationcontrollers")
_BUILTIN = {
    ("apps", "ReplicaSet"): REPLICASETS,
    ("extensions", "ReplicaSet"): REPLICASETS,
    ("apps", "StatefulSet"): STATEFULSETS,
    ("", "ReplicationController"): REPLICATIONCONTROLLERS,
}


class Scales:
    """Reads the scales of built-in controllers from informers, of all others from their scale subresource."""

    def __init__(self, client: Client, informers: Informers, monitor: ResourceMonitor) -> None:
        self._client = client
        self._monitor = monitor
        self._informers: dict[GVR, Informer] = {
            gvr: informers.informer(gvr) for gvr in (REPLICASETS, DEPLOYMENTS, STATEFULSETS, REPLICATIONCONTROLLERS)
        }

    async def wait_synced(self) -> None:
        """Return when the built-in controllers have been listed."""
        for informer in self._informers.values():
            await informer.wait_synced()

    async def of(self, pods: Iterable[Object]) -> dict[str, int]:
        """The scale by uid of each controller of a pod; controllers that are gone are left out.

        The uid is the one that the pod names: a Deployment's number stands under its ReplicaSets' uids only once.
        Raises NotFound for a controller without scale.
        """
        found: dict[str, int] = {}
        deployments: set[str] = set()
        for pod in pods:
            owner = controller_of(pod)
            if owner is None or owner["uid"] in found:
                continue
            top, scale = await self._find(owner, namespace_of(pod))
            if scale is None:
                continue
            # Old and new ReplicaSets of one Deployment want its replicas together.
            found[owner["uid"]] = 0 if top in deployments else scale
            deployments.add(top)
        return found

    async def _find(self, owner: Object, namespace: str) -> tuple[str, int | None]:
        group = owner.get("apiVersion", "").rpartition("/")[0]
        gvr = _BUILTIN.get((group, owner.get("kind", "")))
        if gvr is None:
            return await self._subresource(owner, namespace)
        found = self._informers[gvr].get(owner["name"], namespace)
        if found is None or uid_of(found) != owner["uid"]:
            return "", None
        above = controller_of(found) if gvr == REPLICASETS else None
        if above is not None and above.get("kind") == "Deployment":
            found = self._informers[DEPLOYMENTS].get(above["name"], namespace)
            if found is None or uid_of(found) != above["uid"]:
                return "", None
        replicas = (found.get("spec") or {}).get("replicas")
        return uid_of(found), 1 if replicas is None else int(replicas)

    async def _subresource(self, owner: Object, namespace: str) -> tuple[str, int | None]:
        gvr = self._monitor.discovery.by_kind.get((owner.get("apiVersion", ""), owner.get("kind", "")))
        if gvr is None:
            words = f'no matches for kind "{owner.get("kind", "")}" in version "{owner.get("apiVersion", "")}"'
            raise NotFound(words)
        try:
            scale = await self._client.get(gvr, owner["name"], namespace, subresource="scale")
        except StatusError as error:
            if not is_not_found(error):
                raise
            if not await self._has_scale(gvr):
                raise NotFound(f"{gvr.group_resource} does not implement the scale subresource") from None
            return "", None
        if uid_of(scale) != owner["uid"]:
            return "", None
        return owner["uid"], int((scale.get("spec") or {}).get("replicas") or 0)

    async def _has_scale(self, gvr: GVR) -> bool:
        path = f"/apis/{gvr.api_version}" if gvr.group else f"/api/{gvr.version}"
        listed = (await self._client.request("GET", path)).get("resources") or ()
        return any(entry.get("name") == f"{gvr.resource}/scale" for entry in listed)
