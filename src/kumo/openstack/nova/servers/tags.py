"""Tags of servers (microversion 2.26)."""

from __future__ import annotations

import json

from kumo.api.objects import Object, name_of, namespace_of
from kumo.api.resources import VMS
from kumo.machinery.http import Response
from kumo.openstack.common import names
from kumo.openstack.common.errors import ApiError
from kumo.openstack.common.service import Call, Route, empty, reply
from kumo.openstack.common.validate import check
from kumo.openstack.nova.policy import enforce
from kumo.openstack.nova.servers import notes
from kumo.openstack.nova.servers.find import Servers

_TAG = {"type": "string", "minLength": 1, "maxLength": 60, "pattern": "^[^,/]*$"}
_TAGS = {"type": "array", "items": _TAG, "maxItems": 50}
_MOST = 50


class Tags:
    """The tag paths."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    def routes(self) -> list[Route]:
        """Its part of Nova's table."""
        path = "/v2.1/servers/{id}/tags"
        return [
            Route("GET", path, self.list),
            Route("PUT", path, self.replace),
            Route("DELETE", path, self.clear),
            Route("GET", f"{path}/{{tag}}", self.has),
            Route("PUT", f"{path}/{{tag}}", self.add),
            Route("DELETE", f"{path}/{{tag}}", self.remove),
        ]

    async def _tagged(self, call: Call, *, change: bool) -> tuple[Object, list[str]]:
        if not call.at_least(26):
            raise ApiError(404, "The resource could not be found.")
        if change:
            enforce(call.caller, "os_compute_api:os-server-tags:update")
        vm = await self._servers.vm(call.caller, call.params["id"])
        return vm, notes.strings(vm, names.TAGS)

    async def _keep(self, call: Call, vm: Object, tags: list[str]) -> None:
        check({"tags": tags}, {"properties": {"tags": _TAGS}})
        patch = {"metadata": {"annotations": {names.TAGS: json.dumps(tags)}}}
        await call.caller.kube.patch(VMS, name_of(vm), patch, namespace_of(vm))

    def _missing(self, call: Call) -> ApiError:
        return ApiError(404, f"Server {call.params['id']} has no tag '{call.params['tag']}'")

    async def list(self, call: Call) -> Response:
        """All tags."""
        _, tags = await self._tagged(call, change=False)
        return reply({"tags": tags})

    async def replace(self, call: Call) -> Response:
        """Put these in the place of all."""
        given = await call.json()
        if not isinstance(given, dict) or "tags" not in given:
            raise ApiError(400, "'tags' is a required property")
        check(given, {"properties": {"tags": _TAGS}})
        vm, _ = await self._tagged(call, change=True)
        tags = list(dict.fromkeys(given["tags"]))
        await self._keep(call, vm, tags)
        return reply({"tags": tags})

    async def clear(self, call: Call) -> Response:
        """Take all away."""
        vm, _ = await self._tagged(call, change=True)
        await self._keep(call, vm, [])
        return empty()

    async def has(self, call: Call) -> Response:
        """Whether the server has the tag (204 or 404)."""
        _, tags = await self._tagged(call, change=False)
        if call.params["tag"] not in tags:
            raise self._missing(call)
        return empty()

    async def add(self, call: Call) -> Response:
        """Add a tag: 201, or 204 if it is there."""
        vm, tags = await self._tagged(call, change=True)
        tag = call.params["tag"]
        if tag in tags:
            return empty()
        if len(tags) >= _MOST:
            raise ApiError(400, f"The number of tags exceeded the per-server limit {_MOST}")
        await self._keep(call, vm, [*tags, tag])
        return empty(201, {"Location": f"{call.base}{call.request.path}"})

    async def remove(self, call: Call) -> Response:
        """Take a tag away."""
        vm, tags = await self._tagged(call, change=True)
        if call.params["tag"] not in tags:
            raise self._missing(call)
        await self._keep(call, vm, [t for t in tags if t != call.params["tag"]])
        return empty()
