"""From a path to what it asks for, by upstream's rules (`apiserver/pkg/endpoints/request/requestinfo.go`)."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import parse_qsl

from kumo.kubernetes.apiserver.attributes import RequestInfo

_VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_NAMESPACE_SUBRESOURCES = ("status", "finalize")
_TRUE = ("true", "1")


def request_info(method: str, path: str, query_string: str = "") -> RequestInfo:
    """What the request asks for."""
    if query_string and method in ("GET", "HEAD") and ("watch" in query_string or "fieldSelector" in query_string):
        return _parse(method, path, query_string)
    return _parse(method, path, "")


@lru_cache(maxsize=8192)
def _parse(method: str, path: str, query_string: str) -> RequestInfo:
    parts = path.strip("/").split("/")
    if len(parts) >= 3 and parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return RequestInfo(method.lower(), path)
    verb = _VERBS.get(method, "")
    namespace = ""
    if rest[0] == "watch" and len(rest) > 1 and verb == "get":
        verb, rest = "watch", rest[1:]
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
            rest = rest[2:]
    resource, name, subresource = rest[0], rest[1] if len(rest) > 1 else "", rest[2] if len(rest) > 2 else ""
    if not name and verb == "get":
        verb, name = _collection(query_string)
    elif not name and verb == "delete":
        verb = "deletecollection"
    elif verb == "get" and not subresource and _asks_for_watch(query_string):
        verb = "watch"
    return RequestInfo(verb, path, group, version, namespace, resource, subresource, name)


def _asks_for_watch(query_string: str) -> bool:
    return "watch" in query_string and dict(parse_qsl(query_string)).get("watch", "").lower() in _TRUE


def _collection(query_string: str) -> tuple[str, str]:
    """Whether a collection is listed or watched, and the one name that its field selector asks for, if so."""
    if not query_string:
        return "list", ""
    query = dict(parse_qsl(query_string))
    name = ""
    for term in query.get("fieldSelector", "").split(","):
        key, _, value = term.replace("==", "=").partition("=")
        if key == "metadata.name" and not value.startswith("=") and not key.endswith("!"):
            name = value
    return ("watch" if query.get("watch", "").lower() in _TRUE else "list"), name
