"""Discovery: which groups, versions and resources are served, in the old form and in the aggregated one.

`/api`, `/apis`, `/apis/{group}`, `/apis/{group}/{version}`; aggregated: `apidiscovery.k8s.io` APIGroupDiscoveryList.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kumo.api.errors import no_such_path
from kumo.api.objects import Object
from kumo.api.resources import ResourceType
from kumo.api.schema.definitions import load
from kumo.kubernetes.apiserver.aggregation.backends import Backend
from kumo.kubernetes.apiserver.negotiation import accepted, media_ranges, not_acceptable
from kumo.kubernetes.apiserver.responses import json_response, value_response
from kumo.kubernetes.apiserver.splice import encode
from kumo.machinery.extension import ApiGroup
from kumo.machinery.http import Request, Response

_GROUP_ORDER = (
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
)
_PRIORITY, _PRIORITY_OF_VERSION = 1000, 100
"""Those of the groups and versions of custom resources."""
_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?$")


def version_order(version: str) -> tuple[int, ...] | tuple[int, str]:
    """A sort key that puts the preferred version first: v2, v1, v1beta2, v1beta1, v1alpha1, others by name."""
    found = _VERSION.match(version)
    if not found:
        return (9, 0, 0)
    stage = {None: 0, "beta": 1, "alpha": 2}[found[2]]
    return (stage, -int(found[1]), -int(found[3] or 0))


class Discovery:
    """The documents for what is served now; made anew when that changes."""

    def __init__(
        self, resources: Iterable[ResourceType], groups: Sequence[ApiGroup], backends: Iterable[Backend] = ()
    ) -> None:
        self._groups: dict[str, dict[str, list[ResourceType]]] = {}
        for kind in resources:
            self._groups.setdefault(kind.group, {}).setdefault(kind.version, []).append(kind)
        self._aggregated = {group.group: group for group in groups}
        self._backends = {(backend.group, backend.version): backend for backend in backends}
        self._bytes: dict[str, tuple[bytes, str]] = {}

    # -- the old form -----------------------------------------------------------------------------------------------

    def respond(self, request: Request) -> Response:
        """The discovery document at the request's path. Raises 404."""
        parts = [p for p in request.path.split("/") if p]
        form = _aggregated_form(request.headers.get("accept", ""))
        if form and len(parts) == 1:
            return self._respond_aggregated(request, parts[0], form)
        wanted = accepted(request.headers.get("accept", ""))
        if wanted.form:
            raise not_acceptable("application/json, application/yaml")
        if wanted.yaml:
            return value_response(request, self._make(parts), as_yaml=True)
        return json_response(request, self._document(parts))

    def _document(self, parts: list[str]) -> bytes:
        key = "/".join(parts)
        found = self._bytes.get(key)
        if found is None:
            found = self._bytes[key] = (encode(self._make(parts)), "")
        return found[0]

    def _make(self, parts: list[str]) -> Object:
        if parts == ["api"]:
            return {
                "kind": "APIVersions",
                "versions": ["v1"],
                "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}],
            }
        if parts[0] == "api" and len(parts) == 2 and parts[1] in self._groups.get("", {}):
            return self._resource_list("", parts[1])
        if parts == ["apis"]:
            groups = [self._group(name) for name in self._names() if name]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        if parts[0] == "apis" and len(parts) == 2 and parts[1] in self._names():
            return {"kind": "APIGroup", "apiVersion": "v1", **self._group(parts[1])}
        if parts[0] == "apis" and len(parts) == 3 and parts[2] in self._versions(parts[1]):
            return self._resource_list(parts[1], parts[2])
        raise no_such_path()

    def _names(self) -> list[str]:
        behind: dict[str, int] = {}
        for (group, _), backend in self._backends.items():
            behind[group] = max(behind.get(group, 0), backend.group_priority)
        known = {*self._groups, *self._aggregated, *behind}
        first = [name for name in _GROUP_ORDER if name in known]
        return first + sorted(known - set(first), key=lambda name: (-behind.get(name, _PRIORITY), name))

    def _versions(self, group: str) -> list[str]:
        if group in self._aggregated:
            return list(self._aggregated[group].versions)
        behind = {v: b.version_priority for (g, v), b in self._backends.items() if g == group}
        versions = {*self._groups.get(group, {}), *behind}
        return sorted(versions, key=lambda v: (-behind.get(v, _PRIORITY_OF_VERSION), version_order(v)))

    def _group(self, group: str) -> Object:
        versions = [{"groupVersion": f"{group}/{v}", "version": v} for v in self._versions(group)]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _resource_list(self, group: str, version: str) -> Object:
        resources: list[Mapping[str, Any]] = []
        for kind in sorted(self._groups.get(group, {}).get(version, ()), key=lambda k: k.resource):
            resources.append(_api_resource(kind))
            resources += _api_subresources(kind)
        if group in self._aggregated:
            resources += self._aggregated[group].resources
        return {
            "kind": "APIResourceList",
            **({"apiVersion": "v1"} if group else {}),  # The oldest group says nothing of itself.
            "groupVersion": f"{group}/{version}" if group else version,
            "resources": resources,
        }

    # -- the aggregated form ----------------------------------------------------------------------------------------

    def _respond_aggregated(self, request: Request, root: str, version: str) -> Response:
        key = f"aggregated/{version}/{root}"
        found = self._bytes.get(key)
        if found is None:
            names = [""] if root == "api" else [n for n in self._names() if n]
            items = [self._group_discovery(name) for name in names]
            body = encode(
                {
                    "kind": "APIGroupDiscoveryList",
                    "apiVersion": f"apidiscovery.k8s.io/{version}",
                    "metadata": {},
                    "items": items,
                }
            )
            found = self._bytes[key] = (body, f'"{hashlib.sha256(body).hexdigest().upper()}"')
        body, tag = found
        kind = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
        headers = {"ETag": tag, "Vary": "Accept", "Cache-Control": "public"}
        if request.headers.get("if-none-match") == tag:
            return Response(304, b"", kind, headers)
        answer = json_response(request, body, headers=headers)
        answer.content_type = kind
        return answer

    def _group_discovery(self, group: str) -> Object:
        versions = [
            {"version": v, "resources": self._version_resources(group, v), "freshness": self._freshness(group, v)}
            for v in self._versions(group)
        ]
        return {"metadata": {"name": group} if group else {}, "versions": versions}

    def _freshness(self, group: str, version: str) -> str:
        backend = self._backends.get((group, version))
        return "Current" if backend is None or backend.available else "Stale"

    def _version_resources(self, group: str, version: str) -> list[Object]:
        backend = self._backends.get((group, version))
        if backend is not None:
            if backend.discovered is not None:
                return backend.discovered
            return _from_api_resources(backend.resources, group, version)
        found = [
            _resource_discovery(kind)
            for kind in sorted(self._groups.get(group, {}).get(version, ()), key=lambda k: k.resource)
        ]
        if group in self._aggregated:
            found += _from_api_resources(self._aggregated[group].resources, group, version)
        return found


def _aggregated_form(accept: str) -> str:
    """The version of the aggregated form that the client prefers to the old one; empty: it wants the old one."""
    for entry in media_ranges(accept):
        if entry.type != "application/json":
            continue
        if not entry.parameters:
            return ""
        wanted = entry.parameters
        known = wanted.get("g") == "apidiscovery.k8s.io" and wanted.get("as") == "APIGroupDiscoveryList"
        if known and wanted.get("v") == "v2":
            return wanted["v"]
    return ""


def _response_kind(kind: ResourceType, group: str, version: str, name: str) -> Object:
    """The kind of an answer; built-in resources leave out what is as in the path."""
    own = (group, version) == (kind.group, kind.version)
    if own and kind.gvk in load().kinds:
        group, version = "", ""
    return {"group": group, "version": version, "kind": name}


def _api_resource(kind: ResourceType) -> Object:
    found: Object = {
        "name": kind.resource,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        found["shortNames"] = list(kind.short_names)
    if kind.categories:
        found["categories"] = list(kind.categories)
    found["storageVersionHash"] = _storage_hash(kind)
    return found


def _storage_hash(kind: ResourceType) -> str:
    text = f"{kind.group}/{kind.version}/{kind.kind}".encode()
    return base64.b64encode(hashlib.sha256(text).digest()[:8]).decode()


def _api_subresources(kind: ResourceType) -> list[Object]:
    found = []
    for sub in kind.subresources:
        entry: Object = {
            "name": f"{kind.resource}/{sub.name}",
            "singularName": "",
            "namespaced": kind.namespaced,
            "kind": sub.kind or kind.kind,
            "verbs": list(sub.verbs),
        }
        if sub.version and (sub.group, sub.version) != (kind.group, kind.version):
            entry["group"], entry["version"] = sub.group, sub.version
        found.append(entry)
    return found


def _resource_discovery(kind: ResourceType) -> Object:
    found: Object = {
        "resource": kind.resource,
        "responseKind": _response_kind(kind, kind.group, kind.version, kind.kind),
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        found["shortNames"] = list(kind.short_names)
    if kind.categories:
        found["categories"] = list(kind.categories)
    if kind.subresources:
        found["subresources"] = [
            {
                "subresource": sub.name,
                "responseKind": _response_kind(
                    kind,
                    sub.group if sub.version else kind.group,
                    sub.version or kind.version,
                    sub.kind or kind.kind,
                ),
                "verbs": list(sub.verbs),
            }
            for sub in kind.subresources
        ]
    return found


def _from_api_resources(resources: Iterable[Mapping[str, Any]], group: str, version: str) -> list[Object]:
    """An aggregated group's resources in the new form; subresources are put below their parents."""
    found: dict[str, Object] = {}
    for entry in resources:
        name, _, below = str(entry["name"]).partition("/")
        kind = {"group": entry.get("group", group), "version": entry.get("version", version), "kind": entry["kind"]}
        verbs = list(entry.get("verbs") or ())
        if not below:
            found[name] = {
                "resource": name,
                "responseKind": kind,
                "scope": "Namespaced" if entry.get("namespaced") else "Cluster",
                "singularResource": entry.get("singularName", ""),
                "verbs": verbs,
            }
            for key in ("shortNames", "categories"):
                if entry.get(key):
                    found[name][key] = list(entry[key])
            continue
        parent = found.setdefault(
            name,
            {
                "resource": name,
                "responseKind": {"group": "", "version": "", "kind": ""},
                "scope": "Namespaced" if entry.get("namespaced") else "Cluster",
                "singularResource": "",
                "verbs": [],
            },
        )
        parent.setdefault("subresources", []).append({"subresource": below, "responseKind": kind, "verbs": verbs})
    return list(found.values())
