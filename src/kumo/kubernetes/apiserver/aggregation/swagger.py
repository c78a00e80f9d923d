"""OpenAPI documents of several servers made one, and version 2 made version 3. Pure.

As upstream's aggregators (`kube-openapi/pkg/aggregator`, `.../openapiconv`): of each server the paths of its own group
versions and the definitions that these need; definitions that differ are renamed, built-in ones keep their names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

Json = dict[str, Any]
_V2, _V3 = "#/definitions/", "#/components/schemas/"
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch")
_PARAMETER_SCHEMA = (
    *("type", "format", "items", "default", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength"),
    *("minLength", "pattern", "maxItems", "minItems", "uniqueItems", "enum", "multipleOf"),
)
_DEEPEST = 200


class BadDocument(Exception):
    """It is no OpenAPI document; the message says why."""


def read(body: bytes) -> Json:
    """A document of version 2. Raises BadDocument."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadDocument(str(error)) from None
    if not isinstance(found, dict) or not all(isinstance(found.get(k, {}), dict) for k in ("paths", "definitions")):
        raise BadDocument("it is no OpenAPI document of version 2")
    return found


def _walk(value: Any, depth: int = 0) -> Iterator[Json]:
    """Every object in a value that may have a `$ref`. Raises BadDocument for what is nested without end."""
    if depth > _DEEPEST:
        raise BadDocument("it is nested too deeply")
    if isinstance(value, dict):
        yield value
        for one in value.values():
            yield from _walk(one, depth + 1)
    elif isinstance(value, list):
        for one in value:
            yield from _walk(one, depth + 1)


def _references(value: Any) -> Iterator[str]:
    for one in _walk(value):
        target = one.get("$ref")
        if isinstance(target, str) and target.startswith(_V2):
            yield target[len(_V2) :]


def part(document: Json, prefixes: Sequence[str]) -> Json:
    """The paths of the document below one of the prefixes (`/apis/group/version`), and what they refer to."""
    paths = {
        path: item
        for path, item in (document.get("paths") or {}).items()
        if any(path == p or path.startswith(f"{p}/") for p in prefixes)
    }
    definitions = document.get("definitions") or {}
    found: Json = {}
    # What a path refers to, and each kind of these group versions, of which kubectl wants to know.
    waiting = list(_references(paths)) + [n for n, d in definitions.items() if _is_of(d, prefixes)]
    while waiting:
        name = waiting.pop()
        if name in found or name not in definitions:
            continue
        found[name] = definitions[name]
        waiting += _references(definitions[name])
    return {"paths": paths, "definitions": found}


def _is_of(definition: Any, prefixes: Sequence[str]) -> bool:
    kinds = definition.get("x-kubernetes-group-version-kind") if isinstance(definition, dict) else None
    if not isinstance(kinds, list):
        return False
    named = [k for k in kinds if isinstance(k, dict) and k.get("group")]
    return any(f"/apis/{k['group']}/{k.get('version')}" in prefixes for k in named)


def merge(base: Json, parts: Sequence[Json]) -> Json:
    """`base` with the parts of others, each as `part` gives it."""
    paths, definitions = dict(base.get("paths") or {}), dict(base.get("definitions") or {})
    for one in parts:
        renamed: dict[str, str] = {}
        for name, definition in one["definitions"].items():
            new, number = name, 1
            while new in definitions and definitions[new] != definition:
                number += 1
                new = f"{name}_v{number}"
            if new != name:
                renamed[name] = new
        changed = _with_references(one, _V2, renamed) if renamed else one
        for name, definition in changed["definitions"].items():
            definitions.setdefault(renamed.get(name, name), definition)
        for path, item in changed["paths"].items():
            paths.setdefault(path, item)
    return {**base, "paths": dict(sorted(paths.items())), "definitions": dict(sorted(definitions.items()))}


def _with_references(value: Any, root: str, renamed: Mapping[str, str]) -> Any:
    """A copy whose references to definitions lead below `root`, to the new names."""
    copied = msgspec.json.decode(msgspec.json.encode(value))
    for one in _walk(copied):
        found = one.get("$ref")
        if isinstance(found, str) and found.startswith(_V2):
            name = found[len(_V2) :]
            one["$ref"] = root + renamed.get(name, name)
    return copied


def to_v3(document: Json) -> Json:
    """A part of a document of version 2 as one of version 3."""
    found = _with_references(document, _V3, {})
    paths = {path: _item(item) for path, item in found["paths"].items() if isinstance(item, dict)}
    schemas = dict(sorted(found["definitions"].items()))
    info = document.get("info") or {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


def _item(item: Json) -> Json:
    found: Json = {}
    for key, value in item.items():
        if key in _METHODS and isinstance(value, dict):
            found[key] = _operation(value)
        elif key == "parameters":
            found[key] = [_parameter(p) for p in value if isinstance(p, dict) and p.get("in") != "body"]
        else:
            found[key] = value
    return found


def _operation(operation: Json) -> Json:
    consumes, produces = operation.get("consumes") or ["*/*"], operation.get("produces") or ["application/json"]
    found = {k: v for k, v in operation.items() if k not in ("consumes", "produces", "schemes", "parameters")}
    parameters = [p for p in operation.get("parameters") or () if isinstance(p, dict)]
    body = next((p for p in parameters if p.get("in") == "body"), None)
    if body is not None:
        content = {kind: {"schema": body.get("schema") or {}} for kind in consumes}
        found["requestBody"] = {"content": content} | ({"required": True} if body.get("required") else {})
    if rest := [_parameter(p) for p in parameters if p.get("in") != "body"]:
        found["parameters"] = rest
    responses = operation.get("responses")
    if isinstance(responses, dict):
        found["responses"] = {code: _response(r, produces) for code, r in responses.items() if isinstance(r, dict)}
    return found


def _parameter(parameter: Json) -> Json:
    found = {k: v for k, v in parameter.items() if k not in _PARAMETER_SCHEMA and k != "collectionFormat"}
    schema = {k: parameter[k] for k in _PARAMETER_SCHEMA if k in parameter}
    return {**found, "schema": schema} if schema else found


def _response(response: Json, produces: Sequence[str]) -> Json:
    found = {k: v for k, v in response.items() if k in ("description", "$ref")}
    if "schema" in response:
        found["content"] = {kind: {"schema": response["schema"]} for kind in produces}
    return found
