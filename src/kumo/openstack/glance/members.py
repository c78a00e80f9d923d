"""Members: the projects that an image is shared with."""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object, name_of, namespace_of
from kumo.machinery.http import Response
from kumo.openstack.common import names
from kumo.openstack.common.errors import ApiError
from kumo.openstack.common.service import Call, Route, empty, reply
from kumo.openstack.glance.catalog import Images, owns

_STATES = ("pending", "accepted", "rejected")


class Members:
    """The member paths."""

    def __init__(self, images: Images) -> None:
        self._images = images

    def routes(self) -> list[Route]:
        """Its part of Glance's table."""
        return [
            Route("GET", "/v2/images/{id}/members", self.list),
            Route("POST", "/v2/images/{id}/members", self.add),
            Route("GET", "/v2/images/{id}/members/{member}", self.show),
            Route("PUT", "/v2/images/{id}/members/{member}", self.answer),
            Route("DELETE", "/v2/images/{id}/members/{member}", self.remove),
        ]

    async def _shared(self, call: Call) -> tuple[Object, dict[str, str]]:
        found = await self._images.get(call.caller, call.params["id"])
        if found["spec"].get("visibility", "shared") != "shared":
            raise ApiError(403, "Only shared images have members.")
        members: dict[str, str] = dict(found["spec"].get("members") or {})
        if not call.caller.is_admin and not owns(found, call.caller):
            members = {k: v for k, v in members.items() if call.caller.project and k == call.caller.project.id}
        return found, members

    async def list(self, call: Call) -> Response:
        """All members to the owner, itself to a member."""
        found, members = await self._shared(call)
        shown = [_view(found, project, state) for project, state in members.items()]
        return reply({"members": shown, "schema": "/v2/schemas/members"})

    async def show(self, call: Call) -> Response:
        """One member."""
        found, members = await self._shared(call)
        if call.params["member"] not in members:
            raise ApiError(
                404, f"{call.params['member']} not found in the member list of the image {call.params['id']}."
            )
        return reply(_view(found, call.params["member"], members[call.params["member"]]))

    async def add(self, call: Call) -> Response:
        """Offer the image to a project."""
        await self._images.own(call.caller, call.params["id"], "add_member")
        given = await call.json()
        project = given.get("member") if isinstance(given, dict) else None
        if not isinstance(project, str) or not project or len(project) > 64:
            raise ApiError(400, "Member can't be empty")
        found, members = await self._shared(call)
        if project in members:
            raise ApiError(409, f"Project {project} is already a member of image {call.params['id']}.")
        return await self._write(found, project, "pending")

    async def answer(self, call: Call) -> Response:
        """A member's answer to the offer."""
        given = await call.json()
        state = given.get("status") if isinstance(given, dict) else None
        if state not in _STATES:
            raise ApiError(400, f"Invalid status: {state!r}, must be one of {', '.join(_STATES)}.")
        found, members = await self._shared(call)
        project = call.params["member"]
        if project not in members:
            raise ApiError(404, f"{project} not found in the member list of the image {call.params['id']}.")
        if not call.caller.is_admin and (call.caller.project is None or call.caller.project.id != project):
            raise ApiError(403, "You are not authorized to complete modify_member action.")
        return await self._write(found, project, str(state))

    async def _write(self, found: Object, project: str, state: str) -> Response:
        patch = {"spec": {"members": {project: state}}}
        where = (name_of(found), patch, namespace_of(found))
        made = await self._images.client.patch(names.IMAGES, *where)
        return reply(_view(made, project, state))

    async def remove(self, call: Call) -> Response:
        """Take the offer back."""
        found = await self._images.own(call.caller, call.params["id"], "delete_member")
        project = call.params["member"]
        if project not in (found["spec"].get("members") or {}):
            raise ApiError(404, f"{project} not found in the member list of the image {call.params['id']}.")
        patch = {"spec": {"members": {project: None}}}
        await self._images.client.patch(names.IMAGES, name_of(found), patch, namespace_of(found))
        return empty()


def _view(found: Object, project: str, state: str) -> dict[str, Any]:
    created = found["metadata"]["creationTimestamp"]
    updated = (found.get("status") or {}).get("updatedAt") or created
    made = {"member_id": project, "image_id": name_of(found), "status": state, "schema": "/v2/schemas/member"}
    return {**made, "created_at": created, "updated_at": updated}
