"""Paths and operations of a resource, with the parameters that each takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kumo.api.resources import ResourceType, Subresource
from kumo.kubernetes.apiserver.openapi.schemas import META, Dialect, reference

VERSION = "io.k8s.apimachinery.pkg.version.Info"
"""The definition of what `/version` answers."""
_METHODS = {"get": "get", "create": "post", "update": "put", "patch": "patch", "delete": "delete"}
_ACTIONS = {"get": "get", "create": "post", "update": "put", "patch": "patch", "delete": "delete"}
_WORDS = {"get": "read", "create": "create", "update": "replace", "patch": "patch", "delete": "delete"}
_JSON = ("application/json", "application/yaml")
_STREAM = "application/json;stream=watch"
_PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
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
    "shardSelector": "A selector of a part of the objects by a hash of their names; a feature that is off.",
    "ignoreStoreReadErrorWithClusterBreakingPotential": "Delete objects that can't be read; a feature that is off.",
    "follow": "Go on with what the container writes from now on.",
    "insecureSkipTLSVerifyBackend": "Whether not to verify the certificate of the node that is asked.",
    "limitBytes": "The most bytes to send.",
    "previous": "Send what the container wrote that ran before this one.",
    "sinceSeconds": "Only what was written in so many seconds before now.",
    "stream": "Which of the container's streams to send: All, Stdout or Stderr.",
    "tailLines": "Only so many of the last lines.",
    "timestamps": "Whether each line begins with the time at which it was written.",
    "watch": "Watch for changes, and return them as a stream of add, update, and remove notifications.",
    "allowWatchBookmarks": "Ask for watch events with type BOOKMARK.",
    "sendInitialEvents": "Start the watch with synthetic events for all objects that there are.",
    "gracePeriodSeconds": "The duration in seconds before the object should be deleted.",
    "orphanDependents": "Deprecated: use propagationPolicy. Should the dependent objects be orphaned.",
    "propagationPolicy": "Whether and how garbage collection will be performed.",
    "name": "name of the object",
    "namespace": "object name and auth scope, such as for teams and projects",
    "command": "The program to run and its arguments, one a value.",
    "container": "The container; by default the pod's only one.",
    "path": "Where in the target the request goes.",
    "ports": "The ports to forward, with WebSockets.",
    "stderr": "Whether to send what the program writes to its standard error.",
    "stdin": "Whether to pass on a standard input.",
    "stdout": "Whether to send what the program writes to its standard output.",
    "tty": "Whether the program gets a terminal.",
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
    "ports": "integer",
    **dict.fromkeys(("stderr", "stdin", "stdout", "tty"), "boolean"),
    **dict.fromkeys(("follow", "insecureSkipTLSVerifyBackend", "previous", "timestamps"), "boolean"),
    **dict.fromkeys(("limitBytes", "sinceSeconds", "tailLines"), "integer"),
    "ignoreStoreReadErrorWithClusterBreakingPotential": "boolean",
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
    "shardSelector",
    "timeoutSeconds",
    "watch",
)
_DELETE = (
    "dryRun",
    "gracePeriodSeconds",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "orphanDependents",
    "propagationPolicy",
)
_WRITE = ("dryRun", "fieldManager", "fieldValidation")
_CONNECTIONS: dict[str, tuple[str, ...]] = {
    "attach": ("container", "stderr", "stdin", "stdout", "tty"),
    "exec": ("command", "container", "stderr", "stdin", "stdout", "tty"),
    "portforward": ("ports",),
    "proxy": ("path",),
}
"""Subresources that lead elsewhere, and what their queries say."""
_CODES = {
    "create": ("200", "201", "202"),
    "update": ("200", "201"),
    "patch": ("200", "201"),
    "delete": ("200", "202"),
}
_QUERY = {
    "list": _LIST,
    "create": _WRITE,
    "update": _WRITE,
    "patch": (*_WRITE, "force"),
    "delete": _DELETE,
    "deletecollection": (*_DELETE, *_LIST[1:-1]),
}
_CUSTOM_QUERY = {**_QUERY, "get": ("resourceVersion",), "deletecollection": _LIST}
_LOG = (
    "container",
    "follow",
    "insecureSkipTLSVerifyBackend",
    "limitBytes",
    "previous",
    "sinceSeconds",
    "stream",
    "tailLines",
    "timestamps",
)
_SHOWN_WHEN_DELETED = {
    "": {
        "persistentvolumeclaims",
        "persistentvolumes",
        "pods",
        "podtemplates",
        "resourcequotas",
        "serviceaccounts",
        "services",
    },
    "resource.k8s.io": {"deviceclasses", "resourceclaims", "resourceclaimtemplates", "resourceslices"},
    "storage.k8s.io": {
        "csidrivers",
        "csinodes",
        "storageclasses",
        "volumeattachments",
        "volumeattributesclasses",
    },
}
"""Resources whose deletion is answered with the object, not with a Status."""


class Operations:
    """Makes the path items of a resource. `names` gives the definition's name of (group, version, kind)."""

    def __init__(self, dialect: Dialect, names: Mapping[tuple[str, str, str], str]) -> None:
        self._dialect = dialect
        self._names = names
        self._patches: tuple[str, ...] = _PATCHES
        self._custom = False

    def paths(self, kind: ResourceType, *, custom: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each path with its item. Custom kinds take no strategic merge patches; kubectl goes by what is said here."""
        self._patches = tuple(p for p in _PATCHES if not (custom and "strategic" in p))
        self._custom = custom
        gvr = kind.gvr
        if kind.namespaced and "list" in kind.verbs:
            yield gvr.path(), self._shared({"get": self._operation(kind, "list", all_namespaces=True)}, ())
        if "watch" in kind.verbs and not custom:
            yield from self._watches(kind)
        collection = gvr.path("{namespace}")
        scope = ("namespace",) if kind.namespaced else ()
        verbs = {"list": "get", "create": "post", "deletecollection": "delete"}
        found = {verbs[v]: self._operation(kind, v) for v in ("list", "create", "deletecollection") if v in kind.verbs}
        yield collection, self._shared(found, scope)
        found = {_METHODS[v]: self._operation(kind, v) for v in _METHODS if v in kind.verbs and v != "create"}
        if found:
            yield gvr.path("{namespace}", "{name}"), self._shared(found, ("name", *scope))
        for below in kind.subresources:
            if below.name in _CONNECTIONS:
                yield from self._connections(kind, below, gvr.path("{namespace}", "{name}", below.name))
                continue
            found = {_METHODS[v]: self._operation(kind, v, below) for v in below.verbs if v in _METHODS}
            yield gvr.path("{namespace}", "{name}", below.name), self._shared(found, ("name", *scope))

    def _connections(self, kind: ResourceType, below: Subresource, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The paths of a subresource that leads elsewhere: into a pod, or through it."""
        methods = (
            ("get", "post") if below.name != "proxy" else ("get", "put", "post", "delete", "options", "head", "patch")
        )
        scope = ("name", "namespace") if kind.namespaced else ("name",)
        for tail in ("", "/{path}") if below.name == "proxy" else ("",):
            found: dict[str, Any] = {}
            for method in methods:
                suffix = "WithPath" if tail else ""
                word = f"{method.capitalize()}{'Namespaced' if kind.namespaced else ''}{kind.kind}"
                found[method] = {
                    "description": f"connect {method.upper()} requests to {below.name} of {kind.kind}",
                    "operationId": f"connect{_words(kind)}{word}{below.name.capitalize()}{suffix}",
                    "tags": [_tag(kind)],
                    "responses": self._plain_responses(),
                    "x-kubernetes-action": "connect",
                    "x-kubernetes-group-version-kind": {
                        "group": below.group if below.version else kind.group,
                        "kind": below.kind or kind.kind,
                        "version": below.version or kind.version,
                    },
                }
                self._body(found[method], "get", None)
            names = [(name, "query") for name in _CONNECTIONS[below.name]]
            names += [(name, "path") for name in (*scope, *(("path",) if tail else ()))]
            found["parameters"] = [self._parameter(name, place) for name, place in sorted(names)]
            yield path + tail, found

    def _log_responses(self) -> dict[str, Any]:
        text: dict[str, Any] = {"schema": {"type": "string"}}
        good = {"content": dict.fromkeys(("text/plain", *_JSON), text)} if self._dialect == "v3" else text
        return {"200": {"description": "OK", **good}, "401": {"description": "Unauthorized"}}

    def _plain_responses(self) -> dict[str, Any]:
        text: dict[str, Any] = {"type": "string"}
        good: dict[str, Any] = {"description": "OK"}
        good |= {"content": {"*/*": {"schema": text}}} if self._dialect == "v3" else {"schema": text}
        return {"200": good, "401": {"description": "Unauthorized"}}

    def discovery(self, group: str, version: str) -> tuple[str, dict[str, Any]]:
        """The path of a group version's discovery document."""
        name = _name(group)
        path = f"/apis/{group}/{version}/" if group else f"/api/{version}/"
        return path, self._discovered(
            "get available resources",
            f"get{_first(name)}{_first(version)}APIResources",
            f"{name}_{version}",
            "APIResourceList",
        )

    def others(self, groups: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The paths that are no resources': discovery of groups, the version, what verifies accounts' tokens."""
        yield from self._groups(groups)
        text = "get the version information for this server"
        yield "/version/", self._plain(text, "getCodeVersion", "version", {"$ref": reference(VERSION, self._dialect)})
        text = "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'"
        identity = "getServiceAccountIssuerOpenIDConfiguration"
        yield "/.well-known/openid-configuration/", self._plain(text, identity, "WellKnown", {"type": "string"})
        text = "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)"
        identity = "getServiceAccountIssuerOpenIDKeyset"
        yield "/openid/v1/jwks/", self._plain(text, identity, "openid", {"type": "string"}, "application/jwk-set+json")

    def _plain(
        self, text: str, identity: str, tag: str, schema: dict[str, Any], kind: str = "application/json"
    ) -> dict[str, Any]:
        good: dict[str, Any] = {"content": {kind: {"schema": schema}}} if self._dialect == "v3" else {"schema": schema}
        operation: dict[str, Any] = {
            "description": text,
            "operationId": identity,
            "tags": [tag],
            "responses": {"200": {"description": "OK", **good}, "401": {"description": "Unauthorized"}},
        }
        if self._dialect == "v2":
            consumed = ["application/json"] if tag == "version" else None
            operation |= {"produces": [kind], "schemes": ["https"]} | ({"consumes": consumed} if consumed else {})
        return {"get": operation}

    def _groups(self, names: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The paths of the other discovery documents."""
        for group in names:
            if group:
                name = _name(group)
                yield (
                    f"/apis/{group}/",
                    self._discovered("get information of a group", f"get{_first(name)}APIGroup", name, "APIGroup"),
                )
        yield "/api/", self._discovered("get available API versions", "getCoreAPIVersions", "core", "APIVersions")
        yield "/apis/", self._discovered("get available API versions", "getAPIVersions", "apis", "APIGroupList")

    def _discovered(self, text: str, identity: str, tag: str, answer: str) -> dict[str, Any]:
        operation: dict[str, Any] = {
            "description": text,
            "operationId": identity,
            "tags": [tag],
            "responses": self._responses("get", META + answer),
        }
        if self._dialect == "v2":
            operation |= {"consumes": list(_JSON), "produces": list(_JSON), "schemes": ["https"]}
        return {"get": operation}

    def _watches(self, kind: ResourceType) -> Iterator[tuple[str, dict[str, Any]]]:
        """The deprecated paths for watches; there are none for custom kinds."""
        root = f"/apis/{kind.group}/{kind.version}/watch" if kind.group else f"/api/{kind.version}/watch"
        scope = ("namespace",) if kind.namespaced else ()
        if kind.namespaced:
            yield f"{root}/{kind.resource}", self._shared({"get": self._watch(kind, "ListForAllNamespaces")}, ())
        collection = f"{root}/namespaces/{{namespace}}/{kind.resource}" if scope else f"{root}/{kind.resource}"
        yield collection, self._shared({"get": self._watch(kind, "List")}, scope)
        yield f"{collection}/{{name}}", self._shared({"get": self._watch(kind, "")}, ("name", *scope))

    def _watch(self, kind: ResourceType, tail: str) -> dict[str, Any]:
        scope = "Namespaced" if kind.namespaced and tail != "ListForAllNamespaces" else ""
        instead = "deprecated: use the 'watch' parameter with a list operation instead"
        if tail:
            text = f"watch individual changes to a list of {kind.kind}. {instead}."
        else:
            only = "filtered to a single item with the 'fieldSelector' parameter"
            text = f"watch changes to an object of kind {kind.kind}. {instead}, {only}."
        operation: dict[str, Any] = {
            "description": text,
            "operationId": f"watch{_words(kind)}{scope}{kind.kind}{tail}",
            "tags": [_tag(kind)],
            "parameters": [self._parameter(p, "query") for p in _LIST],
            "responses": self._responses("list", META + "WatchEvent"),
            "x-kubernetes-action": "watchlist" if tail else "watch",
            "x-kubernetes-group-version-kind": {"group": kind.group, "kind": kind.kind, "version": kind.version},
        }
        self._body(operation, "list", None)
        return operation

    def _shared(self, operations: dict[str, Any], path_parameters: tuple[str, ...]) -> dict[str, Any]:
        """The item of a path; what all operations take stands at the path, so all that a single one takes."""
        parameters = [self._parameter(name, "path") for name in path_parameters] + [self._parameter("pretty", "query")]
        if len(operations) == 1:
            only = next(iter(operations.values()))
            own = only.pop("parameters", [])
            only |= {"parameters": [p for p in own if p["in"] == "body"]}
            parameters = sorted(
                [*(p for p in own if p["in"] != "body"), *parameters], key=lambda p: (str(p["name"]), str(p["in"]))
            )
        for operation in operations.values():
            if not operation.get("parameters"):
                operation.pop("parameters", None)
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
        shown = "List" if verb == "list" else ""
        target = self._names.get((group, version, name + shown))
        if self._custom and below is not None:
            group, version, name = kind.group, kind.version, kind.kind
        shows = verb == "delete" and kind.resource in _SHOWN_WHEN_DELETED.get(kind.group, ())
        answer = META + "Status" if verb in ("delete", "deletecollection") and not shows else target
        queries = _CUSTOM_QUERY if self._custom else _QUERY
        log = below is not None and below.name == "log"
        operation: dict[str, Any] = {
            "description": _describe(kind, verb, below),
            "operationId": _identity(kind, verb, below, all_namespaces),
            "tags": [_tag(kind)],
            "parameters": [self._parameter(p, "query") for p in (_LOG if log else sorted(queries.get(verb, ())))],
            "responses": self._log_responses() if log else self._responses(verb, answer),
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": group, "kind": name, "version": version},
        }
        body = {"create": target, "update": target, "patch": META + "Patch"}.get(verb)
        if verb in ("delete", "deletecollection"):
            body = None if self._custom and verb == "deletecollection" else META + "DeleteOptions"
        self._body(operation, verb, body)
        return operation

    def _body(self, operation: dict[str, Any], verb: str, name: str | None) -> None:
        if self._dialect == "v2":
            operation["schemes"] = ["https"]
        bodies = _JSON if self._custom else ("*/*",)
        produced = [*_JSON, _STREAM] if verb == "list" and not self._custom else list(_JSON)
        if name is None:
            if self._dialect == "v2":
                operation |= {"consumes": list(bodies), "produces": produced}
            return
        link = {"$ref": reference(name, self._dialect)}
        types = self._patches if verb == "patch" else bodies
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
            operation |= {"consumes": list(types), "produces": produced}

    def _responses(self, verb: str, name: str | None) -> dict[str, Any]:
        codes = ("200",) if verb == "patch" and self._custom else _CODES.get(verb, ("200",))
        texts = {"200": "OK", "201": "Created", "202": "Accepted", "401": "Unauthorized"}
        found: dict[str, Any] = {}
        for code in codes:
            found[code] = {"description": texts[code]}
            if name is None:
                continue
            schema = {"schema": {"$ref": reference(name, self._dialect)}}
            types = (*_JSON, _STREAM) if verb == "list" and not self._custom else _JSON
            found[code] |= {"content": dict.fromkeys(types, schema)} if self._dialect == "v3" else schema
        found["401"] = {"description": texts["401"]}
        return found


def _first(word: str) -> str:
    return word[:1].upper() + word[1:]


def _name(group: str) -> str:
    """The group in names of tags: `core`, `apps`, `rbacAuthorization`."""
    first, *rest = (group.removesuffix(".k8s.io") or "core").replace("-", ".").split(".")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def _tag(kind: ResourceType) -> str:
    return f"{_name(kind.group)}_{kind.version}"


def _words(kind: ResourceType) -> str:
    """Group and version in names of operations: `CoreV1`."""
    return "".join(part[:1].upper() + part[1:] for part in (_name(kind.group), kind.version))


def _identity(kind: ResourceType, verb: str, below: Subresource | None, all_namespaces: bool) -> str:
    scope = "Namespaced" if kind.namespaced and not all_namespaces else ""
    if verb == "deletecollection":
        return f"delete{_words(kind)}Collection{scope}{kind.kind}"
    tail = "ForAllNamespaces" if all_namespaces else below.name.capitalize() if below else ""
    return f"{'list' if verb == 'list' else _WORDS[verb]}{_words(kind)}{scope}{kind.kind}{tail}"


def _article(noun: str) -> str:
    """What stands before a kind; nothing before a plural."""
    if noun.endswith("s") and not noun.endswith("ss"):
        return ""
    return "an " if noun[0].lower() in "aeiou" else "a "


def _describe(kind: ResourceType, verb: str, below: Subresource | None) -> str:
    if verb == "list":
        return f"list {'or watch ' if 'watch' in kind.verbs else ''}objects of kind {kind.kind}"
    if verb == "deletecollection":
        return f"delete collection of {kind.kind}"
    word = {"get": "read", "update": "replace", "patch": "partially update"}.get(verb, verb)
    if below is not None:
        return f"{word} {below.name} of {'a' if verb == 'create' else 'the specified'} {kind.kind}"
    return f"{word} {_article(kind.kind) if verb in ('create', 'delete') else 'the specified '}{kind.kind}"
