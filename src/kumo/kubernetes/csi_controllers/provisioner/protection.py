"""Lets go of what volumes were copied from: the finalizers that claims and snapshots had meanwhile."""

from __future__ import annotations

from collections.abc import Iterable

from kumo.api.errors import StatusError, is_conflict, is_not_found
from kumo.api.objects import Key, Object, is_deleting, key_of, name_of, namespace_of, uid_of
from kumo.api.resources import GVR, core
from kumo.kubernetes.csi_controllers.provisioner.decision import Failed
from kumo.kubernetes.csi_controllers.provisioner.sources import (
    CLONE_FINALIZER,
    SNAPSHOT_FINALIZER,
    SNAPSHOTS,
    Source,
    source_of,
)
from kumo.kubernetes.csi_controllers.tools import Tools
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.informer import Informer

CLAIMS = core("persistentvolumeclaims")


def copies(claims: Iterable[Object], source: Source) -> list[Object]:
    """The claims whose volumes are still to be made of the source."""
    found = []
    for claim in claims:
        if (claim.get("status") or {}).get("phase") == "Pending" and namespace_of(claim) == source.namespace:
            try:
                other = source_of(claim)
            except Failed:
                continue
            if other is not None and (other.kind, other.name) == (source.kind, source.name):
                found.append(claim)
    return found


async def drop_finalizer(client: Client, gvr: GVR, obj: Object, finalizer: str) -> None:
    """Take a finalizer away, if the object has it; a conflict is raised, an object that is gone is not."""
    finalizers = obj["metadata"].get("finalizers") or []
    if finalizer not in finalizers:
        return
    left = [f for f in finalizers if f != finalizer]
    meta = {"finalizers": left, "resourceVersion": obj["metadata"]["resourceVersion"]}
    try:
        await client.patch(gvr, name_of(obj), {"metadata": meta}, namespace_of(obj))
    except StatusError as error:
        # Of what is on other nodes, one node's controllers may not let go.
        if not is_not_found(error) and error.code != 403:
            raise


async def release_source(tools: Tools, claim: Object, claims: Informer) -> None:
    """A claim's volume was made, or never will be: let its snapshot go, unless another claim wants it."""
    try:
        source = source_of(claim)
    except Failed:
        return
    if source is None or not source.is_snapshot:
        return
    if [c for c in copies(claims.objects(source.namespace), source) if uid_of(c) != uid_of(claim)]:
        return
    try:
        snapshot = await tools.client.get(SNAPSHOTS, source.name, source.namespace)
        await drop_finalizer(tools.client, SNAPSHOTS, snapshot, SNAPSHOT_FINALIZER)
    except StatusError as error:
        if not (is_not_found(error) or is_conflict(error)):
            raise


class CloneProtection:
    """Lets claims go that are being deleted and that no other claim is still to be copied from."""

    def __init__(self, tools: Tools) -> None:
        self.name = f"{tools.facts.name}-clone-protection"
        self._client = tools.client
        self._claims = tools.informers.informer(CLAIMS)
        self._controller = Controller(self.name, self._reconcile, workers=1)
        self._controller.watch(self._claims, self._interesting)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    def _interesting(self, claim: Object) -> Iterable[Key]:
        if is_deleting(claim) and CLONE_FINALIZER in (claim["metadata"].get("finalizers") or ()):
            yield key_of(claim)
        try:
            source = source_of(claim)
        except Failed:
            return
        if source is not None and source.is_claim:
            yield Key(source.namespace, source.name)

    async def _reconcile(self, key: Key) -> float | None:
        claim = self._claims.get_key(key)
        if claim is None or not is_deleting(claim):
            return None
        source = Source("PersistentVolumeClaim", key.name, key.namespace)
        if not copies(self._claims.objects(key.namespace), source):
            await drop_finalizer(self._client, CLAIMS, claim, CLONE_FINALIZER)
        return None
