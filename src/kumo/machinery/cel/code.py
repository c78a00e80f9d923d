"""The pieces that compiled expressions are made of: closures over a frame.

A frame is a list: the cost so far, the limit, then the variables. Piece by piece `run(frame)` gives the value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import sleep
from typing import Any

from kumo.machinery.cel.errors import CelError, CostExceeded
from kumo.machinery.cel.values import NOTHING, Defaulted, Lazy, Optional, contains, some, type_of_value

Frame = list[Any]
Run = Callable[[Frame], Any]
_SLICE = 6_000
"""The cost after which an evaluation in a thread pauses: about two milliseconds'."""
_PAUSE = 0.0005
UNBOUND = object()
"""What stands in the frame for a variable that has no value."""
COST, LIMIT, FIRST = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Code:
    """A compiled piece. `base`: what of its cost falls away when it becomes part of a longer attribute."""

    run: Run
    attribute: bool = False
    base: int = 0
    constant: bool = False
    value: Any = None


def constant(value: Any) -> Code:
    """A piece that is always the same, and free."""
    return Code(lambda f: value, constant=True, value=value)


class Slice(int):
    """A limit at which an evaluation in a thread of its own lets other threads run, up to the true limit `whole`."""

    whole: int

    @classmethod
    def of(cls, cost: int, whole: int) -> Slice:
        """The next slice of an evaluation that has cost so much."""
        found = cls(min(cost + _SLICE, whole))
        found.whole = whole
        return found


def over_limit(frame: Frame) -> None:
    """Raise CostExceeded when the frame's cost is over its limit."""
    limit = frame[LIMIT]
    if frame[COST] <= limit:
        return
    if type(limit) is not Slice or frame[COST] > limit.whole:
        raise CostExceeded("operation cancelled: actual cost limit exceeded")
    sleep(_PAUSE)
    frame[LIMIT] = Slice.of(frame[COST], limit.whole)


def no_overload(function: str, args: list[Any]) -> CelError:
    """No form of the function takes such values."""
    if function.startswith(("_", "@", "!", "-")):
        return CelError("no such overload")
    return CelError(f"no such overload: {function}({', '.join(type_of_value(a).name for a in args)})")


def select(value: Any, name: str) -> Any:
    """`value.name`, for what is no plain object. Raises CelError."""
    if type(value) is dict or type(value) is Lazy:
        if name in value:
            return value[name]
        raise CelError(f"no such key: {name}")
    if type(value) is Defaulted:
        return value[name]
    if type(value) is Optional:
        return select_optional(value, name)
    if value is UNBOUND:
        raise CelError("no such attribute(s)")
    if hasattr(value, "cel_fields"):
        return value.cel_fields(name)
    raise CelError(f"no such key: {name}")


def select_optional(value: Any, key: Any) -> Any:
    """`value.?key` and `value[?key]`: an optional value."""
    if type(value) is Optional:
        if not value.present:
            return NOTHING
        value = value.value
    if isinstance(value, dict | Lazy):
        return some(value[key]) if contains(value, key) or type(value) is Defaulted else NOTHING
    if isinstance(value, list) and type(key) is int:
        return some(value[key]) if 0 <= key < len(value) else NOTHING
    raise no_overload("_[?_]", [value, key])


def index(value: Any, key: Any) -> Any:
    """`value[key]`. Raises CelError."""
    if isinstance(value, dict | Lazy):
        if contains(value, key) or type(value) is Defaulted:
            return value[key]
        raise CelError(f"no such key: {key}")
    if isinstance(value, list):
        if type(key) is float and key.is_integer():
            key = int(key)
        if not isinstance(key, int) or isinstance(key, bool):
            raise CelError(f"unsupported index type '{type_of_value(key).name}' in list")
        if 0 <= key < len(value):
            return value[key]
        raise CelError(f"index out of bounds: {key}")
    if type(value) is Optional:
        return select_optional(value, key)
    raise CelError(f"no such key: {key}")


def has(value: Any, name: str) -> bool:
    """`has(value.name)`."""
    if isinstance(value, dict | Lazy):
        return name in value
    if type(value) is Optional:
        return value.present and has(value.value, name)
    if value is UNBOUND:
        raise CelError("no such attribute(s)")
    return False


def path(slot: int, name: str, names: tuple[str, ...]) -> Run:
    """A variable and the fields below it, in one piece."""
    cost = 1 + len(names)
    if not names:

        def variable(f: Frame) -> Any:
            f[0] += 1
            value = f[slot]
            if value is UNBOUND:
                raise CelError(f"no such attribute(s): {name}")
            return value

        return variable

    def run(f: Frame) -> Any:
        f[0] += cost
        value = f[slot]
        for field in names:
            if type(value) is dict:
                try:
                    value = value[field]
                except KeyError:
                    raise CelError(f"no such key: {field}") from None
            elif value is UNBOUND:
                raise CelError(f"no such attribute(s): {name}")
            else:
                value = select(value, field)
        return value

    return run


def conjunction(left: Run, right: Run) -> Run:
    """`left && right`: false beats an error, whichever side it is on."""

    def run(f: Frame) -> Any:
        try:
            first = left(f)
        except CostExceeded:
            raise
        except CelError:
            if _is_false(right, f):
                return False
            raise
        if first is False:
            return False
        second = right(f)
        if first is True and (second is True or second is False):
            return second
        if second is False:
            return False
        raise CelError("no such overload")

    return run


def disjunction(left: Run, right: Run) -> Run:
    """`left || right`: true beats an error, whichever side it is on."""

    def run(f: Frame) -> Any:
        try:
            first = left(f)
        except CostExceeded:
            raise
        except CelError:
            if _is_true(right, f):
                return True
            raise
        if first is True:
            return True
        second = right(f)
        if first is False and (second is True or second is False):
            return second
        if second is True:
            return True
        raise CelError("no such overload")

    return run


def _is_true(run: Run, f: Frame) -> bool:
    try:
        return run(f) is True
    except CostExceeded:
        raise
    except CelError:
        return False


def _is_false(run: Run, f: Frame) -> bool:
    try:
        return run(f) is False
    except CostExceeded:
        raise
    except CelError:
        return False


def not_strictly_false(arg: Run) -> Run:
    """Whether the argument is anything but false, an error included."""

    def run(f: Frame) -> bool:
        f[0] += 1
        try:
            return arg(f) is not False
        except CostExceeded:
            raise
        except CelError:
            return True

    return run


def conditional(test: Run, then: Code, otherwise: Code) -> Run:
    """`test ? then : otherwise`."""
    run_then, run_otherwise, less, other_less = then.run, otherwise.run, then.base, otherwise.base

    def run(f: Frame) -> Any:
        found = test(f)
        if found is True:
            f[0] -= less
            return run_then(f)
        if found is False:
            f[0] -= other_less
            return run_otherwise(f)
        raise CelError("no such overload")

    return run
