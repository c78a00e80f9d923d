"""Policies and bindings, read once; expressions are compiled when a request first needs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from kumo.api.objects import Object, name_of
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.admission.conditions import Conditions
from kumo.kubernetes.apiserver.admission.equivalents import Equivalents
from kumo.kubernetes.apiserver.admission.policies.constraints import Constraints, parse_constraints
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader

if TYPE_CHECKING:
    from kumo.kubernetes.apiserver.admission.composition import Variables
    from kumo.kubernetes.apiserver.admission.expressions import Compiled


class Validation(NamedTuple):
    """One of a policy's validations."""

    check: Compiled
    message: str
    message_expression: Compiled | None
    reason: str


class Annotation(NamedTuple):
    """One of a policy's audit annotations."""

    key: str
    value: Compiled


class Mutation(NamedTuple):
    """One of a policy's mutations: `kind` is ApplyConfiguration or JSONPatch."""

    kind: str
    change: Compiled
    mismatch: str
    """What is wrong with the names of the types it makes, if anything."""


@dataclass(frozen=True, slots=True)
class Program:
    """A policy's expressions, compiled."""

    variables: Variables
    validations: tuple[Validation, ...] = ()
    annotations: tuple[Annotation, ...] = ()
    mutations: tuple[Mutation, ...] = ()


class Policy:
    """A policy of either kind."""

    def __init__(self, obj: Object) -> None:
        spec: dict[str, Any] = obj.get("spec") or {}
        self._spec = spec
        self.name = name_of(obj)
        self.param_kind = _param_kind(spec.get("paramKind"))
        self.constraints: Constraints = parse_constraints(spec.get("matchConstraints"))
        self.ignores_failures = spec.get("failurePolicy") == "Ignore"
        self.reinvocable = spec.get("reinvocationPolicy") == "IfNeeded"
        conditions = spec.get("matchConditions") or ()
        self.conditions: Conditions | None = None
        if conditions:
            params = self.param_kind is not None
            self.conditions = Conditions(conditions, ignores_failures=self.ignores_failures, params=params)

    @cached_property
    def program(self) -> Program:
        """The expressions, compiled at the first call."""
        from kumo.kubernetes.apiserver.admission import expressions as cel
        from kumo.kubernetes.apiserver.admission.composition import Variables
        from kumo.kubernetes.apiserver.admission.policies.type_names import mismatches

        spec = self._spec
        mutations = spec.get("mutations") or ()
        declared = cel.Declared(params=self.param_kind is not None, patches=bool(mutations))
        variables = Variables()
        for item in spec.get("variables") or ():
            variables.add(variables.environment(declared), item["name"], item["expression"])
        where = variables.environment(declared)
        said = variables.environment(declared._replace(authorizer=False))

        def validation(item: Mapping[str, Any]) -> Validation:
            text = (item.get("messageExpression") or "").strip()
            message = cel.compiled(said, text, (cel.STRING,)) if text else None
            check = cel.compiled(where, item["expression"], (cel.BOOL,))
            return Validation(check, (item.get("message") or "").strip(), message, item.get("reason") or "Invalid")

        def mutation(item: Mapping[str, Any]) -> Mutation:
            if item.get("patchType") == "JSONPatch":
                expression, wanted = item["jsonPatch"]["expression"], cel.JSON_PATCHES
            else:
                expression, wanted = item["applyConfiguration"]["expression"], cel.OBJECT
            change = cel.compiled(where, expression.strip(), (wanted,))
            mismatch = mismatches(change.program.root) if change.program is not None else []
            return Mutation(item.get("patchType") or "", change, "\n".join(mismatch))

        return Program(
            variables,
            tuple(validation(item) for item in spec.get("validations") or ()),
            tuple(
                Annotation(item["key"], cel.compiled(where, item["valueExpression"].strip(), (cel.STRING, cel.NULL)))
                for item in spec.get("auditAnnotations") or ()
            ),
            tuple(mutation(item) for item in mutations),
        )

    @cached_property
    def asks_authorizer(self) -> bool:
        """Whether an expression asks who may do what: that is known on the loop's thread only."""
        program = self.program
        expressions = [
            *(v.check for v in program.validations),
            *(v.message_expression for v in program.validations if v.message_expression is not None),
            *(a.value for a in program.annotations),
            *(m.change for m in program.mutations),
        ]
        return program.variables.asks_authorizer or any(expression.asks_authorizer for expression in expressions)


def _param_kind(kind: Mapping[str, Any] | None) -> GVK | None:
    if not kind:
        return None
    group, _, version = (kind.get("apiVersion") or "").rpartition("/")
    return GVK(group, version, kind.get("kind") or "")


class Binding:
    """A binding of either kind. `constraints` None: it restricts nothing."""

    def __init__(self, obj: Object) -> None:
        spec: dict[str, Any] = obj.get("spec") or {}
        self.name = name_of(obj)
        self.policy: str = spec.get("policyName") or ""
        self.param_ref: Mapping[str, Any] | None = spec.get("paramRef")
        resources = spec.get("matchResources")
        self.constraints = parse_constraints(resources) if resources is not None else None
        self.actions: tuple[str, ...] = tuple(spec.get("validationActions") or ())

    def concerns(self, attrs: AdmissionAttributes, equivalents: Equivalents, reader: Reader) -> bool:
        """Whether it puts its policy in force for the request. Raises 404 for a missing namespace."""
        return self.constraints is None or self.constraints.match(attrs, equivalents, reader) is not None


@dataclass(frozen=True, slots=True)
class Hook:
    """A policy with the bindings that put it in force."""

    policy: Policy
    bindings: tuple[Binding, ...]
