"""Where expressions are compiled: the variables and types that they may name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kumo.machinery.cel import code
from kumo.machinery.cel.budget import PER_CALL_LIMIT, Budget
from kumo.machinery.cel.checker import Checker
from kumo.machinery.cel.compiler import Compiler
from kumo.machinery.cel.errors import CelError, CompileError, CostExceeded, TakesLong
from kumo.machinery.cel.libraries import standard, with_json_patch
from kumo.machinery.cel.literals import check_literals, check_mixed
from kumo.machinery.cel.parser import parse
from kumo.machinery.cel.source import Issues
from kumo.machinery.cel.syntax import Expr
from kumo.machinery.cel.types import DYN, STRING, Type, struct
from kumo.machinery.cel.values import to_json

_OVERSPENT = "validation failed due to running out of cost budget, no further validation rules will be run"
JSON_PATCH = struct("JSONPatch", {"op": STRING, "path": STRING, "from": STRING, "value": DYN})


class Environment:
    """The declarations of a kind of expression. Immutable; cheap to extend.

    - `variables`: name to type (`DYN`, `BOOL`, `STRING`, `list_of(...)`, `map_of(...)`, `schema_type(...)`,
      `AUTHORIZER`, `struct(...)`).
    - `messages`: struct types that expressions may construct (`Object{spec: Object.spec{replicas: 3}}`), by name. An
      object made so is a dictionary of the fields that were set.
    - `json_patch`: whether `JSONPatch{...}` and `jsonpatch.escapeKey` exist (MutatingAdmissionPolicy).
    """

    def __init__(
        self,
        variables: Mapping[str, Type] | None = None,
        *,
        messages: Iterable[Type] = (),
        json_patch: bool = False,
    ) -> None:
        self.variables: Mapping[str, Type] = dict(variables or {})
        self.messages: Mapping[str, Type] = {m.name: m for m in messages}
        self.json_patch = json_patch

    def extend(self, variables: Mapping[str, Type], messages: Iterable[Type] = ()) -> Environment:
        """An environment with these variables (and message types) too."""
        return Environment(
            {**self.variables, **variables},
            messages=[*self.messages.values(), *messages],
            json_patch=self.json_patch,
        )

    def compile(self, expression: str, result: Iterable[Type] = ()) -> Program:
        """A program; its result is of one of the types in `result` (any, if none is given; DYN fits all).

        Raises CompileError: with kind `compile` for what does not parse or type-check, with kind `type` and the text
        `must evaluate to bool` (`must evaluate to one of [...]`) for a wrong result type, with kind `program` for a
        constant that can't be converted.
        """
        issues = Issues(expression)
        try:
            root = parse(expression)
            functions = with_json_patch() if self.json_patch else standard()
            messages = {**self.messages, "JSONPatch": JSON_PATCH} if self.json_patch else self.messages
            checker = Checker(self.variables, messages, functions, issues)
            checker.run(root)
            if not issues:
                check_literals(root, issues)
                check_mixed(root, issues)
        except RecursionError:
            issues.report(0, "expression recursion limit exceeded: 250")
        if issues:
            raise CompileError(str(issues))
        wanted = tuple(result)
        if wanted and root.type not in wanted and root.type.kind != "dyn":
            names = [str(w) for w in wanted]
            text = names[0] if len(names) == 1 else f"one of [{' '.join(names)}]"
            raise CompileError(f"must evaluate to {text}", kind="type")
        names_used = [name for name in self.variables if name in checker.mentioned]
        compiler = Compiler({name: code.FIRST + i for i, name in enumerate(names_used)})
        run = compiler.run(root)
        return Program(expression, root, run, tuple(names_used), compiler.size)


class Program:
    """A compiled expression. `type` is its result's type (DYN when unknown); `cost` that of the last evaluation."""

    __slots__ = ("_empty", "_names", "_run", "cost", "expression", "root", "type")

    def __init__(self, expression: str, root: Expr, run: code.Run, names: tuple[str, ...], size: int) -> None:
        self.expression = expression
        self.root = root
        self.type: Type = root.type
        self.cost = 0
        self._run = run
        self._names = names
        self._empty: list[Any] = [None] * (size - code.FIRST - len(names))

    def evaluate(self, bindings: Mapping[str, object], budget: Budget | None = None) -> Any:
        """The value with these variables: JSON-shaped (timestamps, durations, quantities... as their texts).

        Bound values are JSON-shaped and never changed; a `Lazy` of `values` is evaluated when first used. Raises
        CelError, and CostExceeded when a limit is hit (`budget.overdrawn` says whether it was the budget's); TakesLong
        when it was the budget's patience.
        """
        value = self.value(bindings, budget)
        return value if type(value) in (bool, str) else to_json(value)

    def value(self, bindings: Mapping[str, object], budget: Budget | None = None) -> Any:
        """The same as a value of CEL, not made JSON."""
        limit = PER_CALL_LIMIT if budget is None else budget.limit
        slices = budget is not None and budget.considerate
        first = code.Slice.of(0, limit) if slices else limit
        frame: list[Any] = [0, first, *[bindings.get(name, code.UNBOUND) for name in self._names], *self._empty]
        try:
            found = self._run(frame)
            if frame[0] > limit:
                code.over_limit(frame)
        except CostExceeded:
            if budget is not None and limit < budget.per_call:
                raise TakesLong from None
            raise
        except RecursionError:
            raise CelError("the value is nested too deeply") from None
        except (TypeError, AttributeError, ValueError, LookupError, ArithmeticError):
            raise CelError("no such overload") from None  # A value of a type that nobody thought of.
        finally:
            self.cost = frame[0]
            if budget is not None:
                budget.spend(frame[0])
        if budget is not None and budget.overdrawn:
            raise CostExceeded(_OVERSPENT)
        return found

    def names(self) -> frozenset[str]:
        """The variables that the expression mentions."""
        return frozenset(self._names)


__all__ = ["CompileError", "CostExceeded", "Environment", "Program"]
