"""What calls cost at run time (cel-go's interpreter/runtimecost, Kubernetes' cel/library/cost)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from kumo.machinery.cel.functions import Cost
from kumo.machinery.cel.values import size, traversal_cost

STRING_FACTOR = 0.1
REGEX_FACTOR = 0.25
LIST_COST = 10
MAP_COST = 30
STRUCT_COST = 40
CHECK_COST = 350_000


def factor(value: float) -> int:
    """A cost that grows with a size, rounded up."""
    return math.ceil(value)


def traversed(index: int = 0, times: int = 1) -> Cost:
    """The cost of going through the text of an argument so many times."""

    def cost(args: Sequence[Any], result: Any) -> int:
        return math.ceil(size(args[index]) * times * STRING_FACTOR)

    return cost


def fixed(amount: int) -> Cost:
    """Always the same cost."""
    return lambda args, result: amount


def walked(args: Sequence[Any], result: Any) -> int:
    """The cost of a walk through the first argument."""
    return traversal_cost(args[0])


def joined(args: Sequence[Any], result: Any) -> int:
    """The cost of a text put together."""
    return math.ceil(size(result) * 2 * STRING_FACTOR)


def added(args: Sequence[Any], result: Any) -> int:
    """The cost of two texts put together."""
    return math.ceil((size(args[0]) + size(args[1])) * STRING_FACTOR)


def smaller(args: Sequence[Any], result: Any) -> int:
    """The cost of a comparison, which the smaller one limits."""
    return math.ceil(min(size(args[0]), size(args[1])) * STRING_FACTOR)


def contained(args: Sequence[Any], result: Any) -> int:
    """The cost of looking for a text in a text."""
    return math.ceil(size(args[0]) * STRING_FACTOR) * math.ceil(size(args[1]) * STRING_FACTOR)


def matched(args: Sequence[Any], result: Any) -> int:
    """The cost of a regular expression (the second argument) on a text."""
    return math.ceil((1.0 + size(args[0])) * STRING_FACTOR) * math.ceil(size(args[1]) * REGEX_FACTOR)


def listed(args: Sequence[Any], result: Any) -> int:
    """The cost of a list made of the size of the result."""
    return size(result) + 1 + LIST_COST


def flattened(args: Sequence[Any], result: Any) -> int:
    """The cost of a list made flat."""
    depth = args[1] if len(args) == 2 else 1
    return int(size(args[0]) * float(depth)) + 1 + LIST_COST


def compared(index: int) -> Cost:
    """The cost of comparing the items of a list with each other."""

    def cost(args: Sequence[Any], result: Any) -> int:
        items = args[index]
        each = 2.0 + (STRING_FACTOR if items and isinstance(items[0], str | bytes) else 0)
        return int(len(items) ** 2 * each) + 1 + LIST_COST

    return cost
