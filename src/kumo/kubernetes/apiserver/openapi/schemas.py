"""Schemas of kinds in the two dialects of OpenAPI: where references point, and what may stand beside one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from kumo.api.resources import GVK
from kumo.api.schema.definitions import Definitions
from kumo.api.schema.zeros import zeros_of
from kumo.kubernetes.apiserver.openapi.choices import DEFAULTS, choices
from kumo.kubernetes.apiserver.openapi.custom import published

Dialect = Literal["v2", "v3"]
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_PREFIX = {"v2": "#/definitions/", "v3": "#/components/schemas/"}
_TYPE_META = {
    "apiVersion": "APIVersion defines the versioned schema of this representation of an object.",
    "kind": "Kind is a string value representing the REST resource this object represents.",
}


def reference(name: str, dialect: Dialect) -> str:
    """What a `$ref` to the definition says."""
    return _PREFIX[dialect] + name


class Schemas:
    """The definitions that a document needs: those asked for, and all that they refer to."""

    def __init__(self, definitions: Definitions, dialect: Dialect) -> None:
        self._definitions = definitions
        self._descriptions = definitions.descriptions()
        self._dialect: Dialect = dialect
        self.found: dict[str, dict[str, Any]] = {}

    def add(self, names: Iterable[str]) -> None:
        """Add the definitions, and what they refer to."""
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in self.found:
                self.found[name] = self._definition(name, waiting)

    def add_custom(
        self, name: str, schema: Mapping[str, Any] | None, gvk: GVK, list_kind: str = "", selectable: Iterable[str] = ()
    ) -> None:
        """Add the definition of a custom kind, and the one of its list. `selectable`: the paths of field selectors."""
        body = published(schema, self._dialect, self._head)
        fields = [{"fieldPath": path.lstrip(".")} for path in selectable]
        extra: dict[str, Any] = {"x-kubernetes-selectable-fields": fields} if fields else {}
        self.found[name] = {**body, "x-kubernetes-group-version-kind": [gvk._asdict()], **extra}
        items = {"type": "array", "items": self._to(name), "description": "List of objects."}
        list_kind = list_kind or gvk.kind + "List"
        head = self._head()
        head["metadata"] = self._to(META + "ListMeta", "Standard list metadata.")
        self.found[name + "List"] = {
            "description": f"{list_kind} is a list of {gvk.kind}",
            "type": "object",
            "required": ["items"],
            "properties": {**head, "items": items},
            "x-kubernetes-group-version-kind": [gvk._replace(kind=list_kind)._asdict()],
            **extra,
        }
        self.add([META + "ObjectMeta", META + "ListMeta"])

    def _head(self) -> dict[str, Any]:
        """apiVersion, kind and metadata."""
        found: dict[str, Any] = {key: {"type": "string", "description": text} for key, text in _TYPE_META.items()}
        found["metadata"] = self._to(META + "ObjectMeta", "Standard object's metadata.")
        return found

    def _to(self, name: str, description: str = "") -> dict[str, Any]:
        link = {"$ref": reference(name, self._dialect)}
        if not description:
            return link
        if self._dialect == "v3":
            return {"description": description, "allOf": [link]}
        return {"description": description, **link}

    def _definition(self, name: str, waiting: list[str]) -> dict[str, Any]:
        source = self._definitions[name]
        texts = self._descriptions.get(name) or {}
        if name == QUANTITY:
            body: dict[str, Any] = {"type": "string"}
            if self._dialect == "v3":
                body = {"oneOf": [{"type": "string"}, {"type": "number"}]}
        elif name == INT_OR_STRING:
            body = {"type": "string", "format": "int-or-string"}
            if self._dialect == "v3":
                body = {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}
        else:
            body = self._convert(source, waiting)
            _add_choices(name, body)
            if self._dialect == "v3":
                _add_defaults(name, body)
        if texts.get(""):
            body = {"description": texts[""], **body}
        for key, child in body.get("properties", {}).items():
            if key in texts:
                body["properties"][key] = self._described(child, texts[key])
        return body

    def _described(self, schema: dict[str, Any], text: str) -> dict[str, Any]:
        if "$ref" in schema and self._dialect == "v3":
            rest = {k: v for k, v in schema.items() if k != "$ref"}
            return {"description": text, **rest, "allOf": [{"$ref": schema["$ref"]}]}
        return {"description": text, **schema}

    def _convert(self, schema: Mapping[str, Any], waiting: list[str]) -> dict[str, Any]:
        """A built-in schema with its references in the dialect; their names are added to `waiting`."""
        out: dict[str, Any] = {}
        for key, value in schema.items():
            if key == "$ref":
                waiting.append(value)
                out[key] = reference(value, self._dialect)
            elif key == "properties":
                out[key] = {name: self._convert(child, waiting) for name, child in value.items()}
            elif key in ("items", "additionalProperties") and isinstance(value, dict):
                out[key] = self._convert(value, waiting)
            else:
                out[key] = value
        return out


_ZEROS: dict[str, Any] = {"s": "", "i": 0, "b": False}


def _add_defaults(name: str, body: dict[str, Any]) -> None:
    """What a built-in type's fields are when nothing is said: said by hand, or the zero of what Go always writes."""
    marks, short = zeros_of(name), name.removeprefix("io.k8s.api.")
    for key, child in body.get("properties", {}).items():
        mark = marks.get(key, "-")
        if f"{short}.{key}" in DEFAULTS:
            body["properties"][key] = {**_wrapped(child), "default": DEFAULTS[f"{short}.{key}"]}
        elif "$ref" in child and mark == "o" and not child["$ref"].endswith(".RawExtension"):
            body["properties"][key] = {**_wrapped(child), "default": {}}
        elif mark in _ZEROS and "$ref" not in child and child.get("type") != "array":
            child["default"] = _ZEROS[mark]


def _wrapped(schema: dict[str, Any]) -> dict[str, Any]:
    """A reference so that something may stand beside it."""
    if "$ref" not in schema:
        return schema
    rest = {key: value for key, value in schema.items() if key != "$ref"}
    return {**rest, "allOf": [{"$ref": schema["$ref"]}]}


def _add_choices(name: str, body: dict[str, Any]) -> None:
    """The texts that a built-in type's fields may have."""
    for key, texts in choices(name).items():
        child = body.get("properties", {}).get(key)
        if child is not None:
            (child["items"] if child.get("type") == "array" else child)["enum"] = list(texts)


def custom_name(gvk: GVK) -> str:
    """The definition's name of a custom kind: `io.kubevirt.v1.VirtualMachine`."""
    return ".".join([*reversed(gvk.group.split(".")), gvk.version, gvk.kind])
