"""Nodes of the built-in kinds, made from the definitions as they are needed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from kumo.api.schema.definitions import Definitions, load
from kumo.api.schema.nodes import Fields, Node, NodeType

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_APIEXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."
_SPECIAL: dict[str, NodeType] = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "int-or-string",
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    _META + "Time": "time",
    _META + "MicroTime": "micro-time",
    _META + "FieldsV1": "any",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "any",
    _APIEXTENSIONS + "JSON": "any",
    _APIEXTENSIONS + "JSONSchemaPropsOrArray": "any",
    _APIEXTENSIONS + "JSONSchemaPropsOrBool": "any",
    _APIEXTENSIONS + "JSONSchemaPropsOrStringArray": "any",
}
_FIRST = {"apiVersion": 0, "kind": 1, "metadata": 2}


class BuiltinNodes:
    """One node for each definition, shared by all kinds that refer to it."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._made: dict[str, Node] = {}

    def definition(self, name: str) -> Node:
        """The node of the named definition. Raises KeyError."""
        found = self._made.get(name)
        if found is None:
            schema = self._definitions[name]
            short = name.rsplit(".", 1)[-1]
            package = name.split(".")[-2] if "." in name else ""
            if name in _SPECIAL:
                found = Node(_SPECIAL[name], schema, name=short, package=package)
            elif "$ref" in schema:
                found = self.definition(schema["$ref"]).at(schema)
            else:
                found = self._node(schema, short, package, name)
            self._made[name] = found
        return found

    def _node(self, schema: Mapping[str, Any], name: str = "", package: str = "", definition: str = "") -> Node:
        if "$ref" in schema:
            target = self.definition(schema["$ref"])
            return target.at(schema) if len(schema) > 1 else target
        kind = schema.get("type")
        if kind == "array":
            return Node("array", schema, items=self._node(schema["items"]))
        if kind == "string":
            form = schema.get("format")
            return Node("bytes" if form == "byte" else "time" if form == "date-time" else "string", schema)
        if kind in ("integer", "number", "boolean"):
            return Node(kind, schema)
        if "properties" in schema:
            return Node(
                "object", schema, fields=lambda: self._fields(schema), name=name, package=package, definition=definition
            )
        if isinstance(schema.get("additionalProperties"), dict):
            return Node("map", schema, values=self._node(schema["additionalProperties"]))
        if name and kind == "object" and not schema.get("x-kubernetes-preserve-unknown-fields"):
            return Node("object", schema, name=name, package=package)
        return Node("any", schema)

    def _fields(self, schema: Mapping[str, Any]) -> Fields:
        properties: dict[str, Any] = schema["properties"]
        return {key: self._node(properties[key]) for key in sorted(properties, key=lambda k: (_FIRST.get(k, 3), k))}


@cache
def builtin_nodes() -> BuiltinNodes:
    """The nodes of the package's own definitions."""
    return BuiltinNodes(load())


def object_meta() -> Node:
    """The node of `ObjectMeta`, which custom kinds have too."""
    return builtin_nodes().definition(_META + "ObjectMeta")
