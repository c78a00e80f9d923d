"""Paths and operations of a resource, with the parameters that each takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kumo.api.resources import ResourceType, Subresource
from kumo.kubernetes.apiserver.openapi.schemas import META, Dialect, reference

_METHODS = {"get": "get", "create": "post", "update": "put", "patch": "patch", "delete": "delete"}
_ACTIONS = {"get": "get", "create": "post", "update": "put", "patch": "patch", "delete": "delete"}
_WORDS = {"get": "read", "create": "create", "update": "replace", "patch": "patch", "delete": "delete"}
_JSON = ("application/json", "application/yaml")
_PATCHES = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
_DRY_RUN = (
    "When present, indicates that modifications should not be persisted. Valid values are: - All: all dry run stages "
    "will be processed"
)
_VALIDATION = (
    "Instructs the server on how to handle objects in the request containing unknown or duplicate fields. Valid values "
    "are Ignore, Warn and Strict."
)
_TEXTS = {
    "pretty": "If 'true', then the output is pretty printed.",
    "dryRun": _DRY_RUN,
    "fieldManager": "The name of the actor or entity that is making these changes.",
    "fieldValidation": _VALIDATION,
    "force": "Whether to take over fields that other managers own (apply requests only).",
    "labelSelector": "A selector to restrict the list of returned objects by their labels. Defaults to everything.",
    "fieldSelector": "A selector to restrict the list of returned objects by their fields. Defaults to everything.",
    "limit": "The maximum number of responses to return for a list call.",
    "continue": "The token of the previous answer, to go on from where it ended.",
    "resourceVersion": "A constraint on what resource versions a request may be served from.",
    "resourceVersionMatch": "How resourceVersion is applied to list calls.",
    "timeoutSeconds": "Timeout for the list/watch call.",
    "watch": "Watch for changes, and return them as a stream of add, update, and remove notifications.",
    "allowWatchBookmarks": "Ask for watch events with type BOOKMARK.",
    "sendInitialEvents": "Start the watch with synthetic events for all objects that there are.",
    "gracePeriodSeconds": "The duration in seconds before the object should be deleted.",
    "orphanDependents": "Deprecated: use propagationPolicy. Should the dependent objects be orphaned.",
    "propagationPolicy": "Whether and how garbage collection will be performed.",
    "name": "name of the object",
    "namespace": "object name and auth scope, such as for teams and projects",
}
_TYPES = {
    "force": "boolean",
    "watch": "boolean",
    "allowWatchBookmarks": "boolean",
    "sendInitialEvents": "boolean",
    "orphanDependents": "boolean",
    "limit": "integer",
    "timeoutSeconds": "integer",
    "gracePeriodSeconds": "integer",
}
_LIST = (
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
)
_WRITE = ("dryRun", "fieldManager", "fieldValidation")
_QUERY = {
    "list": _LIST,
    "create": _WRITE,
    "update": _WRITE,
    "patch": (*_WRITE, "force"),
    "delete": ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"),
    "deletecollection": ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy", *_LIST[1:-1]),
}


class Operations:
    """Makes the path items of a resource. `names` gives the definition's name of (group, version, kind)."""

    def __init__(self, dialect: Dialect, names: Mapping[tuple[str, str, str], str]) -> None:
        self._dialect = dialect
        self._names = names
        self._patches: tuple[str, ...] = _PATCHES

    def paths(self, kind: ResourceType, *, custom: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each path with its item. Custom kinds take no strategic merge patches; kubectl goes by what is said here."""
        self._patches = tuple(p for p in _PATCHES if not (custom and "strategic" in p))
        gvr = kind.gvr
        if kind.namespaced and "list" in kind.verbs:
            item = self._item((), {"get": self._operation(kind, "list", all_namespaces=True)})
            yield gvr.path(), item
        collection = gvr.path("{namespace}")
        scope = ("namespace",) if kind.namespaced else ()
        verbs = {"list": "get", "create": "post", "deletecollection": "delete"}
        found = {verbs[v]: self._operation(kind, v) for v in ("list", "create", "deletecollection") if v in kind.verbs}
        yield collection, self._item(scope, found)
        found = {_METHODS[v]: self._operation(kind, v) for v in _METHODS if v in kind.verbs and v != "create"}
        if found:
            yield gvr.path("{namespace}", "{name}"), self._item(("name", *scope), found)
        for below in kind.subresources:
            found = {_METHODS[v]: self._operation(kind, v, below) for v in below.verbs if v in _METHODS}
            yield gvr.path("{namespace}", "{name}", below.name), self._item(("name", *scope), found)

    def _item(self, path_parameters: tuple[str, ...], operations: dict[str, Any]) -> dict[str, Any]:
        parameters = [self._parameter(name, "path") for name in path_parameters] + [self._parameter("pretty", "query")]
        return {**operations, "parameters": parameters}

    def _parameter(self, name: str, place: str) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": _TYPES.get(name, "string"), "uniqueItems": True}
        found: dict[str, Any] = {"name": name, "in": place, "description": _TEXTS[name]}
        if place == "path":
            found["required"] = True
        return {**found, "schema": schema} if self._dialect == "v3" else {**found, **schema}

    def _operation(
        self, kind: ResourceType, verb: str, below: Subresource | None = None, *, all_namespaces: bool = False
    ) -> dict[str, Any]:
        group, version, name = kind.group, kind.version, kind.kind
        if below is not None and below.kind:
            group, version, name = below.group or group, below.version or version, below.kind
        action = {"list": "list", "deletecollection": "deletecollection"}.get(verb) or _ACTIONS[verb]
        if below is not None and below.verbs and below.name in ("exec", "attach", "portforward", "proxy"):
            action = "connect"
        shown = "List" if verb == "list" else ""
        target = self._names.get((group, version, name + shown))
        answer = META + "Status" if verb in ("delete", "deletecollection") else target
        operation: dict[str, Any] = {
            "description": _describe(kind, verb, below),
            "operationId": _identity(kind, verb, below, all_namespaces),
            "tags": [_tag(kind)],
            "parameters": [self._parameter(p, "query") for p in _QUERY.get(verb, ())],
            "responses": self._responses(verb, answer),
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": group, "kind": name, "version": version},
        }
        body = {"create": target, "update": target, "patch": META + "Patch"}.get(verb)
        if verb in ("delete", "deletecollection"):
            body = META + "DeleteOptions"
        self._body(operation, verb, body)
        return operation

    def _body(self, operation: dict[str, Any], verb: str, name: str | None) -> None:
        if name is None:
            if self._dialect == "v2":
                operation |= {"consumes": ["*/*"], "produces": list(_JSON)}
            return
        link = {"$ref": reference(name, self._dialect)}
        types = self._patches if verb == "patch" else ("*/*",)
        needed = verb not in ("delete", "deletecollection")
        if self._dialect == "v3":
            operation["requestBody"] = {"content": {t: {"schema": link} for t in types}}
            if needed:
                operation["requestBody"]["required"] = True
        else:
            body: dict[str, Any] = {"in": "body", "name": "body", "schema": link}
            if needed:
                body["required"] = True
            operation["parameters"].insert(0, body)
            operation |= {"consumes": list(types), "produces": list(_JSON)}

    def _responses(self, verb: str, name: str | None) -> dict[str, Any]:
        codes = {"create": ("200", "201", "202"), "update": ("200", "201"), "patch": ("200", "201")}.get(verb, ("200",))
        texts = {"200": "OK", "201": "Created", "202": "Accepted", "401": "Unauthorized"}
        found: dict[str, Any] = {}
        for code in codes:
            found[code] = {"description": texts[code]}
            if name is None:
                continue
            schema = {"schema": {"$ref": reference(name, self._dialect)}}
            found[code] |= {"content": dict.fromkeys(_JSON, schema)} if self._dialect == "v3" else schema
        found["401"] = {"description": texts["401"]}
        return found


def _tag(kind: ResourceType) -> str:
    return f"{kind.group.split('.')[0] or 'core'}_{kind.version}"


def _identity(kind: ResourceType, verb: str, below: Subresource | None, all_namespaces: bool) -> str:
    words = {"list": "list", "deletecollection": "deleteCollection"}
    tag = "".join(part.capitalize() for part in (kind.group.split(".")[0] or "core", kind.version))
    scope = "Namespaced" if kind.namespaced and not all_namespaces else ""
    tail = "ForAllNamespaces" if all_namespaces else below.name.capitalize() if below else ""
    return f"{words.get(verb) or _WORDS[verb]}{tag}{scope}{kind.kind}{tail}"


def _describe(kind: ResourceType, verb: str, below: Subresource | None) -> str:
    if verb == "list":
        return f"list or watch objects of kind {kind.kind}"
    if verb == "deletecollection":
        return f"delete collection of {kind.kind}"
    word = {"get": "read", "update": "replace", "patch": "partially update"}.get(verb, verb)
    if below is not None:
        return f"{word} {below.name} of the specified {kind.kind}"
    return f"{word} {'a' if verb in ('create', 'delete') else 'the specified'} {kind.kind}"
