"""`variables` of policies: expressions with names, which later expressions use; evaluated when first used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from kumo.kubernetes.apiserver.admission.expressions import Budget, Compiled, Declared, Type, compiled, environment
from kumo.machinery.cel import CelError, CostExceeded, Environment, struct
from kumo.machinery.cel.types import DYN
from kumo.machinery.cel.values import Lazy

_TYPE_NAME = "kubernetes.variables"


class Variables:
    """The variables of one policy, in order; each sees those before it."""

    def __init__(self) -> None:
        self._types: dict[str, Type] = {}
        self._compiled: dict[str, Compiled] = {}

    def add(self, where: Environment, name: str, expression: str) -> Compiled:
        """Compile a variable in an environment that `environment` gave, and let later expressions use it."""
        found = compiled(where, expression)
        self._compiled[name] = found
        self._types[name] = found.program.type if found.program is not None else DYN
        return found

    def environment(self, declared: Declared, objects: Type = DYN) -> Environment:
        """The environment with the variables that there are so far."""
        base = environment(declared, objects)
        if not self._types and not declared.patches:
            return base
        return base.extend({"variables": struct(_TYPE_NAME, dict(self._types))})

    @property
    def asks_authorizer(self) -> bool:
        """Whether a variable asks who may do what."""
        return any(expression.asks_authorizer for expression in self._compiled.values())

    def bound(self, bindings: Mapping[str, object], budget: Budget) -> Mapping[str, object]:
        """The bindings with the variable `variables`, for expressions of one evaluation."""
        if not self._compiled:
            return bindings
        found: dict[str, object] = dict(bindings)
        fields: dict[str, Callable[[], Any]] = {
            name: partial(_value, name, expression, found, budget) for name, expression in self._compiled.items()
        }
        found["variables"] = Lazy(fields)
        return found


def _value(name: str, expression: Compiled, bindings: Mapping[str, object], budget: Budget) -> Any:
    if expression.program is None:
        raise CelError(f'composited variable "{name}" fails to compile: {expression.error}')
    try:
        return expression.program.value(bindings, budget)
    except CostExceeded:
        raise
    except CelError as error:
        raise CelError(f'composited variable "{name}" fails to evaluate: {error.message}') from None
