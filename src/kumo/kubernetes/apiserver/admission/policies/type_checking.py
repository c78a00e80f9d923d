"""What is wrong with a policy's expressions for the kinds that it is about: warnings for its status.

Expressions see `object` as dynamic when a policy is applied; here they are compiled once more against each kind's
schema, which shows misspelt fields and wrong types. At most ten kinds of a rule are looked at, none where a rule says
`*` (`apiserver/pkg/admission/plugin/policy/validating`, typechecking).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.api.schema.nodes import Node
from kumo.kubernetes.apiserver.admission.composition import Variables
from kumo.kubernetes.apiserver.admission.equivalents import Equivalents
from kumo.kubernetes.apiserver.admission.expressions import Declared
from kumo.machinery.cel import (
    BOOL,
    BYTES,
    DOUBLE,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    CompileError,
    Environment,
    Type,
    list_of,
    map_of,
    struct,
)
from kumo.machinery.cel.escaping import escaped

_MOST_KINDS = 10
_SCALARS = {
    "string": STRING,
    "quantity": STRING,
    "integer": INT,
    "number": DOUBLE,
    "boolean": BOOL,
    "time": TIMESTAMP,
    "micro-time": TIMESTAMP,
    "bytes": BYTES,
}


def warnings_of(policy: Object, equivalents: Equivalents) -> list[Object]:
    """The `expressionWarnings` of a ValidatingAdmissionPolicy."""
    spec = policy.get("spec") or {}
    places = [_Place(spec, kind, equivalents) for kind in kinds_of(spec, equivalents)]
    found: list[Object] = []
    for index, item in enumerate(spec.get("validations") or ()):
        for key in ("expression", "messageExpression"):
            expression = item.get(key) or ""
            issues = [place.issue(expression) for place in places] if expression else []
            said = [text for text in issues if text]
            if said:
                found.append({"fieldRef": f"spec.validations[{index}].{key}", "warning": "\n".join(said)})
    return found


def kinds_of(spec: Mapping[str, Any], equivalents: Equivalents) -> list[GVK]:
    """The kinds that the policy's rules name outright, in order."""
    found: set[GVK] = set()
    for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        found.update(kind for kind, _ in zip(_of_rule(rule, equivalents), range(_MOST_KINDS), strict=False))
    return sorted(found)


def _of_rule(rule: Mapping[str, Any], equivalents: Equivalents) -> Iterator[GVK]:
    groups, versions = rule.get("apiGroups") or (), rule.get("apiVersions") or ()
    if any("*" in text for text in (*groups, *versions)):
        return
    resources = [r for r in rule.get("resources") or () if "*" not in r and "/" not in r]
    for group in sorted(groups):
        for version in sorted(versions):
            for resource in sorted(resources):
                found = equivalents.named(group, version, resource)
                if found is not None:
                    yield found.gvk


class _Place:
    """Where expressions are compiled for one kind."""

    def __init__(self, spec: Mapping[str, Any], kind: GVK, equivalents: Equivalents) -> None:
        self._kind = kind
        param = spec.get("paramKind") or {}
        declared = Declared(params=bool(param))
        variables = Variables()
        objects = _type_of(kind, equivalents)
        extra: dict[str, Type] = {"object": objects, "oldObject": objects}
        if param:
            group, _, version = (param.get("apiVersion") or "").rpartition("/")
            extra["params"] = _type_of(GVK(group, version, param.get("kind") or ""), equivalents)
        for item in spec.get("variables") or ():
            where = variables.environment(declared).extend(extra)
            variables.add(where, item["name"], item["expression"])
        self._where: Environment = variables.environment(declared).extend(extra)

    def issue(self, expression: str) -> str:
        """What is wrong with the expression for this kind, or an empty text."""
        try:
            self._where.compile(expression)
        except CompileError as error:
            kind = self._kind
            return f"{kind.group}/{kind.version}, Kind={kind.kind}: {error.message}\n"
        return ""


def _type_of(kind: GVK, equivalents: Equivalents) -> Type:
    found = equivalents.of_kind(kind)
    return node_type(found.schema.root, kind.kind) if found is not None else DYN


def node_type(node: Node | None, name: str) -> Type:
    """The type of what may stand at a place in a schema; DYN where the schema says little."""
    if node is None or node.preserve:
        return DYN
    if node.type in _SCALARS:
        return _SCALARS[node.type]
    if node.type == "array":
        return list_of(node_type(node.items, f"{name}.@idx"))
    if node.type == "map":
        return map_of(STRING, node_type(node.values, f"{name}.@elem"))
    if node.type != "object" or not node.fields:
        return DYN

    def fields() -> Mapping[str, Type]:
        known = {escaped(key): node_type(child, f"{name}.{key}") for key, child in node.fields.items()}
        known.pop("", None)
        return known

    return struct(name, fields)
