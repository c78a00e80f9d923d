"""Where expressions are compiled: the variables and types that they may name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kumo.kubernetes.apiserver.cel.budget import Budget
from kumo.kubernetes.apiserver.cel.errors import CompileError, CostExceeded
from kumo.kubernetes.apiserver.cel.types import Type


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
        `must evaluate to bool` (`must evaluate to one of [...]`) for a wrong result type.
        """
        raise NotImplementedError


class Program:
    """A compiled expression. `type` is its result's type (DYN when unknown)."""

    type: Type
    expression: str

    def evaluate(self, bindings: Mapping[str, object], budget: Budget | None = None) -> object:
        """The value with these variables: JSON-shaped (timestamps, durations, quantities... as their texts).

        Bound values are JSON-shaped and never changed; a `Lazy` of `values` is evaluated when first used. Raises
        CelError, and CostExceeded when a limit is hit (`budget.overdrawn` says whether it was the budget's).
        """
        raise NotImplementedError

    def names(self) -> frozenset[str]:
        """The variables that the expression mentions."""
        raise NotImplementedError


__all__ = ["CompileError", "CostExceeded", "Environment", "Program"]
