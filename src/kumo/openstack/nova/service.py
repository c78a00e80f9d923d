"""Nova put together: its version documents, its table of routes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kumo.machinery.client import Client
from kumo.machinery.http import Response
from kumo.openstack.common.caller import Authenticate
from kumo.openstack.common.disks import DiskStore
from kumo.openstack.common.errors import nova_fault
from kumo.openstack.common.microversions import Range, Version
from kumo.openstack.common.service import Call, Route, Service, reply
from kumo.openstack.nova import networks
from kumo.openstack.nova.flavors import Flavors
from kumo.openstack.nova.infrastructure import Infrastructure
from kumo.openstack.nova.keypairs import Keypairs
from kumo.openstack.nova.servers.actions import Actions
from kumo.openstack.nova.servers.create import Create
from kumo.openstack.nova.servers.find import Servers
from kumo.openstack.nova.servers.listing import Listing
from kumo.openstack.nova.servers.tags import Tags

PREFIX = "/compute"
VERSIONS = Range("compute", Version(2, 1), Version(2, 96))


def _version(base: str) -> dict[str, Any]:
    return {
        "id": "v2.1",
        "status": "CURRENT",
        "version": str(VERSIONS.highest),
        "min_version": str(VERSIONS.lowest),
        "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": f"{base}{PREFIX}/v2.1/"}],
    }


async def _root(call: Call) -> Response:
    return reply({"versions": [_version(call.base)]})


async def _v21(call: Call) -> Response:
    shown = _version(call.base)
    shown["links"].append({"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"})
    media = {"base": "application/json", "type": "application/vnd.openstack.compute+json;version=2.1"}
    return reply({"version": {**shown, "media-types": [media]}})


def nova(authenticate: Authenticate, client: Client, images_dir: Path, disks: DiskStore) -> Service:
    """The service. `client` may do everything; `images_dir` is where uploaded images lie."""
    servers, flavors, keypairs = Servers(client), Flavors(client), Keypairs(client)
    routes = [Route("GET", "/", _root, open=True), Route("GET", "/v2.1", _v21, open=True)]
    parts = (
        Listing(servers),
        Create(client, flavors, keypairs, images_dir, disks),
        Actions(servers, disks),
        Tags(servers),
        flavors,
        keypairs,
        Infrastructure(servers),
    )
    routes += networks.routes()
    for part in parts:
        routes += part.routes()
    also = ("x-compute-request-id",)
    return Service("nova", PREFIX, routes, authenticate, nova_fault, VERSIONS, also)
