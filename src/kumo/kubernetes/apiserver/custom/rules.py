"""The CEL rules of a schema, run on objects (apiserver/schema/cel): transition rules, ratcheting, messages, costs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kumo.api import fields
from kumo.api.errors import Cause
from kumo.api.schema.correlation import MISSING, Correlated, MapItems
from kumo.kubernetes.apiserver.custom.field_paths import find_field
from kumo.kubernetes.apiserver.custom.rule_checks import environment_of, type_name
from kumo.machinery.cel import BOOL, STRING, Budget, CelError, CompileError, CostExceeded, Program
from kumo.machinery.cel.schemas import Adapter, adapter, declare
from kumo.machinery.cel.values import NOTHING, some

Schema = Mapping[str, Any]
Warn = Callable[[str], None]
_XV = "x-kubernetes-validations"
_MESSAGE_LIMIT = 5 * 1024
_NO_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"


@dataclass(frozen=True, slots=True)
class Place:
    """A place in an object: its path, and what is known of its older state (for ratcheting)."""

    path: str
    correlated: Correlated | None = None
    warn: Warn | None = None

    def key(self, name: str, bracket: bool = False) -> Place:
        """A field (or, with `bracket`, an entry of a map)."""
        path = f"{self.path}[{name}]" if bracket else f"{self.path}.{name}" if self.path else name
        return Place(path, self.correlated.key(name) if self.correlated is not None else None, self.warn)

    def item(self, index: int) -> Place:
        """An item of a list."""
        below = self.correlated.index(index) if self.correlated is not None else None
        return Place(f"{self.path}[{index}]", below, self.warn)


class _Stopped(Exception):
    """No further rule may run: the cost is used up."""


class _Rule:
    """One rule, compiled when it first runs."""

    __slots__ = ("compiled", "complaint", "field", "message", "program", "rule", "uses_old")

    def __init__(self, rule: Schema) -> None:
        self.rule = rule
        self.compiled = False
        self.complaint = ""
        self.program: Program | None = None
        self.message: Program | None = None
        self.uses_old = False
        self.field = ""

    def compile(self, schema: Schema, root: bool) -> None:
        """Make the programs; what goes wrong is kept as a complaint about the objects."""
        self.compiled = True
        declared = declare(schema, type_name(), root)
        if declared is None or not (self.rule.get("rule") or "").strip():
            return
        environment = environment_of(declared, self.rule)
        try:
            self.program = environment.compile(self.rule["rule"], [BOOL])
            if self.rule.get("messageExpression"):
                self.message = environment.compile(self.rule["messageExpression"], [STRING])
            if self.rule.get("fieldPath"):
                self.field = find_field(self.rule["fieldPath"], schema)[0]
        except CompileError as error:
            self.complaint = f"rule compile error: compilation failed: {error.message}"
        except ValueError:
            pass
        self.uses_old = self.program is not None and "oldSelf" in self.program.names()

    @property
    def shown(self) -> str:
        """The rule as messages name it."""
        return ((self.rule.get("message") or "").strip()) or (self.rule.get("rule") or "").strip()

    @property
    def text(self) -> str:
        """What to say when the rule is broken."""
        message = self.rule.get("message") or ""
        return str(message.strip()) if message else f"failed rule: {self.shown}"


class Rules:
    """The rules of a place in a schema and of the places below it; only places with rules are here."""

    __slots__ = (
        "_adapter",
        "_adapter_known",
        "items",
        "keys",
        "kind",
        "properties",
        "root",
        "rules",
        "schema",
        "values",
    )

    def __init__(self, schema: Schema, root: bool) -> None:
        self.schema = schema
        self.root = root
        self.kind: str = schema.get("type") or ""
        self.rules = [_Rule(r) for r in schema.get(_XV) or ()]
        self.properties: dict[str, Rules] = {}
        self.values: Rules | None = None
        self.items: Rules | None = None
        self.keys: tuple[str, ...] = ()
        self._adapter: Adapter | None = None
        self._adapter_known = False

    @property
    def empty(self) -> bool:
        """Whether there is no rule here nor below."""
        return not (self.rules or self.properties or self.values is not None or self.items is not None)

    def _adapted(self, value: Any) -> Any:
        if not self._adapter_known:
            self._adapter_known = True
            self._adapter = adapter(self.schema)
        return value if self._adapter is None else self._adapter(value)

    def validate(self, value: Any, old: Any, place: Place, budget: Budget) -> list[Cause]:
        """What of the value breaks the rules. `old` is its older state, or None."""
        found: list[Cause] = []
        with contextlib.suppress(_Stopped):
            self._run(value, old, place, budget, found)
        return found

    def _run(self, value: Any, old: Any, place: Place, budget: Budget, found: list[Cause]) -> None:
        if value is None:
            return
        if self.rules:
            self._evaluate(value, old, place, budget, found)
        if isinstance(value, dict):
            before = old if isinstance(old, dict) else {}
            if self.values is not None:
                for name, item in value.items():
                    self.values._run(item, before.get(name), place.key(name, bracket=True), budget, found)
            for name, below in self.properties.items():
                if name in value:
                    below._run(value[name], before.get(name), place.key(name), budget, found)
        elif isinstance(value, list) and self.items is not None:
            older = MapItems(old if isinstance(old, list) else [], self.keys)
            for index, item in enumerate(value):
                self.items._run(item, older.get(item), place.item(index), budget, found)

    def _evaluate(self, value: Any, old: Any, place: Place, budget: Budget, found: list[Cause]) -> None:
        if budget.remaining <= 0:
            found.append(self._wrong(place.path, _NO_BUDGET))
            raise _Stopped
        now: Any = MISSING
        before: Any = None
        for rule in self.rules:
            if not rule.compiled:
                rule.compile(self.schema, self.root)
            if rule.complaint:
                found.append(self._wrong(place.path, rule.complaint))
                continue
            optional = bool(rule.rule.get("optionalOldSelf"))
            if rule.program is None or (rule.uses_old and old is None and not optional):
                continue
            bindings: dict[str, Any] = {}
            try:
                if now is MISSING:
                    now = self._adapted(value)
                bindings["self"] = now
                if rule.uses_old:
                    if before is None and old is not None:
                        before = self._adapted(old)
                    bindings["oldSelf"] = before if not optional else NOTHING if old is None else some(before)
                holds = rule.program.value(bindings, budget)
            except CelError as error:
                self._failed(rule, error, place, budget, found)
                continue
            if holds is not True:
                self._broken(rule, value, bindings, place, budget, found)

    def _wrong(self, path: str, detail: str) -> Cause:
        return fields.invalid(path or "<nil>", self.kind, detail)

    def _failed(self, rule: _Rule, error: CelError, place: Place, budget: Budget, found: list[Cause]) -> None:
        """The rule could not be evaluated."""
        if isinstance(error, CostExceeded) or budget.overdrawn:
            detail = _NO_BUDGET
            if not budget.overdrawn:
                why = "no further validation rules will be run due to call cost exceeds limit for rule"
                detail = f"'{error.message}': {why}: {rule.shown}"
            found.append(self._wrong(place.path, detail))
            raise _Stopped
        if error.message.startswith("no such overload"):
            why = "call arguments did not match a supported operator, function or macro signature for rule"
            found.append(self._wrong(place.path, f"'{error.message}': {why}: {rule.shown}"))
        else:
            found.append(self._wrong(place.path, f"{error.message} evaluating rule: {rule.shown}"))

    def _broken(
        self, rule: _Rule, value: Any, bindings: dict[str, Any], place: Place, budget: Budget, found: list[Cause]
    ) -> None:
        """The rule does not hold."""
        path = place.path
        if rule.field:
            path = f"{path}.{rule.field}" if path else rule.field
        detail = ""
        stopped = False
        if rule.message is not None:
            try:
                detail = _message(rule.message, bindings, budget)
            except CostExceeded as error:
                detail = error.message
                stopped = True
        cause = _cause(path or "<nil>", value, detail or rule.text, rule.rule.get("reason") or "", self.kind, stopped)
        if not rule.uses_old and place.correlated is not None and place.correlated.unchanged():
            if place.warn is not None:
                place.warn(f"{cause.field}: {cause.message}")
        else:
            found.append(cause)
        if stopped:
            raise _Stopped


def _message(program: Program, bindings: dict[str, Any], budget: Budget) -> str:
    """The text of a messageExpression; empty when it can't be used. Raises CostExceeded."""
    why = "no further validation rules will be run"
    try:
        found = program.value(bindings, budget)
    except CostExceeded:
        if budget.overdrawn:
            raise CostExceeded(
                f"messageExpression evaluation failed due to running out of cost budget, {why}"
            ) from None
        quoted = fields.shown(program.expression)
        raise CostExceeded(f"{why} due to call cost exceeds limit for messageExpression: {quoted}") from None
    except CelError:
        return ""
    text = found.strip() if isinstance(found, str) else ""
    return "" if len(text.encode()) > _MESSAGE_LIMIT or "\n" in text else text


def _cause(path: str, value: Any, detail: str, reason: str, kind: str, stopped: bool) -> Cause:
    if stopped:
        return fields.invalid(path, kind, detail)
    if reason == "FieldValueForbidden":
        return fields.forbidden(path, detail)
    if reason == "FieldValueRequired":
        return fields.required(path, detail)
    omitted = kind in ("object", "array")
    if reason == "FieldValueDuplicate":
        return Cause(path, "Duplicate value", reason) if omitted else fields.duplicate(path, value)
    if omitted:
        return Cause(path, f"Invalid value: {detail}", "FieldValueInvalid")
    return fields.invalid(path, value, detail)


def rules_of(schema: Schema, root: bool = False) -> Rules | None:
    """The rules of a schema; None when there are none (so that objects without rules cost nothing)."""
    found = Rules(schema, root)
    for name, child in (schema.get("properties") or {}).items():
        below = rules_of(child, bool(child.get("x-kubernetes-embedded-resource")))
        if below is not None:
            found.properties[name] = below
    more, items = schema.get("additionalProperties"), schema.get("items")
    if isinstance(more, Mapping):
        found.values = rules_of(more, bool(more.get("x-kubernetes-embedded-resource")))
    if isinstance(items, Mapping):
        found.items = rules_of(items, bool(items.get("x-kubernetes-embedded-resource")))
        if schema.get("x-kubernetes-list-type") == "map":
            found.keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
    return None if found.empty else found
