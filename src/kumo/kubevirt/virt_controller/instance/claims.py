"""The PersistentVolumeClaims that an instance uses."""

from __future__ import annotations

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Object, namespace_of
from kumo.api.resources import core
from kumo.kubevirt.common.specs import volumes
from kumo.machinery.client import Client

CLAIMS = core("persistentvolumeclaims")


class ClaimReader:
    """Reads claims when a pod is made: seldom enough to ask the API server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def of(self, vmi: Object) -> dict[str, Object]:
        """Those of the instance's claims that exist, by name."""
        found = {}
        for name in sorted(_names(vmi)):
            try:
                found[name] = await self._client.get(CLAIMS, name, namespace_of(vmi))
            except StatusError as error:
                if not is_not_found(error):
                    raise
        return found


def _names(vmi: Object) -> set[str]:
    found = set()
    for volume in volumes(vmi["spec"]):
        found.add((volume.get("persistentVolumeClaim") or {}).get("claimName"))
        found.add((volume.get("dataVolume") or {}).get("name"))
        found.add(((volume.get("ephemeral") or {}).get("persistentVolumeClaim") or {}).get("claimName"))
    return {str(name) for name in found if name}
