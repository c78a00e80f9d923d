"""What evaluations may cost at run time, in cel-go's cost units (k8s.io/apiserver/pkg/apis/cel)."""

from __future__ import annotations

PER_CALL_LIMIT = 1_000_000
"""What one evaluation of one expression may cost."""
RUNTIME_BUDGET = 10_000_000
"""What all expressions together may cost for one object or one policy."""


class Budget:
    """The cost that is left to a group of evaluations; each `Program.evaluate` takes from it.

    `remaining` may end below zero: then the evaluation that did so raised `CostExceeded` with `overdrawn` set.
    `patience` is what may be spent before an evaluation raises `TakesLong`; None for all that there is. `considerate`:
    evaluations, which are in a thread, let other threads run every now and then.
    """

    __slots__ = ("considerate", "overdrawn", "patience", "per_call", "remaining")

    def __init__(
        self,
        total: int = RUNTIME_BUDGET,
        per_call: int = PER_CALL_LIMIT,
        patience: int | None = None,
        *,
        considerate: bool = False,
    ) -> None:
        self.remaining = total
        self.per_call = per_call
        self.patience = patience
        self.considerate = considerate
        self.overdrawn = False

    @property
    def limit(self) -> int:
        """What the next evaluation may cost before it is stopped."""
        return self.per_call if self.patience is None else min(self.per_call, max(self.patience, 0))

    def spend(self, cost: int) -> bool:
        """Take `cost`; whether there was enough."""
        self.remaining -= cost
        if self.patience is not None:
            self.patience -= cost
        if self.remaining < 0:
            self.overdrawn = True
        return not self.overdrawn
