"""What webhook configurations and admission policies share: rules, selectors, match conditions, expressions.

Upstream: `pkg/apis/admissionregistration/validation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.kinds.checks import given, set_default
from kumo.kubernetes.apiserver.kinds.selector_validation import validate_label_selector

if TYPE_CHECKING:
    from kumo.machinery.cel import Environment, Type

FAILURE_POLICIES = ("Fail", "Ignore")
MATCH_POLICIES = ("Equivalent", "Exact")
REINVOCATION_POLICIES = ("IfNeeded", "Never")
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_SCOPES = ("*", "Cluster", "Namespaced")
_MOST_CONDITIONS = 64


def default_rules(rules: Any) -> None:
    """Rules are of any scope unless they say which."""
    for rule in rules or ():
        set_default(rule, scope="*")


def default_match_resources(resources: dict[str, Any] | None) -> None:
    """The defaults of a policy's or a binding's `MatchResources`."""
    if resources is None:
        return
    set_default(resources, namespaceSelector={}, objectSelector={}, matchPolicy="Equivalent")
    default_rules(resources.get("resourceRules"))
    default_rules(resources.get("excludeResourceRules"))


def validate_rule(path: str, rule: dict[str, Any]) -> list[Cause]:
    """A `RuleWithOperations`."""
    found: list[Cause] = []
    operations = rule.get("operations") or []
    if not operations:
        found.append(fields.required(f"{path}.operations"))
    found += _alone(f"{path}.operations", operations, "operations")
    for number, operation in enumerate(operations):
        if operation not in _OPERATIONS:
            found.append(fields.unsupported(f"{path}.operations[{number}]", operation, _OPERATIONS))
    for key, what in (("apiGroups", "API groups"), ("apiVersions", "API versions")):
        values = rule.get(key) or []
        if not values:
            found.append(fields.required(f"{path}.{key}"))
        found += _alone(f"{path}.{key}", values, what)
    for number, version in enumerate(rule.get("apiVersions") or ()):
        if not version:
            found.append(fields.required(f"{path}.apiVersions[{number}]"))
    found += _resources(f"{path}.resources", rule.get("resources") or [])
    return found + given(f"{path}.scope", rule.get("scope"), _SCOPES)


def _alone(path: str, values: Sequence[str], what: str) -> list[Cause]:
    if len(values) > 1 and "*" in values:
        return [fields.invalid(path, values, f"if '*' is present, must not specify other {what}")]
    return []


def _resources(path: str, values: Sequence[str]) -> list[Cause]:
    found: list[Cause] = [] if values else [fields.required(path)]
    all_below: set[str] = set()
    below_all: set[str] = set()
    plain = False
    for number, text in enumerate(values):
        here = f"{path}[{number}]"
        if not text:
            found.append(fields.required(here))
            continue
        resource, slash, below = text.partition("/")
        if not slash:
            plain = text != "*"
            continue
        if resource in all_below:
            found.append(fields.invalid(here, text, f"if '{resource}/*' is present, must not specify {text}"))
        if below in below_all:
            found.append(fields.invalid(here, text, f"if '*/{below}' is present, must not specify {text}"))
        if below == "*":
            all_below.add(resource)
        if resource == "*":
            below_all.add(below)
    if len(values) > 1 and "*/*" in values:
        found.append(fields.invalid(path, values, "if '*/*' is present, must not specify other resources"))
    if "*" in values and plain:
        why = "if '*' is present, must not specify other resources without subresources"
        found.append(fields.invalid(path, values, why))
    return found


def validate_match_resources(path: str, resources: dict[str, Any] | None) -> list[Cause]:
    """A policy's matchConstraints, a binding's matchResources."""
    if resources is None:
        return []
    policy = resources.get("matchPolicy")
    found = [fields.required(f"{path}.matchPolicy")] if policy is None else []
    found += given(f"{path}.matchPolicy", policy, MATCH_POLICIES)
    for key in ("namespaceSelector", "objectSelector"):
        selector = resources.get(key)
        if selector is None:
            found.append(fields.required(f"{path}.{key}"))
        found += validate_label_selector(f"{path}.{key}", selector)
    for key in ("resourceRules", "excludeResourceRules"):
        for index, rule in enumerate(resources.get(key) or ()):
            here = f"{path}.{key}[{index}]"
            found += _names(f"{here}.resourceNames", rule.get("resourceNames") or ())
            found += validate_rule(here, rule)
    return found


def _names(path: str, values: Sequence[str]) -> list[Cause]:
    found: list[Cause] = []
    for index, name in enumerate(values):
        found += fields.each(f"{path}[{index}]", name, names.check_path_segment(name))
        if name in values[:index]:
            found.append(fields.duplicate(f"{path}[{index}]", name))
    return found


def validate_match_conditions(path: str, conditions: Any, *, params: bool = False) -> list[Cause]:
    """The matchConditions of a webhook or policy; `params`: they may use `params`."""
    items = conditions or []
    found: list[Cause] = []
    if len(items) > _MOST_CONDITIONS:
        found.append(fields.too_many(path, len(items), _MOST_CONDITIONS))
        items = items[:_MOST_CONDITIONS]  # No more work than upstream's limit allows to be of use.
    seen: set[str] = set()
    for index, item in enumerate(items):
        here = f"{path}[{index}]"
        expression = (item.get("expression") or "").strip()
        if not expression:
            found.append(fields.required(f"{here}.expression"))
        else:
            found += validate_expression(f"{here}.expression", expression, ("bool",), params=params)
        name = item.get("name") or ""
        if not name:
            found.append(fields.required(f"{here}.name"))
            continue
        found += fields.each(f"{here}.name", name, names.check_qualified_name(name))
        if name in seen:
            found.append(fields.duplicate(f"{here}.name", name))
        seen.add(name)
    return found


def validate_expression(
    path: str, expression: str, results: Sequence[str], *, params: bool = False, authorizer: bool = True
) -> list[Cause]:
    """A CEL expression whose result must be of one of these types, by name."""
    # CEL is loaded when somebody first writes an expression, not at start.
    from kumo.kubernetes.apiserver.admission.expressions import Declared, environment

    where = environment(Declared(params=params, authorizer=authorizer))
    return compile_complaints(path, where, expression, results)


def compile_complaints(path: str, where: Environment, expression: str, results: Sequence[str]) -> list[Cause]:
    """What is wrong with an expression in that environment."""
    from kumo.kubernetes.apiserver.admission.expressions import compiled

    error = compiled(where, expression, tuple(_type(r) for r in results)).error
    return [fields.invalid(path, expression, error)] if error else []


def _type(name: str) -> Type:
    from kumo.kubernetes.apiserver.admission.expressions import JSON_PATCHES, OBJECT
    from kumo.machinery import cel

    return {"bool": cel.BOOL, "string": cel.STRING, "null": cel.NULL, "Object": OBJECT, "patches": JSON_PATCHES}[name]
