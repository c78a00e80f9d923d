"""Roles and their assignments."""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object, name_of
from kumo.api.resources import CLUSTERROLES
from kumo.machinery.http import Response
from kumo.openstack.common import names
from kumo.openstack.common.errors import ApiError
from kumo.openstack.common.service import Call, Route, empty, reply
from kumo.openstack.common.validate import check
from kumo.openstack.keystone import kinds, views
from kumo.openstack.keystone.directory import Assignment, Directory, domain_of, new_id, project_domain, username_of
from kumo.openstack.keystone.policy import enforce
from kumo.openstack.keystone.projects import Projects
from kumo.openstack.keystone.users import Users

_CREATE = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"[\S]+"},
        "description": {"type": ["string", "null"]},
    },
    "required": ["name"],
}
_SCOPES = {
    "/v3/projects/{project}/users/{user}/roles": "/v3/projects/{project}/users/{user}/roles/{role}",
    "/v3/domains/{domain}/users/{user}/roles": "/v3/domains/{domain}/users/{user}/roles/{role}",
    "/v3/system/users/{user}/roles": "/v3/system/users/{user}/roles/{role}",
}


def key_of_role(role: Object) -> str:
    """What a role is called in bindings."""
    return name_of(role).removeprefix("openstack:")


class Roles:
    """The role paths and the assignment paths."""

    def __init__(self, directory: Directory, users: Users, projects: Projects) -> None:
        self._directory = directory
        self._users = users
        self._projects = projects

    def routes(self) -> list[Route]:
        """Its part of Keystone's table."""
        found = [
            Route("GET", "/v3/roles", self.list),
            Route("POST", "/v3/roles", self.create),
            Route("GET", "/v3/roles/{id}", self.show),
            Route("DELETE", "/v3/roles/{id}", self.delete),
            Route("GET", "/v3/role_assignments", self.assignments),
        ]
        for several, one in _SCOPES.items():
            found.append(Route("GET", several, self.held))
            found += [Route(m, one, h) for m, h in (("GET", self.has), ("PUT", self.grant), ("DELETE", self.take))]
        return found

    async def find(self, identity: str) -> Object:
        """The role. Raises ApiError 404."""
        found = await self._directory.role(identity)
        if found is None:
            raise ApiError(404, f"Could not find role: {identity}.")
        return found

    async def list(self, call: Call) -> Response:
        """All roles, or that of a name."""
        enforce(call.caller, "identity:list_roles")
        found = [views.role(r, call.base) for r in await self._directory.roles()]
        if "name" in call.query:
            found = [r for r in found if r["name"] == call.query["name"]]
        if call.query.get("domain_id"):
            found = []
        return reply(views.listing(call, "roles", found))

    async def show(self, call: Call) -> Response:
        """One role."""
        enforce(call.caller, "identity:get_role")
        return reply({"role": views.role(await self.find(call.params["id"]), call.base)})

    async def create(self, call: Call) -> Response:
        """A role of the administrator's own: it allows nothing here but can be assigned, and read from tokens."""
        enforce(call.caller, "identity:create_role")
        given = await call.document("role")
        check({"role": given}, {"properties": {"role": _CREATE}})
        async with self._directory.lock:
            if any(names.display_name(r) == given["name"] for r in await self._directory.roles()):
                raise ApiError(
                    409,
                    f"Conflict occurred attempting to store role - Duplicate entry found with name {given['name']}.",
                )
            made = kinds.role_object(new_id(), given["name"])
            if given.get("description"):
                made["metadata"]["annotations"][names.DESCRIPTION] = given["description"]
            made = await self._directory.client.create(CLUSTERROLES, made)
        return reply({"role": views.role(made, call.base)}, 201)

    async def delete(self, call: Call) -> Response:
        """Remove a role of the administrator's own, with its assignments."""
        enforce(call.caller, "identity:delete_role")
        found = await self.find(call.params["id"])
        if key_of_role(found) in kinds.ROLE_NAMES:
            raise ApiError(403, f"Cannot delete resource: role {call.params['id']} is immutable.")
        for held in await self._directory.assignments():
            if held.role == key_of_role(found):
                await self._directory.unassign(held)
        await self._directory.client.delete(CLUSTERROLES, name_of(found))
        return empty()

    # -- assignments ------------------------------------------------------------------------------------------------

    async def _target(self, call: Call, role: str = "") -> tuple[Object, Assignment]:
        user = await self._users.find(call.params["user"])
        namespace, domain = "", call.params.get("domain", "")
        if "project" in call.params:
            namespace = name_of(await self._projects.find(call.params["project"]))
        if domain and await self._directory.domain(domain) is None:
            raise ApiError(404, f"Could not find domain: {domain}.")
        return user, Assignment(username_of(user), role, namespace, domain, not namespace and not domain)

    async def _direct(self, user: Object, where: Assignment) -> set[str]:
        if where.namespace:
            return await self._directory.roles_in(user, where.namespace)
        return await self._directory.roles_beyond(user, domain=where.domain, system=where.system)

    async def held(self, call: Call) -> Response:
        """The roles of a user there."""
        enforce(call.caller, "identity:list_grants")
        user, where = await self._target(call)
        held = await self._direct(user, where)
        found = [views.role(r, call.base) for r in await self._directory.roles() if key_of_role(r) in held]
        return reply(views.listing(call, "roles", found))

    async def has(self, call: Call) -> Response:
        """Whether the user has the role there (GET and HEAD, 204 or 404)."""
        enforce(call.caller, "identity:check_grant")
        role = await self.find(call.params["role"])
        user, where = await self._target(call, key_of_role(role))
        if where.role not in await self._direct(user, where):
            raise ApiError(404, f"Could not find role assignment with role: {call.params['role']}, user or group: "
                           f"{call.params['user']}, project, domain, or system: "
                           f"{call.params.get('project') or call.params.get('domain') or 'system'}.")  # fmt: skip
        return empty()

    async def grant(self, call: Call) -> Response:
        """Give the user the role there."""
        enforce(call.caller, "identity:create_grant")
        role = await self.find(call.params["role"])
        _, wanted = await self._target(call, key_of_role(role))
        await self._directory.assign(wanted)
        return empty()

    async def take(self, call: Call) -> Response:
        """Take the role away."""
        await self.has(call)
        enforce(call.caller, "identity:revoke_grant")
        role = await self.find(call.params["role"])
        _, wanted = await self._target(call, key_of_role(role))
        await self._directory.unassign(wanted)
        return empty()

    async def assignments(self, call: Call) -> Response:
        """All assignments, filtered; users that only Kubernetes knows are left out."""
        enforce(call.caller, "identity:list_role_assignments")
        users = {username_of(u): u for u in await self._directory.users()}
        spaces = {name_of(p): p for p in await self._directory.projects()}
        roles = {key_of_role(r): r for r in await self._directory.roles()}
        domains = await self._directory.domains()
        full = "include_names" in call.query and call.query["include_names"].lower() not in ("false", "0")
        found = []
        for held in await self._directory.assignments():
            user, role, space = users.get(held.user), roles.get(held.role), spaces.get(held.namespace)
            if user is None or role is None or (held.namespace and space is None):
                continue
            made = _assignment(held, user, role, space, domains, full=full)
            made["links"] = {"assignment": _link(call.base, made)}
            if _wanted(made, call.query):
                found.append(made)
        return reply(views.listing(call, "role_assignments", found))


def _assignment(
    held: Assignment, user: Object, role: Object, space: Object | None, domains: list[Object], *, full: bool
) -> dict[str, Any]:
    made: dict[str, Any] = {"user": {"id": name_of(user)}, "role": {"id": names.hex_id(role)}}
    if full:
        made["user"] |= {"name": user["spec"]["name"], "domain": views.domain_reference(domains, domain_of(user))}
        made["role"]["name"] = names.display_name(role)
    if space is not None:
        made["scope"] = {"project": {"id": names.hex_id(space)}}
        if full:
            reference = views.domain_reference(domains, project_domain(space))
            made["scope"]["project"] |= {"name": names.display_name(space), "domain": reference}
    elif held.domain:
        reference = views.domain_reference(domains, held.domain)
        made["scope"] = {"domain": reference if full else {"id": held.domain}}
    else:
        made["scope"] = {"system": {"all": True}}
    return made


def _link(base: str, made: dict[str, Any]) -> str:
    ((kind, where),) = made["scope"].items()
    path = "system" if kind == "system" else f"{kind}s/{where['id']}"
    return f"{base}/identity/v3/{path}/users/{made['user']['id']}/roles/{made['role']['id']}"


def _wanted(made: dict[str, Any], query: dict[str, str]) -> bool:
    facts = {
        "user.id": made["user"]["id"],
        "role.id": made["role"]["id"],
        "scope.project.id": made["scope"].get("project", {}).get("id"),
        "scope.domain.id": made["scope"].get("domain", {}).get("id"),
    }
    if "group.id" in query or ("scope.system" in query and "system" not in made["scope"]):
        return False
    return all(facts[k] == v for k, v in query.items() if k in facts)
