"""Checks of constant arguments after the type check: patterns, durations, timestamps (cel-go's AST validators)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kumo.kubernetes.apiserver.cel.errors import CelError
from kumo.kubernetes.apiserver.cel.source import Issues
from kumo.kubernetes.apiserver.cel.syntax import (
    Call,
    Comprehension,
    Expr,
    ListExpr,
    Literal,
    MapExpr,
    Select,
    StructExpr,
)
from kumo.kubernetes.apiserver.cel.times import parse_duration, parse_timestamp


def _pattern(text: str) -> object:
    from kumo.kubernetes.apiserver.cel.libraries.strings import regex

    return regex(text)


_CHECKS: dict[str, Callable[[str], object]] = {
    "duration": parse_duration,
    "timestamp": parse_timestamp,
    "matches": _pattern,
}


def check_literals(root: Expr, issues: Issues) -> None:
    """Report constants that the function they are given to can't read."""
    for node in nodes(root):
        if isinstance(node, Call) and node.function in _CHECKS and node.args:
            argument = node.args[-1]
            if isinstance(argument, Literal) and isinstance(argument.value, str):
                try:
                    _CHECKS[node.function](argument.value)
                except (ValueError, CelError):
                    issues.report(argument.offset, f"invalid {node.function} argument")


def nodes(root: Expr) -> Iterator[Expr]:
    """All nodes of the tree, without recursion."""
    left = [root]
    while left:
        node = left.pop()
        yield node
        if isinstance(node, Call):
            left += node.args
            if node.target is not None:
                left.append(node.target)
        elif isinstance(node, Select):
            left.append(node.operand)
        elif isinstance(node, ListExpr):
            left += node.elements
        elif isinstance(node, MapExpr):
            for key, value, _ in node.entries:
                left += [key, value]
        elif isinstance(node, StructExpr):
            left += [value for _, value, _, _ in node.fields]
        elif isinstance(node, Comprehension):
            left += [node.range, node.init, node.condition, node.step, node.result]
