"""The volume expansion controller: tells who is to grow a volume that its claim wants larger.

All volumes that can grow are CSI drivers' today, so that nothing is grown here: the driver's external resizer does it.
"""

from __future__ import annotations

from kumo.api import quantities
from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Key, Object, annotations_of, key_of, uid_of
from kumo.api.resources import core
from kumo.api.volume_migration import driver_of, plugin_of
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.events import NORMAL, EventRecorder
from kumo.machinery.informer import Informers

CLAIMS, VOLUMES = core("persistentvolumeclaims"), core("persistentvolumes", False)
RESIZER = "volume.kubernetes.io/storage-resizer"
"""On a claim whose volume is of a former built-in kind: the CSI driver whose resizer is to act."""
SIZE_BEFORE_RESIZE = "volume.alpha.kubernetes.io/pre-resize-capacity"
_EXTERNAL = "ExternalExpanding"


def requested(claim: Object) -> int:
    """The bytes that the claim asks for."""
    resources = (claim.get("spec") or {}).get("resources") or {}
    return quantities.whole((resources.get("requests") or {}).get("storage") or 0)


def capacity(claim: Object) -> int:
    """The bytes that the claim has."""
    return quantities.whole(((claim.get("status") or {}).get("capacity") or {}).get("storage") or 0)


def is_interesting(old: Object | None, new: Object) -> bool:
    """Whether a bound claim is new, or asks for more or has got more than before."""
    if (new.get("status") or {}).get("phase") != "Bound":
        return False
    return old is None or requested(new) > requested(old) or capacity(new) > capacity(old)


def wants_expansion(claim: Object, volume: Object) -> bool:
    """Whether the claim is larger than its volume's file system, or its growing is not finished."""
    return requested(claim) > capacity(claim) or SIZE_BEFORE_RESIZE in annotations_of(volume)


def message(volume: Object) -> str:
    """What the claim is told."""
    plugin = plugin_of(volume)
    if plugin:
        return f"CSI migration enabled for {plugin}; waiting for external resizer to expand the pvc"
    return "waiting for an external controller to expand this PVC"


class VolumeExpansionController:
    """Names the resizer of claims that want to be larger."""

    name = "expand-controller"

    def __init__(self, client: Client, informers: Informers) -> None:
        self._client = client
        self._recorder = EventRecorder(client, "volume_expand")
        self._claims = informers.informer(CLAIMS)
        self._controller = Controller(self.name, self._reconcile, workers=2)
        self._claims.on_change(self._changed)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._claims.wait_synced()
        await self._controller.run()

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None and is_interesting(old, new):
            self._controller.queue.add(key_of(new))

    async def _reconcile(self, key: Key) -> float | None:
        claim = self._claims.get_key(key)
        name = ((claim or {}).get("spec") or {}).get("volumeName")
        if claim is None or not name:
            return None
        try:
            volume = await self._client.get(VOLUMES, name)
        except StatusError as error:
            if is_not_found(error):
                return None
            raise
        ref = (volume.get("spec") or {}).get("claimRef") or {}
        if ref.get("uid") != uid_of(claim) or not wants_expansion(claim, volume):
            return None
        self._recorder.event(claim, NORMAL, _EXTERNAL, message(volume))
        driver = driver_of(plugin_of(volume))
        if driver and annotations_of(claim).get(RESIZER) != driver:
            patch = {"metadata": {"annotations": {RESIZER: driver}}}
            await self._client.patch(CLAIMS, key.name, patch, key.namespace, subresource="status")
        return None
