"""Users and domains."""

from __future__ import annotations

import time
from typing import Any

from kumo.api.objects import Object, name_of
from kumo.machinery.http import Response
from kumo.openstack.common import names
from kumo.openstack.common.errors import UNAUTHENTICATED, ApiError
from kumo.openstack.common.service import Call, Route, empty, reply
from kumo.openstack.common.validate import check
from kumo.openstack.keystone import views
from kumo.openstack.keystone.directory import Directory, new_id, username_of
from kumo.openstack.keystone.passwords import Passwords
from kumo.openstack.keystone.policy import enforce

_RESERVED = ("system:", "openstack:")
"""Names that Kubernetes or this service give a meaning; a user must not be called so."""
_PROPERTIES = {
    "name": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"[\S]+"},
    "password": {"type": ["string", "null"], "maxLength": 4096},
    "description": {"type": ["string", "null"]},
    "email": {"type": ["string", "null"]},
    "enabled": {"type": "boolean"},
    "domain_id": {"type": ["string", "null"]},
    "default_project_id": {"type": ["string", "null"]},
}
_CREATE = {"type": "object", "properties": _PROPERTIES, "required": ["name"]}
_UPDATE = {"type": "object", "properties": _PROPERTIES}
_PASSWORD = {
    "type": "object",
    "properties": {"original_password": {"type": "string"}, "password": {"type": "string", "maxLength": 4096}},
    "required": ["original_password", "password"],
}
_FIELDS = {"name": "name", "description": "description", "email": "email", "default_project_id": "defaultProjectID"}


class Users:
    """The user paths, and what there is of domains."""

    def __init__(self, directory: Directory, passwords: Passwords) -> None:
        self._directory = directory
        self._passwords = passwords

    def routes(self) -> list[Route]:
        """Its part of Keystone's table."""
        return [
            Route("GET", "/v3/users", self.list),
            Route("POST", "/v3/users", self.create),
            Route("GET", "/v3/users/{id}", self.show),
            Route("PATCH", "/v3/users/{id}", self.update),
            Route("DELETE", "/v3/users/{id}", self.delete),
            Route("POST", "/v3/users/{id}/password", self.change_password),
            Route("GET", "/v3/domains", self.list_domains),
            Route("GET", "/v3/domains/{id}", self.show_domain),
        ]

    async def find(self, identity: str) -> Object:
        """The user. Raises ApiError 404."""
        found = await self._directory.user(identity)
        if found is None:
            raise ApiError(404, f"Could not find user: {identity}.")
        return found

    async def list(self, call: Call) -> Response:
        """All users, or those of a name, of a domain, enabled or not."""
        enforce(call.caller, "identity:list_users")
        found = [views.user(u, call.base) for u in await self._directory.users()]
        for key in ("name", "domain_id"):
            if key in call.query:
                found = [u for u in found if u[key] == call.query[key]]
        if "enabled" in call.query:
            wanted = call.query["enabled"].lower() not in ("false", "0")
            found = [u for u in found if u["enabled"] == wanted]
        return reply(views.listing(call, "users", found))

    async def show(self, call: Call) -> Response:
        """One user."""
        enforce(call.caller, "identity:get_user", call.params["id"])
        return reply({"user": views.user(await self.find(call.params["id"]), call.base)})

    async def create(self, call: Call) -> Response:
        """A new user."""
        enforce(call.caller, "identity:create_user")
        given = await call.document("user")
        check({"user": given}, {"properties": {"user": _CREATE}})
        made = await self.add(given)
        return reply({"user": views.user(made, call.base)}, 201)

    async def add(self, given: dict[str, Any], identity: str = "") -> Object:
        """Make the user that the body describes. Raises ApiError."""
        domain = given.get("domain_id") or names.DEFAULT_DOMAIN
        if await self._directory.domain(domain) is None:
            raise ApiError(404, f"Could not find domain: {domain}.")
        identity = identity or new_id()
        async with self._directory.lock:
            await self._free(given["name"], domain)
            username = given["name"] if domain == names.DEFAULT_DOMAIN else f"openstack:{identity}"
            if await self._directory.username_taken(username):
                username = f"openstack:{identity}"  # a renamed user still holds that name towards Kubernetes
            known = {**_FIELDS, "domain_id": "", "enabled": "", "password": "", "options": ""}
            spec = {field: given[key] for key, field in _FIELDS.items() if given.get(key)}
            spec |= {"domainID": domain, "enabled": given.get("enabled", True), "username": username}
            if others := {k: v for k, v in given.items() if k not in known}:
                spec["attributes"] = others
            made = await self._directory.client.create(
                names.USERS,
                {
                    "apiVersion": names.USERS.api_version,
                    "kind": "User",
                    "metadata": {"name": identity},
                    "spec": spec,
                },
            )
        if given.get("password"):
            await self._passwords.set(identity, given["password"])
        return made

    async def _free(self, name: str, domain: str) -> None:
        if name.startswith(_RESERVED):
            raise ApiError(400, f"Names that begin with {' or '.join(_RESERVED)} are not for users.")
        if await self._directory.user_by_name(name, domain) is not None:
            raise ApiError(
                409, f"Conflict occurred attempting to store user - Duplicate entry found with name {name} at domain "
                f"ID {domain}."
            )  # fmt: skip

    async def update(self, call: Call) -> Response:
        """Change a user."""
        enforce(call.caller, "identity:update_user")
        found = await self.find(call.params["id"])
        given = await call.document("user")
        check({"user": given}, {"properties": {"user": _UPDATE}})
        spec: dict[str, Any] = {field: given[key] for key, field in _FIELDS.items() if key in given}
        # The old name stays the user's name towards Kubernetes: RoleBindings are written for it.
        spec["username"] = username_of(found)
        if "enabled" in given:
            spec["enabled"] = given["enabled"]
        if given.get("password") or given.get("enabled") is False:
            spec["tokensValidAfter"] = round(time.time(), 3)
        async with self._directory.lock:
            if given.get("name", found["spec"]["name"]) != found["spec"]["name"]:
                await self._free(given["name"], found["spec"].get("domainID", names.DEFAULT_DOMAIN))
            made = await self._directory.client.patch(names.USERS, name_of(found), {"spec": spec})
        if given.get("password"):
            await self._passwords.set(name_of(found), given["password"])
        return reply({"user": views.user(made, call.base)})

    async def change_password(self, call: Call) -> Response:
        """A user's own change of password, proven by the old one; tokens issued before are void."""
        found = await self.find(call.params["id"])
        given = await call.document("user")
        check({"user": given}, {"properties": {"user": _PASSWORD}})
        if not await self._passwords.matches(name_of(found), given["original_password"]):
            raise ApiError(401, UNAUTHENTICATED)
        await self._passwords.set(name_of(found), given["password"])
        spec = {"tokensValidAfter": round(time.time(), 3)}
        await self._directory.client.patch(names.USERS, name_of(found), {"spec": spec})
        return empty()

    async def delete(self, call: Call) -> Response:
        """Remove a user, the password and all role assignments (a later user of that name must not inherit them)."""
        enforce(call.caller, "identity:delete_user")
        found = await self.find(call.params["id"])
        for held in await self._directory.assignments():
            if held.user == username_of(found):
                await self._directory.unassign(held)
        await self._directory.client.delete(names.USERS, name_of(found))
        await self._passwords.forget(name_of(found))
        return empty()

    async def list_domains(self, call: Call) -> Response:
        """All domains, or that of a name."""
        enforce(call.caller, "identity:list_domains")
        found = [views.domain(d, call.base) for d in await self._directory.domains()]
        if "name" in call.query:
            found = [d for d in found if d["name"] == call.query["name"]]
        return reply(views.listing(call, "domains", found))

    async def show_domain(self, call: Call) -> Response:
        """One domain."""
        enforce(call.caller, "identity:get_domain")
        found = await self._directory.domain(call.params["id"])
        if found is None:
            raise ApiError(404, f"Could not find domain: {call.params['id']}.")
        return reply({"domain": views.domain(found, call.base)})
