"""Projects: namespaces, seen and made through Keystone."""

from __future__ import annotations

import json
from typing import Any

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Object, name_of, uid_of
from kumo.api.resources import NAMESPACES, PODS, VMS
from kumo.machinery.http import Response
from kumo.openstack.common import names
from kumo.openstack.common.errors import ApiError
from kumo.openstack.common.service import Call, Route, empty, reply
from kumo.openstack.common.validate import check
from kumo.openstack.keystone import kinds, views
from kumo.openstack.keystone.directory import Directory, new_id, project_domain
from kumo.openstack.keystone.policy import enforce

_PROPERTIES = {
    "name": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": r"[\S]+"},
    "description": {"type": ["string", "null"]},
    "enabled": {"type": "boolean"},
    "domain_id": {"type": ["string", "null"]},
    "tags": {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 255}, "maxItems": 80},
}
_CREATE = {"type": "object", "properties": _PROPERTIES, "required": ["name"]}
_UPDATE = {"type": "object", "properties": _PROPERTIES}
_KEPT = ("kube-system", "kube-public", "kube-node-lease", "kubevirt", names.SYSTEM_NAMESPACE, "default")


class Projects:
    """The project paths."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def routes(self) -> list[Route]:
        """Its part of Keystone's table."""
        return [
            Route("GET", "/v3/projects", self.list),
            Route("POST", "/v3/projects", self.create),
            Route("GET", "/v3/projects/{id}", self.show),
            Route("PATCH", "/v3/projects/{id}", self.update),
            Route("DELETE", "/v3/projects/{id}", self.delete),
            Route("GET", "/v3/users/{id}/projects", self.of_user),
        ]

    async def find(self, identity: str) -> Object:
        """The project's namespace. Raises ApiError 404."""
        found = await self._directory.project(identity)
        if found is None:
            raise ApiError(404, f"Could not find project: {identity}.")
        return found

    async def list(self, call: Call) -> Response:
        """All projects, or those of a name, of a domain, enabled or not."""
        enforce(call.caller, "identity:list_projects")
        found = [views.project(p, call.base) for p in await self._directory.projects()]
        for key in ("name", "domain_id", "parent_id"):
            if key in call.query:
                found = [p for p in found if p[key] == call.query[key]]
        if "enabled" in call.query:
            wanted = call.query["enabled"].lower() not in ("false", "0")
            found = [p for p in found if p["enabled"] == wanted]
        return reply(views.listing(call, "projects", found))

    async def of_user(self, call: Call) -> Response:
        """The projects that a user has a role in."""
        enforce(call.caller, "identity:list_user_projects", call.params["id"])
        user = await self._directory.user(call.params["id"])
        if user is None:
            raise ApiError(404, f"Could not find user: {call.params['id']}.")
        spaces = await self._directory.projects()
        held = [views.project(s, call.base) for s in spaces if await self._directory.roles_in(user, name_of(s))]
        return reply(views.listing(call, "projects", held))

    async def show(self, call: Call) -> Response:
        """One project."""
        enforce(call.caller, "identity:get_project", call.params["id"])
        return reply({"project": views.project(await self.find(call.params["id"]), call.base)})

    async def create(self, call: Call) -> Response:
        """Make a namespace of it."""
        enforce(call.caller, "identity:create_project")
        given = await call.document("project")
        check({"project": given}, {"properties": {"project": _CREATE}})
        domain = given.get("domain_id") or names.DEFAULT_DOMAIN
        if await self._directory.domain(domain) is None:
            raise ApiError(404, f"Could not find domain: {domain}.")
        async with self._directory.lock:
            await self._free(given["name"], domain)
            made = kinds.namespace_object(f"p-{new_id()}", _annotations(given, {names.NAME: given["name"]}))
            made["metadata"]["labels"][names.DOMAIN] = domain
            made = await self._directory.client.create(NAMESPACES, made)
        return reply({"project": views.project(made, call.base)}, 201)

    async def _free(self, name: str, domain: str) -> None:
        taken = await self._directory.project_by_name(name, domain)
        if taken is not None:
            raise ApiError(
                409,
                "Conflict occurred attempting to store project - it is not permitted to have two projects with either "
                f"the same name or same id in the same domain: name is {name}, project id {names.hex_id(taken)}.",
            )

    async def update(self, call: Call) -> Response:
        """Change name, description, enabled or tags."""
        enforce(call.caller, "identity:update_project")
        found = await self.find(call.params["id"])
        given = await call.document("project")
        check({"project": given}, {"properties": {"project": _UPDATE}})
        async with self._directory.lock:
            if given.get("name", names.display_name(found)) != names.display_name(found):
                await self._free(given["name"], project_domain(found))
            changed = _annotations(given, {names.NAME: given["name"]} if "name" in given else {})
            patch = {"metadata": {"annotations": changed}}
            made = await self._directory.client.patch(NAMESPACES, name_of(found), patch)
        return reply({"project": views.project(made, call.base)})

    async def delete(self, call: Call) -> Response:
        """Remove the project, if nothing lives in it: deleting a namespace deletes all that is in it."""
        enforce(call.caller, "identity:delete_project")
        found = await self.find(call.params["id"])
        if name_of(found) in _KEPT:
            raise ApiError(403, f"The namespace {name_of(found)} belongs to the cloud itself and can't be deleted.")
        for gvr, what in ((VMS, "servers"), (names.IMAGES, "images"), (PODS, "pods")):
            try:
                inside = (await self._directory.client.list(gvr, name_of(found), limit=1)).items
            except StatusError as error:
                if not is_not_found(error):
                    raise
                continue
            if inside:
                message = f"Project {call.params['id']} still has {what}: delete them first, they would go with it."
                raise ApiError(409, message)
        await self._directory.client.delete(NAMESPACES, name_of(found), uid=uid_of(found))
        return empty()


def _annotations(given: dict[str, Any], made: dict[str, str]) -> dict[str, str]:
    if "description" in given:
        made[names.DESCRIPTION] = given["description"] or ""
    if "enabled" in given:
        made[names.ENABLED] = "true" if given["enabled"] else "false"
    if "tags" in given:
        made[names.TAGS] = json.dumps(given["tags"])
    return made
