"""A small image registry on a loopback port: pull only, with basic authentication for repositories below `private/`."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from kumo.host.containerd.archive import BuiltImage, digest_of
from kumo.machinery.http import Answer, Request, Response
from kumo.machinery.listener import Listener

USER, PASSWORD = "puller", "let me in"


@dataclass
class Registry:
    """Serves what was `push`ed; `asked` are the paths of all requests."""

    url: str = ""
    manifests: dict[tuple[str, str], tuple[bytes, str]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def push(self, repository: str, tag: str, image: BuiltImage) -> None:
        data = image.manifest.data or b""
        for reference in (tag, digest_of(data)):
            self.manifests[repository, reference] = (data, image.media_type)
        for blob in (image.config, *image.layers):
            self.blobs[blob.digest] = blob.data or b""

    async def handle(self, request: Request) -> Answer:
        self.asked.append(request.path)
        path = request.path.removeprefix("/v2/")
        if path.startswith("private/"):
            wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            if request.headers.get("authorization") != wanted:
                return Response(401, b"{}", headers={"www-authenticate": 'Basic realm="test"'})
        repository, _, reference = path.rpartition("/manifests/")
        if repository and (repository, reference) in self.manifests:
            data, kind = self.manifests[repository, reference]
            return Response(200, data, kind, headers={"docker-content-digest": digest_of(data)})
        _, _, digest = path.rpartition("/blobs/")
        if digest in self.blobs:
            return Response(200, self.blobs[digest], "application/octet-stream")
        return Response(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}') if path else Response(200, b"{}")


@contextlib.asynccontextmanager
async def running_registry() -> AsyncIterator[Registry]:
    """A registry for as long as the block lasts."""
    registry = Registry()
    listener = Listener(registry.handle, grace=0.2)
    await listener.start()
    registry.url = listener.url
    try:
        yield registry
    finally:
        await listener.stop()
