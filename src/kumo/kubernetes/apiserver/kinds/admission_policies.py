"""Admission policies and their bindings: defaults and validation (`pkg/apis/admissionregistration/validation`)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object, name_of
from kumo.kubernetes.apiserver.kinds.admission_rules import (
    FAILURE_POLICIES,
    REINVOCATION_POLICIES,
    compile_complaints,
    default_match_resources,
    validate_match_conditions,
    validate_match_resources,
)
from kumo.kubernetes.apiserver.kinds.checks import choice, given, set_default, spec_of
from kumo.kubernetes.apiserver.kinds.conditions import validate_conditions
from kumo.kubernetes.apiserver.kinds.rules import at
from kumo.kubernetes.apiserver.kinds.selector_validation import validate_label_selector

if TYPE_CHECKING:
    from kumo.machinery.cel import Environment

_ACTIONS = ("Audit", "Deny", "Warn")
_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
_MUTATING_OPERATIONS = ("*", "CONNECT", "CREATE", "UPDATE")
_PATCHES = ("ApplyConfiguration", "JSONPatch")
_MOST_ANNOTATIONS = 20
_LONGEST_VALUE = 5 * 1024
_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_RESERVED = frozenset(
    (
        *("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import"),
        *("let", "loop", "package", "namespace", "return", "var", "void", "while"),
    )
)


def default_policy(obj: Object) -> None:
    """The defaults of both kinds of policy."""
    spec = spec_of(obj)
    set_default(spec, failurePolicy="Fail")
    default_match_resources(spec.get("matchConstraints"))


def default_binding(obj: Object) -> None:
    """The defaults of both kinds of binding."""
    default_match_resources(at(obj, "spec.matchResources"))


def validate_validating_policy(obj: Object) -> list[Cause]:
    """A ValidatingAdmissionPolicy."""
    spec = obj.get("spec") or {}
    found, where = _common(spec)
    validations, annotations = spec.get("validations") or [], spec.get("auditAnnotations") or []
    if not validations and not annotations:
        why = "validations or auditAnnotations must contain at least one item"
        return [*found, fields.required("spec.validations", why), fields.required("spec.auditAnnotations", why)]
    for index, item in enumerate(validations):
        found += _validation(f"spec.validations[{index}]", item, where)
    if len(annotations) > _MOST_ANNOTATIONS:
        why = f"must not have more than {_MOST_ANNOTATIONS} auditAnnotations"
        found.append(fields.invalid("spec.auditAnnotations", annotations, why))
    seen: set[str] = set()
    for index, item in enumerate(annotations):
        here, key = f"spec.auditAnnotations[{index}]", item.get("key") or ""
        found += _annotation(here, name_of(obj), item, where)
        if key in seen:
            found.append(fields.duplicate(f"{here}.key", key))
        seen.add(key)
    return found


def validate_mutating_policy(obj: Object) -> list[Cause]:
    """A MutatingAdmissionPolicy."""
    spec = obj.get("spec") or {}
    found, where = _common(spec, mutating=True)
    mutations = spec.get("mutations") or []
    if not mutations:
        found.append(fields.required("spec.mutations", "mutations must contain at least one item"))
    for index, item in enumerate(mutations):
        found += _mutation(f"spec.mutations[{index}]", item, where)
    return found + choice("spec.reinvocationPolicy", spec.get("reinvocationPolicy"), REINVOCATION_POLICIES)


class _Places:
    """The environments of a policy's expressions: with what it declares, and its variables so far."""

    def __init__(self, params: bool, patches: bool) -> None:
        from kumo.kubernetes.apiserver.admission.composition import Variables
        from kumo.kubernetes.apiserver.admission.expressions import Declared

        self._params, self._patches = params, patches
        self._declared = Declared
        self.variables = Variables()

    def environment(self, *, authorizer: bool = True) -> Environment:
        """For a validation, mutation, annotation or variable; for messages without authorizer."""
        return self.variables.environment(self._declared(self._params, authorizer, self._patches))


def _common(spec: dict[str, Any], *, mutating: bool = False) -> tuple[list[Cause], _Places]:
    """What both kinds of policy have: failure policy, parameters, constraints, conditions, variables."""
    policy = spec.get("failurePolicy")
    found = [fields.required("spec.failurePolicy")] if policy is None else []
    found += given("spec.failurePolicy", policy, FAILURE_POLICIES)
    kind, constraints = spec.get("paramKind"), spec.get("matchConstraints")
    if kind is not None:
        found += _param_kind(kind)
    if constraints is None:
        found.append(fields.required("spec.matchConstraints"))
    else:
        found += validate_match_resources("spec.matchConstraints", constraints)
        if not constraints.get("resourceRules"):
            found.append(fields.required("spec.matchConstraints.resourceRules"))
        if mutating:
            found += _no_deletion("spec.matchConstraints", constraints)
    found += validate_match_conditions("spec.matchConditions", spec.get("matchConditions"), params=kind is not None)
    where = _Places(kind is not None, mutating)
    for index, variable in enumerate(spec.get("variables") or ()):
        found += _variable(f"spec.variables[{index}]", variable, where)
    return found, where


def _no_deletion(path: str, resources: dict[str, Any]) -> list[Cause]:
    return [
        fields.unsupported(f"{path}.resourceRules.operations", operation, _MUTATING_OPERATIONS)
        for rule in resources.get("resourceRules") or ()
        for operation in rule.get("operations") or ()
        if operation not in _MUTATING_OPERATIONS
    ]


def _param_kind(kind: dict[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    path, version = "spec.paramKind.apiVersion", kind.get("apiVersion") or ""
    group, _, number = version.rpartition("/")
    if not version:
        found.append(fields.required(path))
    elif version.count("/") > 1:
        found.append(fields.invalid(path, version, f"unexpected GroupVersion string: {version}"))
    else:
        if group and (complaints := names.check_subdomain(group)):
            found.append(fields.invalid(path, group, ",".join(complaints)))
        if not number:
            found.append(fields.invalid(path, version, "version must be specified"))
        elif complaints := names.check_label_1035(number):
            found.append(fields.invalid(path, number, ",".join(complaints)))
    name = kind.get("kind") or ""
    if not name:
        found.append(fields.required("spec.paramKind.kind"))
    elif complaints := names.check_label_1035(name.lower()):
        why = "may have mixed case, but should otherwise match: " + ",".join(complaints)
        found.append(fields.invalid("spec.paramKind.kind", name, why))
    return found


def _variable(path: str, item: dict[str, Any], where: _Places) -> list[Cause]:
    found: list[Cause] = []
    name, expression = item.get("name") or "", item.get("expression") or ""
    if not name.strip():
        found.append(fields.required(f"{path}.name", "name is not specified"))
    elif not _IDENTIFIER.fullmatch(name) or name in _RESERVED:
        found.append(fields.invalid(f"{path}.name", name, "must be a valid CEL identifier"))
    if not expression.strip():
        return [*found, fields.required(f"{path}.expression", "expression is not specified")]
    compiled = where.variables.add(where.environment(), name, expression)
    return [*found, fields.invalid(f"{path}.expression", expression, compiled.error)] if compiled.error else found


def _validation(path: str, item: dict[str, Any], where: _Places) -> list[Cause]:
    found: list[Cause] = []
    expression = item.get("expression") or ""
    if not expression.strip():
        found.append(fields.required(f"{path}.expression", "expression is not specified"))
    else:
        found += compile_complaints(f"{path}.expression", where.environment(), expression, ("bool",))
    message, shown = item.get("message") or "", item.get("messageExpression") or ""
    if shown and not shown.strip():
        found.append(fields.invalid(f"{path}.messageExpression", shown, "must be non-empty if specified"))
    elif shown:
        place = where.environment(authorizer=False)
        found += compile_complaints(f"{path}.messageExpression", place, shown, ("string",))
    if message and not message.strip():
        found.append(fields.invalid(f"{path}.message", message, "must be non-empty if specified"))
    elif "\n" in message.strip() or "\r" in message.strip():
        found.append(fields.invalid(f"{path}.message", message, "must not contain line breaks"))
    reason = item.get("reason")
    if reason is not None and reason not in _REASONS:
        found.append(fields.unsupported(f"{path}.reason", reason, _REASONS))
    return found


def _annotation(path: str, policy: str, item: dict[str, Any], where: _Places) -> list[Cause]:
    key, expression = item.get("key") or "", (item.get("valueExpression") or "").strip()
    found: list[Cause] = []
    if policy:
        qualified = f"{policy}/{key}"
        found += fields.each(f"{path}.key", qualified, names.check_qualified_name(qualified))
    else:
        found.append(fields.invalid(f"{path}.key", key, "requires metadata.name be non-empty"))
    here = f"{path}.valueExpression"
    if not expression:
        return [*found, fields.required(here, "valueExpression is not specified")]
    if len(expression.encode()) > _LONGEST_VALUE:
        return [*found, fields.required(here, f"must not exceed {_LONGEST_VALUE} bytes in length")]
    return found + compile_complaints(here, where.environment(), expression, ("string", "null"))


def _mutation(path: str, item: dict[str, Any], where: _Places) -> list[Cause]:
    kind = item.get("patchType") or ""
    if not kind:
        return [fields.required(f"{path}.patchType")]
    if kind not in _PATCHES:
        return [fields.unsupported(f"{path}.patchType", kind, _PATCHES)]
    own, other = ("jsonPatch", "applyConfiguration") if kind == "JSONPatch" else ("applyConfiguration", "jsonPatch")
    found: list[Cause] = []
    if item.get(own) is None:
        found.append(fields.required(f"{path}.{own}", f"must be specified when patchType is {kind}"))
    else:
        expression = (item[own].get("expression") or "").strip()
        here = f"{path}.{own}.expression"
        if not expression:
            found.append(fields.required(here))
        else:
            result = "patches" if kind == "JSONPatch" else "Object"
            found += compile_complaints(here, where.environment(), expression, (result,))
    if item.get(other) is not None:
        why = f"must not be specified when patchType is {kind}"
        found.append(fields.invalid(f"{path}.{other}", f"{{{other}}}", why))
    return found


def validate_binding(obj: Object) -> list[Cause]:
    """A binding of either kind."""
    spec = obj.get("spec") or {}
    policy = spec.get("policyName") or ""
    found: list[Cause] = []
    if not policy:
        found.append(fields.required("spec.policyName"))
    else:
        found += fields.each("spec.policyName", policy, names.check_subdomain(policy))
    found += _param_ref("spec.paramRef", spec.get("paramRef"))
    found += validate_match_resources("spec.matchResources", spec.get("matchResources"))
    if obj.get("kind") == "ValidatingAdmissionPolicyBinding":
        return found + _validation_actions("spec.validationActions", spec.get("validationActions") or [])
    return found + _no_deletion("spec.matchResources", spec.get("matchResources") or {})


def _param_ref(path: str, reference: dict[str, Any] | None) -> list[Cause]:
    if reference is None:
        return []
    found: list[Cause] = []
    name, selector = reference.get("name") or "", reference.get("selector")
    both = "name and selector are mutually exclusive"
    if name:
        found += fields.each(f"{path}.name", name, names.check_path_segment(name))
        if selector is not None:
            found.append(fields.forbidden(f"{path}.name", both))
    if selector is not None:
        found += validate_label_selector(f"{path}.selector", selector)
        if name:
            found.append(fields.forbidden(f"{path}.selector", both))
    if not name and selector is None:
        found.append(fields.required(path, "one of name or selector must be specified"))
    action = reference.get("parameterNotFoundAction")
    return found + choice(f"{path}.parameterNotFoundAction", action, ("Deny", "Allow"))


def _validation_actions(path: str, actions: list[str]) -> list[Cause]:
    found: list[Cause] = []
    for index, action in enumerate(actions):
        if action not in _ACTIONS:
            found.append(fields.unsupported(f"{path}[{index}]", action, _ACTIONS))
        if action in actions[:index]:
            found.append(fields.duplicate(f"{path}[{index}]", action))
    if "Deny" in actions and "Warn" in actions:
        why = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the API "
            "response and headers serves no purpose)"
        )
        found.append(fields.invalid(path, actions, why))
    if not actions:
        found.append(fields.required(path, "at least one validation action is required"))
    return found


def validate_policy_status(new: Object, old: Object) -> list[Cause]:
    """The status of a ValidatingAdmissionPolicy."""
    found: list[Cause] = []
    for index, warning in enumerate(at(new, "status.typeChecking.expressionWarnings") or ()):
        here = f"status.typeChecking.expressionWarnings[{index}]"
        if not warning.get("warning"):
            found.append(fields.required(f"{here}.warning"))
        if not (warning.get("fieldRef") or "").strip():
            found.append(fields.required(f"{here}.fieldRef"))
    return found + validate_conditions("status.conditions", at(new, "status.conditions"))
