"""Keystone put together: its version documents, its table of routes."""

from __future__ import annotations

from typing import Any

from kumo.machinery.http import Response
from kumo.openstack.common.caller import Authenticate
from kumo.openstack.common.errors import ApiError, keystone_fault
from kumo.openstack.common.service import Call, Route, Service, reply
from kumo.openstack.keystone import catalog, views
from kumo.openstack.keystone.auth import Auth
from kumo.openstack.keystone.policy import enforce
from kumo.openstack.keystone.projects import Projects
from kumo.openstack.keystone.roles import Roles
from kumo.openstack.keystone.users import Users

PREFIX = "/identity"
_VARY = {"Vary": "X-Auth-Token"}
_COLLECTIONS = {"services": catalog.services, "endpoints": catalog.endpoints, "regions": catalog.regions}


def version_document(base: str) -> dict[str, Any]:
    """What Keystone says of its version."""
    media = {"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": f"{base}{PREFIX}/v3/"}],
        "media-types": [media],
    }


async def _root(call: Call) -> Response:
    body = {"versions": {"values": [version_document(call.base)]}}
    return reply(body, 300, {"Location": f"{call.base}{PREFIX}/v3/"})


async def _v3(call: Call) -> Response:
    return reply({"version": version_document(call.base)})


def _catalog_routes(kind: str) -> list[Route]:
    singular, make = kind[:-1], _COLLECTIONS[kind]

    async def listed(call: Call) -> Response:
        enforce(call.caller, f"identity:list_{kind}")
        found = make(call.base)
        for key, value in call.query.items():
            found = [f for f in found if str(f.get(key, value)) == value]
        return reply(views.listing(call, kind, found))

    async def shown(call: Call) -> Response:
        enforce(call.caller, f"identity:get_{singular}")
        for found in make(call.base):
            if found["id"] == call.params["id"]:
                return reply({singular: found})
        raise ApiError(404, f"Could not find {singular}: {call.params['id']}.")

    return [Route("GET", f"/v3/{kind}", listed), Route("GET", f"/v3/{kind}/{{id}}", shown)]


def keystone(authenticate: Authenticate, auth: Auth, users: Users, projects: Projects, roles: Roles) -> Service:
    """The service, from its parts."""
    routes = [Route("GET", "/", _root, open=True), Route("GET", "/v3", _v3, open=True)]
    for part in (auth, users, projects, roles):
        routes += part.routes()
    for kind in _COLLECTIONS:
        routes += _catalog_routes(kind)
    return Service("keystone", PREFIX, routes, authenticate, keystone_fault, headers=_VARY)
