"""Which images there are, and which of them a caller may see, use or change."""

from __future__ import annotations

from kumo.api.objects import Object, name_of, namespace_of
from kumo.api.resources import NAMESPACES
from kumo.machinery.client import Client
from kumo.openstack.common import names
from kumo.openstack.common.caller import Caller
from kumo.openstack.common.errors import ApiError


class Images:
    """All images of the cloud; `client` may do everything, what a caller sees of it is decided here."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def owners(self) -> dict[str, str]:
        """Project ids by namespace."""
        return {name_of(n): names.hex_id(n) for n in (await self.client.list(NAMESPACES)).items}

    async def all(self) -> list[Object]:
        """Every image."""
        return (await self.client.list(names.IMAGES)).items

    async def get(self, caller: Caller, identity: str) -> Object:
        """The image of that id, if the caller may see it. Raises ApiError 404."""
        if names.is_uuid(identity):
            for found in (await self.client.list(names.IMAGES, field_selector=f"metadata.name={identity}")).items:
                if visible(found, caller):
                    return found
        raise ApiError(404, f"No image found with ID {identity}")

    async def own(self, caller: Caller, identity: str, action: str) -> Object:
        """The image, if the caller may change it. Raises ApiError 404, or 403 when it may only be seen."""
        found = await self.get(caller, identity)
        if not caller.is_admin and not (owns(found, caller) and caller.may_write):
            raise ApiError(403, f"You are not authorized to complete {action} action.")
        return found


def owns(found: Object, caller: Caller) -> bool:
    """Whether the image is of the project that the caller acts in."""
    return caller.project is not None and namespace_of(found) == caller.project.namespace


def membership(found: Object, caller: Caller) -> str:
    """The state of the sharing with the caller's project: empty, pending, accepted, rejected."""
    if caller.project is None or found["spec"].get("visibility", "shared") != "shared":
        return ""
    return str((found["spec"].get("members") or {}).get(caller.project.id, ""))


def visible(found: Object, caller: Caller) -> bool:
    """Whether the caller may see the image by its id."""
    if caller.is_admin or owns(found, caller):
        return True
    return found["spec"].get("visibility") in ("public", "community") or bool(membership(found, caller))


def listed(found: Object, caller: Caller, wanted: str) -> bool:
    """Whether a list shows the image; `wanted` is the visibility asked for, or empty."""
    visibility = found["spec"].get("visibility", "shared")
    if wanted and wanted != "all" and visibility != wanted:
        return False
    if owns(found, caller) or visibility == "public":
        return True
    if visibility == "community":
        return wanted in ("community", "all")
    if caller.is_admin:
        return True
    return membership(found, caller) == "accepted" or (wanted == "shared" and bool(membership(found, caller)))
