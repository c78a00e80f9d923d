"""CEL expressions of webhooks and admission policies: the variables they see, compiling them, and their errors.

Variables: `object`, `oldObject`, `request`, `namespaceObject`, and where they apply `params`, `authorizer`,
`authorizer.requestResource` and `variables`. `object`, `oldObject` and `params` are dynamic, the others typed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

from kumo.api.objects import Object
from kumo.kubernetes.apiserver.admission.matching import Target, namespace_of
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes
from kumo.kubernetes.apiserver.tokens import user_object
from kumo.machinery.cel import (
    AUTHORIZER,
    BOOL,
    DYN,
    INT,
    NULL,
    RESOURCE_CHECK,
    STRING,
    TIMESTAMP,
    Budget,
    CelError,
    CompileError,
    CostExceeded,
    Environment,
    Program,
    Type,
    list_of,
    map_of,
    struct,
)

OBJECT = struct("Object", {})
"""What an applyConfiguration expression gives."""
JSON_PATCHES = list_of(struct("JSONPatch", {}))
"""What a jsonPatch expression gives."""
_OBJECT_NAME = re.compile(r"\bObject(?:\.\w+)*(?=\s*\{)")
OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"


class Declared(NamedTuple):
    """Which optional variables an expression may use."""

    params: bool = False
    authorizer: bool = True
    patches: bool = False
    """Whether `Object{...}` and `JSONPatch{...}` may be made."""


@cache
def _request_type() -> Type:
    kind = struct("kubernetes.GroupVersionKind", {"group": STRING, "version": STRING, "kind": STRING})
    resource = struct("kubernetes.GroupVersionResource", {"group": STRING, "version": STRING, "resource": STRING})
    user = struct(
        "kubernetes.UserInfo",
        {
            "username": STRING,
            "uid": STRING,
            "groups": list_of(STRING),
            "extra": map_of(STRING, list_of(STRING)),
        },
    )
    texts = ("subResource", "requestSubResource", "name", "namespace", "operation")
    fields: dict[str, Type] = {
        "kind": kind,
        "resource": resource,
        "requestKind": kind,
        "requestResource": resource,
        "userInfo": user,
        "dryRun": BOOL,
        "options": DYN,
        **dict.fromkeys(texts, STRING),
    }
    return struct("kubernetes.AdmissionRequest", fields)


@cache
def _namespace_type() -> Type:
    condition = struct(
        "kubernetes.NamespaceCondition",
        {
            "status": STRING,
            "type": STRING,
            "lastTransitionTime": TIMESTAMP,
            "message": STRING,
            "reason": STRING,
        },
    )
    meta: dict[str, Type] = {
        **dict.fromkeys(("name", "generateName", "namespace", "UID", "resourceVersion"), STRING),
        "labels": map_of(STRING, STRING),
        "annotations": map_of(STRING, STRING),
        "creationTimestamp": TIMESTAMP,
        "deletionTimestamp": TIMESTAMP,
        "deletionGracePeriodSeconds": INT,
        "generation": INT,
        "finalizers": list_of(STRING),
    }
    return struct(
        "kubernetes.Namespace",
        {
            "metadata": struct("kubernetes.NamespaceMetadata", meta),
            "spec": struct("kubernetes.NamespaceSpec", {"finalizers": list_of(STRING)}),
            "status": struct("kubernetes.NamespaceStatus", {"conditions": list_of(condition), "phase": STRING}),
        },
    )


@cache
def environment(declared: Declared, objects: Type = DYN) -> Environment:
    """The environment with these variables; `objects` is the type of `object` and `oldObject`."""
    variables: dict[str, Type] = {
        "object": objects,
        "oldObject": objects,
        "namespaceObject": _namespace_type(),
        "request": _request_type(),
    }
    if declared.params:
        variables["params"] = DYN
    if declared.authorizer:
        variables["authorizer"] = AUTHORIZER
        variables["authorizer.requestResource"] = RESOURCE_CHECK
    return Environment(variables, json_patch=declared.patches)


class _AnyField(dict[str, Type]):
    """The fields of `Object`s, which no schema restricts: every name is one."""

    def __bool__(self) -> bool:
        return True

    def get(self, name: str, default: object = None) -> Any:
        """Every field is dynamic."""
        return DYN


def _constructible(where: Environment, expression: str) -> Environment:
    """The environment with the `Object...` types that the expression makes."""
    names = {"Object", *_OBJECT_NAME.findall(expression)}
    return where.extend({}, [struct(name, _AnyField()) for name in sorted(names)])


_AUTHORIZER = frozenset(("authorizer", "authorizer.requestResource"))


class Compiled(NamedTuple):
    """An expression: its program, or why there is none (as upstream says it)."""

    expression: str
    program: Program | None
    error: str = ""

    @property
    def asks_authorizer(self) -> bool:
        """Whether it asks who may do what."""
        return self.program is not None and not _AUTHORIZER.isdisjoint(self.program.names())


def compiled(where: Environment, expression: str, results: Iterable[Type] = ()) -> Compiled:
    """Compile an expression whose result must be exactly of one of these types (any, if none is given)."""
    if where.json_patch:
        where = _constructible(where, expression)
    try:
        program = where.compile(expression)
    except CompileError as error:
        text = error.message
        return Compiled(
            expression, None, text if text.startswith("compilation failed") else f"compilation failed: {text}"
        )
    wanted = tuple(results)
    if wanted and program.type not in wanted and program.type.kind != "error":
        listed = str(wanted[0]) if len(wanted) == 1 else "one of [" + " ".join(_shown(w) for w in wanted) + "]"
        return Compiled(expression, None, f"must evaluate to {listed} but got {program.type}")
    return Compiled(expression, program)


def _shown(kind: Type) -> str:
    return "null_type" if kind == NULL else str(kind)


class OutOfBudget(Exception):
    """The expressions of one evaluation have used up what they may cost together."""


class EvaluationError(Exception):
    """An expression gave no value; the message is upstream's."""


def evaluated(expression: Compiled, bindings: Mapping[str, object], budget: Budget) -> Any:
    """The expression's value. Raises EvaluationError, and OutOfBudget when the budget is used up."""
    if expression.program is None:
        raise EvaluationError(f"compilation error: {expression.error}")
    try:
        return expression.program.evaluate(bindings, budget)
    except CostExceeded as error:
        if budget.overdrawn:
            raise OutOfBudget(OUT_OF_BUDGET) from None
        raise EvaluationError(f"expression '{expression.expression}' resulted in error: {error.message}") from None
    except CelError as error:
        raise EvaluationError(f"expression '{expression.expression}' resulted in error: {error.message}") from None


def request_value(attrs: AdmissionAttributes, target: Target) -> Object:
    """The variable `request`."""
    gvk, gvr = attrs.gvk, attrs.gvr
    found: Object = {
        "kind": {"group": target.gvk.group, "version": target.gvk.version, "kind": target.gvk.kind},
        "resource": {"group": target.gvr.group, "version": target.gvr.version, "resource": target.gvr.resource},
        "requestKind": {"group": gvk.group, "version": gvk.version, "kind": gvk.kind},
        "requestResource": {"group": gvr.group, "version": gvr.version, "resource": gvr.resource},
        "operation": attrs.operation,
        "userInfo": user_object(attrs.user),
        "dryRun": attrs.dry_run,
        "options": attrs.options or None,
    }
    if attrs.subresource:
        found["subResource"] = found["requestSubResource"] = attrs.subresource
    if attrs.name:
        found["name"] = attrs.name
    if namespace := namespace_of(attrs):
        found["namespace"] = namespace
    return found


def namespace_value(namespace: Object | None) -> Object | None:
    """The variable `namespaceObject`: what of a namespace expressions may see."""
    if namespace is None:
        return None
    meta = dict(namespace.get("metadata") or {})
    for hidden in ("managedFields", "ownerReferences", "selfLink"):
        meta.pop(hidden, None)
    return {**namespace, "metadata": meta}


__all__ = [
    "BOOL",
    "JSON_PATCHES",
    "NULL",
    "OBJECT",
    "STRING",
    "Budget",
    "Compiled",
    "Declared",
    "EvaluationError",
    "OutOfBudget",
    "Type",
    "compiled",
    "environment",
    "evaluated",
    "namespace_value",
    "request_value",
]
