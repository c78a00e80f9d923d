"""One request for a subresource, and what the functions that answer it work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import yaml

from kumo.api.errors import StatusError, bad_request, internal, is_not_found, not_found
from kumo.api.objects import Object
from kumo.api.resources import GVR, VMIS, VMS
from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.common.names import GROUP
from kumo.machinery.client import JSON_PATCH, Client, Transport
from kumo.machinery.http import Request, Response

BODY_LIMIT = 3 << 20
ACCEPTED = Response(202)
OK = Response(200)


@dataclass(frozen=True, slots=True)
class Services:
    """What virt-api works with: a client that acts as virt-api, the settings, and a way to a virt-handler.

    `dial` gives a transport to `host:port`, with the mutual TLS of the cluster.
    """

    client: Client
    config: Callable[[], ClusterConfig]
    dial: Callable[[str], Transport]


@dataclass(slots=True)
class Call:
    """A request for `subresource` of the object `name` (of `resource`) in `namespace`."""

    request: Request
    services: Services
    version: str = ""
    namespace: str = ""
    resource: str = ""
    name: str = ""
    subresource: str = ""
    parameters: tuple[str, ...] = ()
    """What follows the subresource in the path: port and protocol of a port-forward."""
    _body: dict[str, Any] | None = field(default=None)

    async def body(self) -> dict[str, Any]:
        """The body as an object, whatever its media type: JSON or YAML; empty if there is none.

        Raises StatusError 400 for anything else.
        """
        if self._body is None:
            self._body = decode(await self.request.read(BODY_LIMIT))
        return self._body

    async def dry_run(self) -> bool:
        """Whether the body asks for a dry run."""
        return "All" in ((await self.body()).get("dryRun") or ())

    async def vm(self) -> Object:
        """The VirtualMachine. Raises StatusError 404 in virt-api's words."""
        return await self._fetch(VMS, "virtualmachine", "vm")

    async def vmi(self) -> Object:
        """The VirtualMachineInstance. Raises StatusError 404 in virt-api's words."""
        return await self._fetch(VMIS, "virtualmachineinstance", "vmi")

    async def _fetch(self, gvr: GVR, singular: str, short: str) -> Object:
        try:
            return await self.services.client.get(gvr, self.name, self.namespace)
        except StatusError as error:
            if is_not_found(error):
                raise not_found(GROUP, singular, self.name) from error
            raise internal(f"unable to retrieve {short} [{self.name}]: {error}") from error

    async def maybe_vmi(self) -> Object | None:
        """The VirtualMachineInstance, or None."""
        try:
            return await self.vmi()
        except StatusError as error:
            if is_not_found(error):
                return None
            raise

    async def patch(
        self, gvr: GVR, operations: list[dict[str, Any]], *, subresource: str = "", dry_run: bool = False
    ) -> Object:
        """Apply a JSON patch to the object of this call's name."""
        path = gvr.path(self.namespace, self.name, subresource)
        query = {"dryRun": "All"} if dry_run else None
        client = self.services.client
        made: Object = await client.request("PATCH", path, query=query, body=operations, content_type=JSON_PATCH)
        return made


def decode(data: bytes) -> dict[str, Any]:
    """A body of JSON or YAML. Raises StatusError 400."""
    if not data.strip():
        return {}
    try:
        found = msgspec.json.decode(data)
    except msgspec.DecodeError:
        try:
            found = yaml.safe_load(data)
        except yaml.YAMLError as error:
            raise bad_request(f"Can not unmarshal Request body to struct, error: {error}") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        kind = type(found).__name__
        raise bad_request(f"Can not unmarshal Request body to struct, error: the body is no object but a {kind}")
    return found
