"""`/openapi/v2` and `/openapi/v3`: schemas of what is served, for kubectl's explain and validation."""

from __future__ import annotations

import asyncio

import msgspec

from kumo.api.errors import StatusError, no_such_path
from kumo.api.kubernetes_version import GIT_VERSION
from kumo.kubernetes.apiserver.aggregation.aggregator import Aggregator
from kumo.kubernetes.apiserver.openapi import Document, Documents, Served, document_of, in_binary
from kumo.kubernetes.apiserver.openapi.binary import MEDIA_TYPE as BINARY_SWAGGER
from kumo.kubernetes.apiserver.registry import Registry, Resource
from kumo.kubernetes.apiserver.responses import json_response
from kumo.kubernetes.apiserver.virtual import virtual_types
from kumo.machinery.http import Answer, Request, Response

_IMMUTABLE = {"Cache-Control": "public, immutable", "Vary": "Accept"}


class OpenApiPaths:
    """Answers the OpenAPI paths; documents are made anew when the registry has changed."""

    def __init__(self, registry: Registry, aggregation: Aggregator) -> None:
        self._registry = registry
        self._aggregation = aggregation
        self._documents: tuple[int, Documents] | None = None
        self._binary: tuple[str, Document] | None = None

    async def answer(self, request: Request) -> Answer:
        """The document at the request's path, with what aggregated servers say. Raises as `respond`."""
        aggregation, path = self._aggregation, request.path.rstrip("/")
        if aggregation.backends:
            if path == "/openapi/v2":
                return await self._swagger(request, self._current().swagger)
            if path == "/openapi/v3":
                return _answer(request, await self._index())
            found = await aggregation.open_api(request) if path.startswith("/openapi/v3/apis/") else None
            if found is not None:
                return found
        return self.respond(request)

    async def _swagger(self, request: Request, own: Document) -> Response:
        document = await self._aggregation.specs.merged(own, self._aggregation.backends.values())
        if not _wants_binary(request):
            return _answer(request, document)
        if self._binary is None or self._binary[0] != document.etag:
            self._binary = (document.etag, await asyncio.to_thread(in_binary, document))
        return _binary(request, self._binary[1])

    async def _index(self) -> Document:
        paths = msgspec.json.decode(self._current().index.body)["paths"]
        for path, where in (await self._aggregation.specs.index(self._aggregation.backends.values())).items():
            paths[path] = {"serverRelativeURL": where}
        return document_of({"paths": dict(sorted(paths.items()))})

    def respond(self, request: Request) -> Response:
        """The document at the request's path, or 304 if the client has it. Raises 404, 406, 301 for an old hash."""
        documents = self._current()
        version, _, path = request.path.removeprefix("/openapi/").strip("/").partition("/")
        if version == "v2" and not path:
            if _wants_binary(request):
                return _binary(request, documents.binary_swagger)
            return _answer(request, documents.swagger)
        if version != "v3":
            raise no_such_path()
        if not path:
            return _answer(request, documents.index)
        found = documents.group_version(path)
        if found is None:
            raise no_such_path()
        asked = request.query.get("hash")
        if asked and asked != found.etag:
            return Response(301, b"", headers={"Location": f"/openapi/v3/{path}?hash={found.etag}"})
        return _answer(request, found, immutable=bool(asked))

    def _current(self) -> Documents:
        generation = self._registry.generation
        if self._documents is None or self._documents[0] != generation:
            served = [_served(resource) for resource in self._registry]
            served += [Served(kind) for kind in virtual_types()]
            self._documents = (generation, Documents(served, GIT_VERSION))
        return self._documents[1]


def _wants_binary(request: Request) -> bool:
    accept = request.headers.get("accept", "")
    return "proto-openapi.spec.v2" in accept and "json" not in accept  # clients write @v1.0 or .v1.0 after it


def _served(resource: Resource) -> Served:
    if resource.custom is None:
        return Served(resource.type)
    versions = resource.custom["spec"]["versions"]
    version = next(v for v in versions if v["name"] == resource.type.version)
    return Served(
        resource.type,
        True,
        (version.get("schema") or {}).get("openAPIV3Schema"),
        resource.custom["spec"]["names"].get("listKind") or "",
        tuple(field["jsonPath"] for field in version.get("selectableFields") or ()),
    )


def _binary(request: Request, document: Document) -> Response:
    headers = {"Vary": "Accept", "Etag": f'"{document.etag}"'}
    if document.etag in request.headers.get("if-none-match", ""):
        return Response(304, b"", headers=headers)
    return Response(200, document.body, BINARY_SWAGGER, headers)


def _answer(request: Request, document: Document, *, immutable: bool = False) -> Response:
    accept = request.headers.get("accept", "")
    if accept and not any(form in accept for form in ("json", "*/*", "application/*")):
        raise StatusError(406, "NotAcceptable", "only the following media types are accepted: application/json")
    headers = {**(_IMMUTABLE if immutable else {"Vary": "Accept"}), "Etag": f'"{document.etag}"'}
    if document.etag in request.headers.get("if-none-match", ""):
        return Response(304, b"", headers=headers)
    return json_response(request, document.body, headers=headers)
