"""Images as records: create, list, show, update, delete, tags."""

from __future__ import annotations

import contextlib
import uuid
from typing import Any
from urllib.parse import urlencode

from kumo.api.errors import StatusError, is_already_exists
from kumo.api.objects import Object, name_of, namespace_of, timestamp
from kumo.api.resources import VMS
from kumo.machinery.http import Response
from kumo.openstack.common import names, paging
from kumo.openstack.common.disks import DiskStore, DiskStoreError, disk_name
from kumo.openstack.common.errors import ApiError
from kumo.openstack.common.service import Call, Route, empty, reply
from kumo.openstack.glance import views
from kumo.openstack.glance.catalog import Images, listed
from kumo.openstack.glance.patch import patched
from kumo.openstack.glance.store import BlobStore

_DEFAULT_LIMIT = 25
_NOT_FILTERS = ("limit", "marker", "sort_key", "sort_dir", "sort", "visibility", "member_status", "tag", "os_hidden")
_PATCH_TYPES = ("application/openstack-images-v2.1-json-patch", "application/openstack-images-v2.0-json-patch")


class Records:
    """The image paths, but for the content."""

    def __init__(self, images: Images, blobs: BlobStore, disks: DiskStore) -> None:
        self._images = images
        self._blobs = blobs
        self._disks = disks

    def routes(self) -> list[Route]:
        """Its part of Glance's table."""
        return [
            Route("GET", "/v2/images", self.list),
            Route("POST", "/v2/images", self.create),
            Route("GET", "/v2/images/{id}", self.show),
            Route("PATCH", "/v2/images/{id}", self.update),
            Route("DELETE", "/v2/images/{id}", self.delete),
            Route("PUT", "/v2/images/{id}/tags/{tag}", self.add_tag),
            Route("DELETE", "/v2/images/{id}/tags/{tag}", self.remove_tag),
            Route("POST", "/v2/images/{id}/actions/{action}", self.switch),
        ]

    async def _owner(self, found: Object) -> str:
        return (await self._images.owners()).get(namespace_of(found), "")

    async def create(self, call: Call) -> Response:
        """A new image without content: status queued."""
        project, caller = call.project, call.caller
        given = await call.json()
        if not isinstance(given, dict):
            raise ApiError(400, f"Provided object does not match schema 'image': {given!r} is not of type 'object'")
        views.check_fields(given)
        if not caller.may_write:
            raise ApiError(403, "You are not authorized to complete add_image action.")
        if given.get("owner", project.id) not in (project.id, None) and not caller.is_admin:
            raise ApiError(403, f"You are not permitted to create images owned by '{given['owner']}'.")
        if given.get("visibility") == "public" and not caller.is_admin:
            raise ApiError(403, "You are not authorized to complete publicize_image action.")
        spec = {"visibility": "shared", **views.spec_of({k: v for k, v in given.items() if k not in ("id", "owner")})}
        identity = given.get("id", "").lower() or str(uuid.uuid4())
        if any(name_of(i) == identity for i in await self._images.all()):
            raise ApiError(409, f"Image ID {identity} already exists!")
        meta = {"name": identity, "namespace": project.namespace}
        made = {"apiVersion": names.IMAGES.api_version, "kind": "Image", "metadata": meta, "spec": spec}
        try:
            made = await caller.kube.create(names.IMAGES, made)
        except StatusError as error:
            if is_already_exists(error):
                raise ApiError(409, f"Image ID {identity} already exists!") from None
            raise
        return reply(views.image(made, project.id), 201, {"Location": f"{call.base}/image/v2/images/{identity}"})

    async def list(self, call: Call) -> Response:
        """The images that the caller sees, filtered, ordered, a page of them."""
        caller, query = call.caller, call.query
        wanted = query.get("visibility", "")
        if wanted and wanted not in (*views.VISIBILITIES, "all"):
            raise ApiError(400, f"Invalid visibility value: {wanted}")
        owners = await self._images.owners()
        found = [i for i in await self._images.all() if listed(i, caller, wanted)]
        hidden = query.get("os_hidden", "false").lower() == "true"
        found = [i for i in found if i["spec"].get("hidden", False) == hidden]
        shown = [views.image(i, owners.get(namespace_of(i), "")) for i in found]
        tags = {v for k, v in call.request.query_list if k == "tag"}
        shown = [i for i in shown if tags <= set(i["tags"]) and _matches(i, query)]
        shown = paging.by_keys(shown, _order(query))
        part = paging.page(shown, query, default=_DEFAULT_LIMIT, missing="Invalid marker {}")
        items = [(k, v) for k, v in call.request.query_list if k != "marker"]
        body: dict[str, Any] = {"images": part.items, "first": _path(items), "schema": "/v2/schemas/images"}
        if part.next_marker:
            body["next"] = _path([*items, ("marker", part.next_marker)])
        return reply(body)

    async def show(self, call: Call) -> Response:
        """One image."""
        found = await self._images.get(call.caller, call.params["id"])
        return reply(views.image(found, await self._owner(found)))

    async def update(self, call: Call) -> Response:
        """Change fields and properties by a JSON patch."""
        kind = call.request.headers.get("content-type", "").split(";")[0].strip()
        if kind not in _PATCH_TYPES:
            raise ApiError(415, f"Unsupported Content-Type, expected one of {', '.join(_PATCH_TYPES)}.")
        found = await self._images.own(call.caller, call.params["id"], "modify_image")
        wanted = patched(views.writable(found), await call.json())
        views.check_fields(wanted)
        if wanted["visibility"] == "public" != found["spec"].get("visibility") and not call.caller.is_admin:
            raise ApiError(403, "You are not authorized to complete publicize_image action.")
        locked = ("disk_format", "container_format")
        if views.state_of(found) != "queued" and any(wanted[k] != views.writable(found)[k] for k in locked):
            name = next(k for k in locked if wanted[k] != views.writable(found)[k])
            raise ApiError(403, f"Attribute {name} can be only replaced for a queued image.")
        return await self._replace(call, found, views.spec_of(wanted))

    async def _replace(self, call: Call, found: Object, spec: dict[str, Any]) -> Response:
        if "members" in found["spec"]:
            spec["members"] = found["spec"]["members"]
        made = await call.caller.kube.update(names.IMAGES, {**found, "spec": spec})
        made = await self.note(made, updatedAt=timestamp())
        return reply(views.image(made, await self._owner(made)))

    async def note(self, found: Object, **status: Any) -> Object:
        """Write fields of the image's status."""
        patch = {"status": status}
        return await self._images.client.patch(
            names.IMAGES, name_of(found), patch, namespace_of(found), subresource="status"
        )

    async def delete(self, call: Call) -> Response:
        """Remove the image, content that no other image has, and the container disk if no machine needs it."""
        found = await self._images.own(call.caller, call.params["id"], "delete_image")
        if found["spec"].get("protected"):
            raise ApiError(403, f"Image {call.params['id']} is protected and cannot be deleted.")
        await call.caller.kube.delete(names.IMAGES, name_of(found), namespace_of(found))
        status: dict[str, Any] = found.get("status") or {}
        if digest := status.get("sha512"):
            async with self._blobs.lock:
                others = [i for i in await self._images.all() if (i.get("status") or {}).get("sha512") == digest]
                if not others:
                    await self._blobs.remove(digest)
            in_use = (
                await self._images.client.list(VMS, label_selector=f"{names.IMAGE_ID}={name_of(found)}", limit=1)
            ).items
            if in_use:
                return empty()  # goes with the last of them
            with contextlib.suppress(DiskStoreError):  # what is left over is the node's image collection's
                await self._disks.remove(disk_name(namespace_of(found), name_of(found), status["checksum"]))
        return empty()

    async def add_tag(self, call: Call) -> Response:
        """Add a tag."""
        return await self._tag(call, add=True)

    async def remove_tag(self, call: Call) -> Response:
        """Take a tag away."""
        return await self._tag(call, add=False)

    async def _tag(self, call: Call, *, add: bool) -> Response:
        found = await self._images.own(call.caller, call.params["id"], "modify_image")
        tag, tags = call.params["tag"], set(found["spec"].get("tags") or ())
        if not add and tag not in tags:
            raise ApiError(404, f"Tag {tag} not found on image {call.params['id']}")
        tags = tags | {tag} if add else tags - {tag}
        views.check_fields({"tags": sorted(tags)})
        await call.caller.kube.update(names.IMAGES, {**found, "spec": {**found["spec"], "tags": sorted(tags)}})
        return empty()

    async def switch(self, call: Call) -> Response:
        """Deactivate or reactivate: whether the content can be read (administrators only, as Glance's policy says)."""
        action = call.params["action"]
        states = {"deactivate": "deactivated", "reactivate": "active"}
        if action not in states:
            raise ApiError(404, "The resource could not be found.")
        found = await self._images.get(call.caller, call.params["id"])
        if not call.caller.is_admin:
            raise ApiError(403, f"You are not authorized to complete {action} action.")
        if views.state_of(found) not in states.values():
            raise ApiError(403, f"Not allowed to {action} image in status '{views.state_of(found)}'")
        await self.note(found, state=states[action], updatedAt=timestamp())
        return empty()


def _order(query: dict[str, str]) -> list[tuple[str, str]]:
    keys: list[tuple[str, str]] = []
    for part in filter(None, query.get("sort", "").split(",")):
        key, _, direction = part.partition(":")
        keys.append((key, direction or "desc"))
    if "sort_key" in query:
        keys.append((query["sort_key"], query.get("sort_dir", "desc")))
    for key, direction in keys:
        if key not in ("name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at"):
            raise ApiError(400, f"Invalid sort key: {key}")
        if direction not in ("asc", "desc"):
            raise ApiError(400, f"Invalid sort direction: {direction}")
    return [*keys, ("created_at", "desc"), ("id", "desc")]


def _matches(image: dict[str, Any], query: dict[str, str]) -> bool:
    for key, value in query.items():
        if key in _NOT_FILTERS:
            continue
        if key in ("size_min", "size_max"):
            bound, size = paging.number(query, key, 0), image["size"] or 0
            if (size < bound) if key == "size_min" else (size > bound):
                return False
            continue
        actual = image.get(key)
        text = str(actual).lower() if isinstance(actual, bool) else "" if actual is None else str(actual)
        wanted = value.removeprefix("in:").split(",") if value.startswith("in:") else [value]
        if text not in wanted:
            return False
    return True


def _path(query: list[tuple[str, str]]) -> str:
    return "/v2/images" + (f"?{urlencode(query)}" if query else "")
