"""Glance put together: its version documents, its table of routes."""

from __future__ import annotations

from typing import Any

from kumo.machinery.client import Client
from kumo.machinery.http import Response
from kumo.openstack.common.caller import Authenticate
from kumo.openstack.common.disks import DiskStore
from kumo.openstack.common.errors import glance_fault
from kumo.openstack.common.service import Call, Route, Service, reply
from kumo.openstack.glance import views
from kumo.openstack.glance.catalog import Images
from kumo.openstack.glance.data import Data
from kumo.openstack.glance.members import Members
from kumo.openstack.glance.records import Records
from kumo.openstack.glance.store import BlobStore

PREFIX = "/image"
_MINORS = (9, 7, 6, 5, 4, 3, 2, 1, 0)
"""The minor versions whose paths are served here (multiple stores, caching and import came with the later ones)."""


def _versions(base: str) -> dict[str, Any]:
    links = [{"rel": "self", "href": f"{base}{PREFIX}/v2/"}]
    return {
        "versions": [
            {"id": f"v2.{minor}", "status": "CURRENT" if minor == _MINORS[0] else "SUPPORTED", "links": links}
            for minor in _MINORS
        ]
    }


async def _root(call: Call) -> Response:
    return reply(_versions(call.base), 300)


async def _version_list(call: Call) -> Response:
    return reply(_versions(call.base))


async def _image_schema(call: Call) -> Response:
    return reply(views.image_schema())


async def _images_schema(call: Call) -> Response:
    return reply(views.images_schema())


async def _import_info(call: Call) -> Response:
    """No import methods: content comes by upload."""
    methods = {"description": "Import methods available.", "type": "array", "value": list[str]()}
    return reply({"import-methods": methods})


def glance(authenticate: Authenticate, client: Client, blobs: BlobStore, disks: DiskStore) -> Service:
    """The service. `client` may do everything."""
    images = Images(client)
    routes = [
        Route("GET", "/", _root, open=True),
        Route("GET", "/versions", _version_list, open=True),
        Route("GET", "/v2", _root, open=True),
        Route("GET", "/v2/schemas/image", _image_schema),
        Route("GET", "/v2/schemas/images", _images_schema),
        Route("GET", "/v2/info/import", _import_info),
    ]
    for part in (Records(images, blobs, disks), Data(images, blobs), Members(images)):
        routes += part.routes()
    return Service("glance", PREFIX, routes, authenticate, glance_fault)
