"""From a path to what it asks for, by upstream's rules (`apiserver/pkg/endpoints/request/requestinfo.go`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from kumo.api.selectors import parse_field_selector
from kumo.kubernetes.apiserver.attributes import RequestInfo
from kumo.machinery.http import first_values

_VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_REMEMBERED = 512
"""Longer paths are not remembered: anybody may send them, and there is room for many."""
_NAMESPACE_SUBRESOURCES = ("status", "finalize")


def request_info(method: str, path: str, query_string: str = "") -> RequestInfo:
    """What the request asks for."""
    if not ("fieldSelector" in query_string or (method in ("GET", "HEAD") and "watch" in query_string)):
        query_string = ""
    known = len(path) + len(query_string) <= _REMEMBERED
    return _remembered(method, path, query_string) if known else _parse(method, path, query_string)


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
    fields: tuple[tuple[str, str, str], ...] = ()
    if not name and verb in ("get", "delete"):
        fields = _requirements(query_string)
    if not name and verb == "get":
        verb, name = _collection(query_string, fields)
    elif not name and verb == "delete":
        verb = "deletecollection"
    return RequestInfo(verb, path, group, version, namespace, resource, subresource, name, fields)


_remembered = lru_cache(maxsize=8192)(_parse)


def flag(query: Mapping[str, str], name: str) -> bool:
    """Whether a query sets the flag: anything but `false` and `0` does, also nothing (`?watch`)."""
    return name in query and query[name].lower() not in ("false", "0")


def _requirements(query_string: str) -> tuple[tuple[str, str, str], ...]:
    """What the query's field selector asks for."""
    if "fieldSelector" not in query_string:
        return ()
    try:
        selector = parse_field_selector(first_values(query_string).get("fieldSelector", ""))
    except ValueError:
        return ()  # Whoever serves the request refuses it.
    return tuple((r.key, r.operator, r.values[0]) for r in selector.requirements)


def _collection(query_string: str, fields: tuple[tuple[str, str, str], ...]) -> tuple[str, str]:
    """Whether a collection is listed or watched, and the one name that its field selector asks for, if so."""
    if not query_string:
        return "list", ""
    name = next((value for key, operator, value in fields if key == "metadata.name" and operator == "="), "")
    return ("watch" if flag(first_values(query_string), "watch") else "list"), name
