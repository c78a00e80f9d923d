"""The content of images: streamed in, streamed out."""

from __future__ import annotations

import contextlib
import errno
import re
from typing import Any

from kumo.api.errors import StatusError, is_conflict, is_not_found
from kumo.api.objects import Object, name_of, namespace_of, timestamp
from kumo.machinery.client import Client
from kumo.machinery.http import Response
from kumo.openstack.common import names
from kumo.openstack.common.errors import ApiError
from kumo.openstack.common.service import Call, Route, empty
from kumo.openstack.glance.catalog import Images
from kumo.openstack.glance.formats import BadDisk
from kumo.openstack.glance.store import BlobStore, Stored
from kumo.openstack.glance.views import state_of

_RANGE = re.compile(r"bytes=(\d{1,18})?-(\d{1,18})?")


class Data:
    """PUT and GET of /v2/images/{id}/file."""

    def __init__(self, images: Images, blobs: BlobStore) -> None:
        self._images = images
        self._blobs = blobs

    def routes(self) -> list[Route]:
        """Its part of Glance's table."""
        path = "/v2/images/{id}/file"
        return [Route("PUT", path, self.upload), Route("GET", path, self.download)]

    async def upload(self, call: Call) -> Response:
        """Take the content of a queued image: queued, saving, active; queued again when it does not come whole."""
        if call.request.headers.get("content-type", "").split(";")[0].strip() != "application/octet-stream":
            raise ApiError(415, "The content must be sent as application/octet-stream.")
        found = await self._images.own(call.caller, call.params["id"], "upload_image")
        spec = found["spec"]
        for field, label in (("containerFormat", "container_format"), ("diskFormat", "disk_format")):
            if not spec.get(field):
                raise ApiError(400, f"{label} must be set before the content is uploaded.")
        found = await self._to_saving(found)
        try:
            stored = await self._blobs.write(call.request.stream(), spec["diskFormat"])
        except BaseException as error:
            with contextlib.suppress(StatusError):
                await self._note(found, state="queued")
            if isinstance(error, BadDisk):
                raise ApiError(400, f"Image content did not match disk format {spec['diskFormat']}: {error}.") from None
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise ApiError(413, "There is not enough disk space on the image storage media.") from None
            raise
        await self._to_active(found, stored)
        return empty()

    async def _to_saving(self, found: Object) -> Object:
        if state_of(found) != "queued":
            what = f"Image status transition from {state_of(found)} to saving is not allowed"
            raise ApiError(409, what)
        status = {**(found.get("status") or {}), "state": "saving", "updatedAt": timestamp()}
        try:
            return await self._images.client.update_status(names.IMAGES, {**found, "status": status})
        except StatusError as error:
            if is_conflict(error):
                raise ApiError(409, "Image status transition from saving to saving is not allowed") from None
            raise

    async def _to_active(self, found: Object, stored: Stored) -> None:
        status = {"state": "active", "size": stored.size, "checksum": stored.md5, "sha512": stored.sha512}
        if stored.virtual_size is not None:
            status["virtualSize"] = stored.virtual_size
        async with self._blobs.lock:
            await self._blobs.keep(stored)
            try:
                await self._note(found, **status)
            except StatusError as error:
                if not is_not_found(error):
                    raise
                others = await self._images.all()
                if not any((i.get("status") or {}).get("sha512") == stored.sha512 for i in others):
                    await self._blobs.remove(stored.sha512)
                raise ApiError(410, f"Image {name_of(found)} could not be found after upload.") from None

    async def _note(self, found: Object, **status: Any) -> None:
        patch = {"status": {**status, "updatedAt": timestamp()}}
        where = (name_of(found), patch, namespace_of(found))
        await self._images.client.patch(names.IMAGES, *where, subresource="status")

    async def download(self, call: Call) -> Response:
        """Give the content, or the range asked for."""
        found = await self._images.get(call.caller, call.params["id"])
        status: dict[str, Any] = found.get("status") or {}
        if state_of(found) == "deactivated" and not call.caller.is_admin:
            raise ApiError(403, "The requested image has been deactivated. Image data download is forbidden.")
        if not status.get("sha512") or state_of(found) not in ("active", "deactivated"):
            return empty(204)
        size: int = status["size"]
        start, end = _asked(call.request.headers.get("range", ""), size)
        headers = {"Content-Length": str(end - start)}
        whole = end - start == size
        if whole:
            headers["Content-MD5"] = status["checksum"]
        else:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        body = self._blobs.read(status["sha512"], start, end - start)
        return Response(200 if whole else 206, body, content_type="application/octet-stream", headers=headers)


async def requeue(client: Client) -> None:
    """Images whose upload ended with the process that took it wait for their content again."""
    for found in (await client.list(names.IMAGES)).items:
        if state_of(found) == "saving":
            patch = {"status": {"state": "queued", "updatedAt": timestamp()}}
            await client.patch(names.IMAGES, name_of(found), patch, namespace_of(found), subresource="status")


def _asked(header: str, size: int) -> tuple[int, int]:
    """Start and end (exclusive) of the one range that the header asks for; all without one. Raises ApiError 416."""
    if not header:
        return 0, size
    found = _RANGE.fullmatch(header.strip())
    if found is None or not (found[1] or found[2]):
        raise ApiError(416, f"Invalid range: {header}", {"Content-Range": f"bytes */{size}"})
    start = int(found[1]) if found[1] else max(size - int(found[2]), 0)
    end = min(int(found[2]) + 1, size) if found[1] and found[2] else size
    if start >= end:
        raise ApiError(416, f"The range {header} is not in the image.", {"Content-Range": f"bytes */{size}"})
    return start, end
