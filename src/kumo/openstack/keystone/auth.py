"""POST /v3/auth/tokens and its neighbours: proving who one is, and choosing a scope."""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object, name_of, uid_of
from kumo.machinery.http import Response
from kumo.openstack.common.errors import UNAUTHENTICATED, ApiError
from kumo.openstack.common.service import Call, Route, empty, reply
from kumo.openstack.common.validate import check
from kumo.openstack.keystone import views
from kumo.openstack.keystone.authenticator import Authenticator, Proof, project_enabled, usable
from kumo.openstack.keystone.catalog import catalog
from kumo.openstack.keystone.directory import Directory
from kumo.openstack.keystone.passwords import Passwords
from kumo.openstack.keystone.tokens import Token

_TEXT = {"type": "string"}
_DOMAIN = {"type": "object", "properties": {"id": _TEXT, "name": _TEXT}}
_USER = {
    "type": "object",
    "properties": {"id": _TEXT, "name": _TEXT, "password": _TEXT, "domain": _DOMAIN},
}
_PROJECT = {"type": "object", "properties": {"id": _TEXT, "name": _TEXT, "domain": _DOMAIN}}
_AUTH = {
    "type": "object",
    "properties": {
        "identity": {
            "type": "object",
            "properties": {
                "methods": {"type": "array", "items": _TEXT},
                "password": {"type": "object", "properties": {"user": _USER}, "required": ["user"]},
                "token": {"type": "object", "properties": {"id": _TEXT}, "required": ["id"]},
            },
            "required": ["methods"],
        },
        "scope": {
            "type": ["object", "string"],
            "properties": {
                "project": _PROJECT,
                "domain": _DOMAIN,
                "system": {"type": "object", "properties": {"all": {"type": "boolean"}}},
            },
        },
    },
    "required": ["identity"],
}


_MALFORMED = (
    "The server could not comply with the request since it is either malformed or otherwise incorrect. The client is "
    "assumed to be in error."
)


def _refused() -> ApiError:
    return ApiError(401, UNAUTHENTICATED)


class Auth:
    """The auth paths."""

    def __init__(self, directory: Directory, passwords: Passwords, authenticator: Authenticator) -> None:
        self._directory = directory
        self._passwords = passwords
        self._authenticator = authenticator

    def routes(self) -> list[Route]:
        """Its part of Keystone's table."""
        return [
            Route("POST", "/v3/auth/tokens", self.issue, open=True),
            Route("GET", "/v3/auth/tokens", self.validate),
            Route("DELETE", "/v3/auth/tokens", self.revoke),
            Route("GET", "/v3/auth/catalog", self.catalog),
            Route("GET", "/v3/auth/projects", self.projects),
            Route("GET", "/v3/auth/domains", self.domains),
            Route("GET", "/v3/auth/system", self.system),
        ]

    async def issue(self, call: Call) -> Response:
        """A token for a password or for another token, in the scope that is asked for."""
        auth = await call.document("auth")
        check(auth, _AUTH)
        identity = auth["identity"]
        methods: list[str] = identity["methods"]
        if not methods or any(m not in ("password", "token") or m not in identity for m in methods):
            raise _refused()
        user, parent = None, None
        for method in methods:
            proven, from_token = await self._prove(method, identity)
            if user is not None and name_of(user) != name_of(proven):
                raise _refused()
            user, parent = proven, parent or from_token
        assert user is not None
        used = tuple(dict.fromkeys([*(parent.methods if parent else ()), *methods]))
        text, proof = await self._scoped(user, used, parent, auth)
        return await self._told(call, text, proof, 201)

    async def _prove(self, method: str, identity: dict[str, Any]) -> tuple[Object, Token | None]:
        if method == "token":
            proof = await self._authenticator.prove(identity["token"]["id"])
            if proof is None:
                raise _refused()
            return proof.user, proof.token
        given = identity["password"]["user"]
        if "password" not in given or not ("id" in given or ("name" in given and "domain" in given)):
            what = "'password'" if "password" not in given else "'id' or 'name' with 'domain'"
            raise ApiError(400, f"Expecting to find {what} in user. {_MALFORMED}")
        user = await self._find_user(given)
        known = name_of(user) if user is not None else ""
        right = await self._passwords.matches(known, given["password"])
        if user is None or not right or not await usable(self._directory, user):
            raise _refused()
        return user, None

    async def _find_user(self, given: dict[str, Any]) -> Object | None:
        if "id" in given:
            return await self._directory.user(given["id"])
        domain = await self._domain_id(given["domain"])
        return await self._directory.user_by_name(given["name"], domain) if domain else None

    async def _domain_id(self, given: dict[str, Any]) -> str:
        if "id" in given:
            return str(given["id"])
        found = await self._directory.domain_by_name(str(given.get("name", "")))
        return name_of(found) if found is not None else ""

    async def _scoped(
        self, user: Object, methods: tuple[str, ...], parent: Token | None, auth: dict[str, Any]
    ) -> tuple[str, Proof]:
        tokens = self._authenticator.tokens
        if tokens is None:
            raise ApiError(503, "The identity service is starting.")
        scope = auth.get("scope")
        if scope is None and (default := user["spec"].get("defaultProjectID")):
            try:
                return await self._scoped(user, methods, parent, {"scope": {"project": {"id": default}}})
            except ApiError:
                scope = None
        chosen: dict[str, Any] = {}
        if isinstance(scope, dict):
            chosen = await self._scope(scope)
        text, token = tokens.issue(name_of(user), methods, parent=parent, **chosen)
        proof = await self._authenticator.check(token)
        if proof is None:
            raise _refused()
        return text, proof

    async def _scope(self, scope: dict[str, Any]) -> dict[str, Any]:
        if "project" in scope:
            namespace = await self._project(scope["project"])
            if namespace is None or not project_enabled(namespace):
                raise _refused()
            return {"project": (name_of(namespace), uid_of(namespace))}
        if "domain" in scope:
            domain = await self._domain_id(scope["domain"])
            if not domain:
                raise _refused()
            return {"domain": domain}
        if (scope.get("system") or {}).get("all") is True:
            return {"system": True}
        raise _refused()

    async def _project(self, given: dict[str, Any]) -> Object | None:
        if "id" in given:
            return await self._directory.project(given["id"])
        domain = await self._domain_id(given.get("domain") or {})
        return await self._directory.project_by_name(given.get("name", ""), domain) if domain else None

    async def _told(self, call: Call, text: str, proof: Proof, status: int) -> Response:
        roles, domains = await self._directory.roles(), await self._directory.domains()
        full = "nocatalog" not in call.query
        body = views.token(proof, roles, domains, call.base, full=full)
        return reply(body, status, {"X-Subject-Token": text})

    async def _subject(self, call: Call) -> tuple[str, Proof]:
        text = call.request.headers.get("x-subject-token", "")
        if not text:
            raise ApiError(400, "The X-Subject-Token header is required.")
        proof = await self._authenticator.prove(text)
        if proof is None:
            raise ApiError(404, "Failed to validate token")
        own = proof.token.user_id == call.caller.user_id
        if not own and not call.caller.is_admin and "service" not in call.caller.roles:
            raise ApiError(403, "You are not authorized to perform the requested action: identity:validate_token.")
        return text, proof

    async def validate(self, call: Call) -> Response:
        """What the subject token stands for."""
        text, proof = await self._subject(call)
        return await self._told(call, text, proof, 200)

    async def revoke(self, call: Call) -> Response:
        """Make the subject token void."""
        _, proof = await self._subject(call)
        await self._authenticator.revoke(proof.token)
        return empty()

    async def catalog(self, call: Call) -> Response:
        """The services."""
        return reply({"catalog": catalog(call.base), "links": {"self": f"{call.base}{call.request.path}"}})

    async def projects(self, call: Call) -> Response:
        """The projects that the caller has a role in."""
        user = await self._directory.user(call.caller.user_id)
        assert user is not None, "a caller's user has just been looked up"
        held = []
        for space in await self._directory.projects():
            if project_enabled(space) and await self._directory.roles_in(user, name_of(space)):
                held.append(views.project(space, call.base))
        return reply(views.listing(call, "projects", held))

    async def domains(self, call: Call) -> Response:
        """The domains that the caller has a role in."""
        user = await self._directory.user(call.caller.user_id)
        assert user is not None, "a caller's user has just been looked up"
        found = await self._directory.domains()
        held = [d for d in found if await self._directory.roles_beyond(user, domain=name_of(d))]
        return reply(views.listing(call, "domains", [views.domain(d, call.base) for d in held]))

    async def system(self, call: Call) -> Response:
        """Whether the caller has a role in the whole system."""
        user = await self._directory.user(call.caller.user_id)
        assert user is not None, "a caller's user has just been looked up"
        held = await self._directory.roles_beyond(user, system=True)
        body: dict[str, Any] = {"system": [{"all": True}] if held else []}
        return reply({**body, "links": views.listing(call, "x", [])["links"]})
