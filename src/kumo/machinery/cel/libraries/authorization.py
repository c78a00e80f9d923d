"""`authorizer`: asking from an expression what a user may do (k8s.io/apiserver/pkg/cel/library, authz)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from kumo.machinery.cel import costs, types
from kumo.machinery.cel.functions import Overload, overload
from kumo.machinery.cel.types import Type

_PREFIX = "kubernetes.authorization."
PATH_CHECK = types.struct(_PREFIX + "PathCheck", {})
GROUP_CHECK = types.struct(_PREFIX + "GroupCheck", {})
DECISION = types.struct(_PREFIX + "Decision", {})
_NAMED: Mapping[str, Type] = {
    "authorizer": types.AUTHORIZER,
    "path": PATH_CHECK,
    "group": GROUP_CHECK,
    "resource": types.RESOURCE_CHECK,
    "decision": DECISION,
}


@dataclass(frozen=True, slots=True)
class Question:
    """What an expression asks: a path, or a resource; `service_account` as (namespace, name) asks for another user."""

    verb: str = ""
    path: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    field_selector: str = ""
    label_selector: str = ""
    service_account: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer: `allowed`, with the authorizer's `reason`; `error` when it could not tell."""

    cel_type: ClassVar[Type] = DECISION
    allowed: bool
    reason: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Authorizer:
    """The value of the variable `authorizer`: `decide` answers for the request's user (or the service account)."""

    cel_type: ClassVar[Type] = types.AUTHORIZER
    decide: Callable[[Question], Decision]
    service_account: tuple[str, str] | None = None

    def ask(self, question: Question) -> Decision:
        """The answer to a question, for this authorizer's user."""
        return self.decide(replace(question, service_account=self.service_account))


@dataclass(frozen=True, slots=True)
class PathCheck:
    """What `.path(...)` gives."""

    cel_type: ClassVar[Type] = PATH_CHECK
    authorizer: Authorizer
    path: str


@dataclass(frozen=True, slots=True)
class GroupCheck:
    """What `.group(...)` gives."""

    cel_type: ClassVar[Type] = GROUP_CHECK
    authorizer: Authorizer
    group: str


@dataclass(frozen=True, slots=True)
class ResourceCheck:
    """The value of `authorizer.requestResource` and of what `.resource(...)` builds."""

    cel_type: ClassVar[Type] = types.RESOURCE_CHECK
    authorizer: Authorizer
    question: Question


def _with(key: str) -> Callable[[ResourceCheck, str], ResourceCheck]:
    def code(check: ResourceCheck, value: str) -> ResourceCheck:
        changed: dict[str, Any] = {key: value}
        return ResourceCheck(check.authorizer, replace(check.question, **changed))

    return code


def _selector_cost(args: Any, result: Any) -> int:
    length = len(args[1])
    requirements = costs.factor(length * 0.5)
    return (
        costs.LIST_COST
        + costs.factor(length * costs.STRING_FACTOR)
        + requirements * (costs.LIST_COST + costs.STRUCT_COST)
    )


def overloads() -> list[Overload]:
    """Everything here."""
    check = costs.fixed(costs.CHECK_COST)

    def put(function: str, line: str, code: Any, cost: Any = None) -> Overload:
        return overload(function, line, code, cost, by_name=True, named=_NAMED)

    return [
        put("path", "authorizer_path = authorizer.(string) -> path", PathCheck),
        put("group", "authorizer_group = authorizer.(string) -> group", GroupCheck),
        put(
            "serviceAccount",
            "authorizer_serviceaccount = authorizer.(string, string) -> authorizer",
            lambda a, namespace, name: Authorizer(a.decide, (namespace, name)),
        ),
        put(
            "resource",
            "groupcheck_resource = group.(string) -> resource",
            lambda g, r: ResourceCheck(g.authorizer, Question(group=g.group, resource=r)),
        ),
        put("subresource", "resourcecheck_subresource = resource.(string) -> resource", _with("subresource")),
        put("namespace", "resourcecheck_namespace = resource.(string) -> resource", _with("namespace")),
        put("name", "resourcecheck_name = resource.(string) -> resource", _with("name")),
        put(
            "fieldSelector",
            "authorizer_fieldselector = resource.(string) -> resource",
            _with("field_selector"),
            _selector_cost,
        ),
        put(
            "labelSelector",
            "authorizer_labelselector = resource.(string) -> resource",
            _with("label_selector"),
            _selector_cost,
        ),
        put(
            "check",
            "pathcheck_check = path.(string) -> decision",
            lambda p, verb: p.authorizer.ask(Question(verb=verb, path=p.path)),
            check,
        ),
        put(
            "check",
            "resourcecheck_check = resource.(string) -> decision",
            lambda r, verb: r.authorizer.ask(replace(r.question, verb=verb)),
            check,
        ),
        put("errored", "decision_errored = decision.() -> bool", lambda d: bool(d.error)),
        put("error", "decision_error = decision.() -> string", lambda d: d.error),
        put("allowed", "decision_allowed = decision.() -> bool", lambda d: d.allowed),
        put("reason", "decision_reason = decision.() -> string", lambda d: d.reason),
    ]
