"""CEL rules of a definition's schema: whether they compile, and what they may cost (apiextensions' CEL validation)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kumo.api import fields
from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.custom.causes import invalid
from kumo.kubernetes.apiserver.custom.gojson import rule_text
from kumo.machinery.cel import BOOL, STRING, CompileError, Environment, Program, Type, optional_of
from kumo.machinery.cel.estimates import estimate
from kumo.machinery.cel.ranges import MOST
from kumo.machinery.cel.schemas import REQUEST_SIZE, Declaration, declare

Schema = Mapping[str, Any]
RULE_LIMIT = 10_000_000
TOTAL_LIMIT = 100_000_000
_ADVICE = (
    "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are "
    "declared)"
)
_XV = "x-kubernetes-validations"


def environment_of(declared: Declaration, rule: Schema) -> Environment:
    """What a rule may name: `self`, and `oldSelf` as it is or as an optional."""
    old: Type = optional_of(declared.type) if rule.get("optionalOldSelf") else declared.type
    return Environment({"self": declared.type, "oldSelf": old})


def type_name() -> str:
    """What messages call the type of `self`."""
    return "selfType0"


@dataclass
class TotalCost:
    """The cost of all rules of a schema, and the most expensive four."""

    total: int = 0
    expensive: list[tuple[str, int]] = field(default_factory=list)

    def add(self, path: str, cost: int) -> None:
        """Count a rule."""
        self.total = min(self.total + cost, MOST)
        if cost >= TOTAL_LIMIT // 100:
            self.expensive.append((path, cost))
            self.expensive = sorted(self.expensive, key=lambda e: -e[1])[:4]

    def causes(self, path: str) -> list[Cause]:
        """The complaints about a total over the limit."""
        if self.total <= TOTAL_LIMIT:
            return []
        text = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        found = [fields.forbidden(where, text) for where, _ in self.expensive]
        name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        return [*found, fields.forbidden(path, _too_expensive(name, self.total, TOTAL_LIMIT))]


@dataclass(frozen=True)
class Scope:
    """Where in a schema rules are looked at.

    `most` is how often the place can occur in an object (None: unbounded); `free` the nearest place above whose items
    can't be matched with older ones (so that `oldSelf` may not be used); `cheap` leaves out limits for single rules.
    """

    total: TotalCost
    most: int | None = 1
    root: bool = True
    free: str = ""
    cheap: bool = False
    declared: Declaration | None = None

    def below(self, schema: Schema, child: Declaration | None, free: str = "") -> Scope:
        """The scope of a part of the schema."""
        times = _elements(schema)
        most = None if self.most is None or times is None else min(self.most * times, MOST)
        return Scope(self.total, most, False, self.free or free, self.cheap, child)


def _elements(schema: Schema) -> int | None:
    kind = schema.get("type")
    if kind == "object" and schema.get("additionalProperties") is not None:
        most: int | None = schema.get("maxProperties")
    elif kind == "array":
        most = schema.get("maxItems")
    else:
        return 1
    return None if most is None else max(most, 0)


def check_rules(schema: Schema, path: str, scope: Scope) -> list[Cause]:
    """What is wrong with the rules of this place (not below): they don't compile, or cost too much."""
    embedded = bool(schema.get("x-kubernetes-embedded-resource"))
    declared = scope.declared or declare(schema, type_name(), scope.root or embedded)
    found: list[Cause] = []
    if declared is None:
        text = (
            "internal error: failed to construct type information for x-kubernetes-validations rules: "
            "unable to convert structural schema to CEL declarations"
        )
        return [Cause(f"{path}.{_XV}", f"Internal error: {text}", "InternalError")]
    for index, rule in enumerate(schema[_XV]):
        found += _check(rule, f"{path}.{_XV}[{index}]", scope, declared)
    return found


def _check(rule: Schema, path: str, scope: Scope, declared: Declaration) -> list[Cause]:
    found: list[Cause] = []
    environment = environment_of(declared, rule)
    program, complaint = _compiled(environment, rule.get("rule") or "", BOOL, "")
    uses_old = False
    if program is not None:
        cost = estimate(program.root, declared).most
        often = scope.most if scope.most is not None else REQUEST_SIZE // (declared.least + 1)
        found += _limit(scope, f"{path}.rule", "estimated rule cost", min(cost * often, MOST))
        uses_old = "oldSelf" in program.names()
    else:
        found.append(invalid(f"{path}.rule", rule_text(rule), complaint))
    expression = rule.get("messageExpression") or ""
    if expression and program is not None:
        message, complaint = _compiled(environment, expression, STRING, "messageExpression")
        if message is None:
            found.append(invalid(f"{path}.messageExpression", rule_text(rule), complaint))
        else:
            cost = estimate(message.root, declared).most
            found += _limit(scope, f"{path}.messageExpression", "estimated messageExpression cost", cost)
    if uses_old:
        if scope.free:
            detail = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {scope.free}"
            found.append(fields.invalid(f"{path}.rule", rule["rule"], detail))
    elif rule.get("optionalOldSelf") is not None:
        detail = "may not be set if oldSelf is not used in rule"
        found.append(fields.invalid(f"{path}.optionalOldSelf", bool(rule["optionalOldSelf"]), detail))
    return found


def _compiled(environment: Environment, text: str, result: Type, what: str) -> tuple[Program | None, str]:
    try:
        program = environment.compile(text)
    except CompileError as error:
        if error.kind == "program":
            return None, f"{what or 'program'} instantiation failed: {error.message}"
        return None, f"{what + ' ' if what else ''}compilation failed: {error.message}"
    if program.type != result:
        return None, f"{what or 'cel expression'} must evaluate to a {result}"
    return program, ""


def _limit(scope: Scope, path: str, name: str, cost: int) -> list[Cause]:
    scope.total.add(path, cost)
    if scope.cheap or cost <= RULE_LIMIT:
        return []
    return [fields.forbidden(path, _too_expensive(name, cost, RULE_LIMIT))]


def _too_expensive(name: str, cost: int, limit: int) -> str:
    factor = cost / limit
    shown = "more than 100x" if factor > 100 else f"{factor:.6f}x" if factor < 1.5 else f"{factor:.1f}x"
    return f"{name} exceeds budget by factor of {shown} {_ADVICE}"
