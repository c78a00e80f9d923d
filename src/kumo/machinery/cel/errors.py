"""What can go wrong with an expression: it does not compile, its evaluation fails, or it costs too much."""

from __future__ import annotations


class CompileError(ValueError):
    """The expression does not parse or does not type-check.

    `message` is what Kubernetes puts behind `compilation failed: ` (lines `ERROR: <input>:1:6: ...` with a caret), or
    the whole complaint (`must evaluate to bool`) when `kind` says that the result's type is wrong.
    """

    def __init__(self, message: str, kind: str = "compile") -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        """`compile` or `type`."""


class CelError(Exception):
    """An evaluation failed (`no such key: x`, `divide by zero`, `index out of bounds: 3`)."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class CostExceeded(CelError):
    """An evaluation hit its own limit (`operation cancelled: actual cost limit exceeded`) or used up the budget."""


class TakesLong(Exception):
    """An evaluation has come to the end of its budget's patience; it can be made anew where nobody waits."""
