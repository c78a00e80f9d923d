"""matchConditions: expressions that must all be true for a webhook to be called, or a policy to be applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kumo.kubernetes.apiserver.deliberation import Haste

if TYPE_CHECKING:
    from kumo.kubernetes.apiserver.admission.expressions import Compiled

BUDGET = 2_500_000
"""What all conditions together may cost, a quarter of what validations may."""


class ConditionsFailed(Exception):
    """Conditions can't be evaluated, and failures are not ignored; the message is upstream's."""


class Conditions:
    """The matchConditions of one webhook or policy; compiled when first asked."""

    def __init__(
        self, conditions: Sequence[Mapping[str, Any]], *, ignores_failures: bool, params: bool = False
    ) -> None:
        self._expressions = [(c.get("expression") or "").strip() for c in conditions]
        self._ignores = ignores_failures
        self._params = params

    @cached_property
    def _compiled(self) -> list[Compiled]:
        from kumo.kubernetes.apiserver.admission.expressions import BOOL, Declared, compiled, environment

        where = environment(Declared(params=self._params))
        return [compiled(where, expression, (BOOL,)) for expression in self._expressions]

    @cached_property
    def asks_authorizer(self) -> bool:
        """Whether an expression asks who may do what: that is known on the loop's thread only."""
        return any(expression.asks_authorizer for expression in self._compiled)

    def match(self, bindings: Mapping[str, object], haste: Haste | None = None) -> bool:
        """Whether all are true. One that is false decides, whatever became of the others.

        `haste`: how long to try (see `deliberation`). Raises ConditionsFailed; where failures are ignored, they mean no
        match instead.
        """
        from kumo.kubernetes.apiserver.admission.expressions import Budget, EvaluationError, OutOfBudget, evaluated

        budget = Budget(BUDGET) if haste is None else haste.budget(Budget, BUDGET)
        errors = []
        for expression in self._compiled:
            try:
                if evaluated(expression, bindings, budget) is False:
                    return False
            except EvaluationError as error:
                errors.append(str(error))
            except OutOfBudget as error:
                if self._ignores:
                    return False
                raise ConditionsFailed(str(error)) from None
        if not errors:
            return True
        if self._ignores:
            return False
        unique = list(dict.fromkeys(errors))
        raise ConditionsFailed(unique[0] if len(unique) == 1 else "[" + ", ".join(unique) + "]")
