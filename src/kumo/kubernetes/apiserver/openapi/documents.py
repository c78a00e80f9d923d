"""The documents, for one state of what is served."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from kumo.api.resources import ResourceType
from kumo.api.schema.definitions import Definitions, load
from kumo.kubernetes.apiserver.openapi import binary
from kumo.kubernetes.apiserver.openapi.operations import VERSION, Operations
from kumo.kubernetes.apiserver.openapi.schemas import META, Dialect, Schemas, custom_name

_ALWAYS = ("Patch", "DeleteOptions", "Status", "WatchEvent", "APIResourceList")
_DISCOVERY = ("APIGroup", "APIGroupList", "APIVersions")
_KINDS = "x-kubernetes-group-version-kind"
_BEARER = {
    "BearerToken": {"description": "Bearer Token authentication", "in": "header", "name": "authorization"}
    | {"type": "apiKey"}
}


@dataclass(frozen=True, slots=True)
class Served:
    """One served version of a resource; `schema` is a custom kind's openAPIV3Schema, `custom` says that it is one.

    Of a custom kind too: `list_kind`, and `selectable`, the paths of its selectable fields.
    """

    type: ResourceType
    custom: bool = False
    schema: Mapping[str, Any] | None = None
    list_kind: str = ""
    selectable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """A document as JSON bytes, and its strong ETag without quotes."""

    body: bytes
    etag: str


class Documents:
    """The OpenAPI documents of what is served. `version` is the API server's (`v1.36.0`)."""

    def __init__(self, served: Sequence[Served], version: str, definitions: Definitions | None = None) -> None:
        self._version = version
        self._definitions = definitions or load()
        self._groups: dict[str, list[Served]] = {}
        for one in served:
            self._groups.setdefault(_path(one.type), []).append(one)
        self._made: dict[str, Document] = {}

    @cached_property
    def index(self) -> Document:
        """`/openapi/v3`: where each group version's document is, with its hash in the query."""
        known = sorted({*self._groups, *self._others})
        paths = {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={self.etag(path)}"} for path in known}
        return document_of({"paths": paths})

    @cached_property
    def _others(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """The documents about other paths than those of resources, each with its path and item."""
        groups = {one.type.group for group in self._groups.values() for one in group if not one.custom}
        items = list(Operations("v3", {}).others(sorted(groups)))
        return {path.strip("/"): (path, item) for path, item in items}

    def etag(self, path: str) -> str:
        """The hash of a group version's document, known without making it. Raises KeyError."""
        digest = hashlib.sha512(f"{self._version} {path} ".encode() + self._definitions.digest)
        for one in self._groups[path] if path not in self._others else ():
            digest.update(repr(one.type).encode())
            if one.custom:
                digest.update(msgspec.json.encode(one.schema, order="deterministic"))
        return digest.hexdigest().upper()

    def group_version(self, path: str) -> Document | None:
        """The document of `api/v1`, `apis/apps/v1`, ..., or None."""
        if path in self._others:
            return self._made.setdefault(path, Document(self._other(*self._others[path]), self.etag(path)))
        if path not in self._groups:
            return None
        if path not in self._made:
            self._made[path] = Document(self._v3(self._groups[path]), self.etag(path))
        return self._made[path]

    @cached_property
    def swagger(self) -> Document:
        """`/openapi/v2`: one document for everything."""
        everything = [one for group in self._groups.values() for one in group]
        schemas, paths = self._parts(everything, "v2")
        return document_of(
            {
                "swagger": "2.0",
                "info": self._info(),
                "paths": paths,
                "definitions": schemas,
                "securityDefinitions": _BEARER,
                "security": [{"BearerToken": []}],
            }
        )

    @cached_property
    def binary_swagger(self) -> Document:
        """`/openapi/v2` in protobuf."""
        return in_binary(self.swagger)

    def _info(self) -> dict[str, str]:
        return {"title": "Kubernetes", "version": ".".join(self._version.removeprefix("v").split(".")[:2])}

    def _other(self, path: str, item: dict[str, Any]) -> bytes:
        schemas = Schemas(self._definitions, "v3")
        content = item["get"]["responses"]["200"]["content"]
        answers = {c["schema"].get("$ref", "").rpartition("/")[2] for c in content.values()} - {""}
        schemas.add(answers)
        return self._encoded({path: item}, schemas.found)

    def _v3(self, served: Sequence[Served]) -> bytes:
        schemas, paths = self._parts(served, "v3")
        if served[0].custom:
            info = {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"}
            return _encoded(info, paths, {"schemas": schemas})
        own = [{"group": served[0].type.group, "version": served[0].type.version}]
        for name in ("WatchEvent", "DeleteOptions"):
            found = schemas.get(META + name)
            if found is None:
                continue
            kinds = [k for k in found.get(_KINDS, ()) if {key: k[key] for key in own[0]} in own]
            schemas[META + name] = {**found, _KINDS: kinds} if kinds else found
        return self._encoded(paths, schemas)

    def _encoded(self, paths: Mapping[str, Any], schemas: Mapping[str, Any]) -> bytes:
        components = {"securitySchemes": _BEARER, **({"schemas": schemas} if schemas else {})}
        return _encoded(self._info(), paths, components)

    def _parts(self, served: Sequence[Served], dialect: Dialect) -> tuple[dict[str, Any], dict[str, Any]]:
        """Definitions and paths."""
        schemas = Schemas(self._definitions, dialect)
        names: dict[tuple[str, str, str], str] = dict(self._definitions.kinds.items())
        for one in served:
            gvk = one.type.gvk
            if one.custom:
                name = custom_name(gvk)
                schemas.add_custom(name, one.schema, gvk, one.list_kind, one.selectable)
                names[gvk] = name
                names[(gvk.group, gvk.version, gvk.kind + "List")] = name + "List"
        for one in served:
            kinds = [(one.type.group, one.type.version, one.type.kind + tail) for tail in ("", "List")]
            kinds += [(s.group or one.type.group, s.version or one.type.version, s.kind) for s in one.type.subresources]
            schemas.add(names[k] for k in kinds if k in names and names[k] not in schemas.found)
        operations = Operations(dialect, names)
        paths = dict(item for one in served for item in operations.paths(one.type, custom=one.custom))
        versions = dict.fromkeys((one.type.group, one.type.version) for one in served if not one.custom)
        paths |= dict(operations.discovery(group, version) for group, version in versions)
        if dialect == "v2":
            schemas.add(META + name for name in _DISCOVERY)
            schemas.add([VERSION] if VERSION in self._definitions else ())
            paths |= dict(operations.others(dict.fromkeys(group for group, _ in versions)))
        used = msgspec.json.encode(paths)
        schemas.add(META + name for name in _ALWAYS if f'{META}{name}"'.encode() in used)
        return dict(sorted(schemas.found.items())), dict(sorted(paths.items()))


def _path(kind: ResourceType) -> str:
    return f"apis/{kind.group}/{kind.version}" if kind.group else f"api/{kind.version}"


def _encoded(info: Mapping[str, str], paths: Mapping[str, Any], components: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode({"openapi": "3.0.0", "info": info, "paths": paths, "components": components})


def document_of(value: Any) -> Document:
    """The value as a document."""
    body = msgspec.json.encode(value)
    return Document(body, hashlib.sha512(body).hexdigest().upper())


def in_binary(document: Document) -> Document:
    """A document of version 2 in protobuf."""
    body = binary.encode(msgspec.json.decode(document.body))
    return Document(body, hashlib.sha512(body).hexdigest().upper())
