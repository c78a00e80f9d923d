"""Checks of constant arguments after the type check: patterns, durations, timestamps (cel-go's AST validators)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from kumo.machinery.cel.errors import CelError
from kumo.machinery.cel.libraries.formatting import VERBS
from kumo.machinery.cel.source import Issues
from kumo.machinery.cel.syntax import (
    Call,
    Comprehension,
    Expr,
    ListExpr,
    Literal,
    MapExpr,
    Select,
    StructExpr,
)
from kumo.machinery.cel.times import parse_duration, parse_timestamp
from kumo.machinery.cel.types import Type


def _pattern(text: str) -> object:
    from kumo.machinery.cel.libraries.strings import regex

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


def check_mixed(root: Expr, issues: Issues) -> None:
    """Report lists and maps of mixed types, but for those in arguments of `format`."""
    exempt: set[int] = set()
    for node in nodes(root):
        if isinstance(node, Call) and node.function == "format":
            for arg in node.args:
                exempt.update(id(below) for below in nodes(arg))
            _check_format(node, issues)
    for node in nodes(root):
        if id(node) in exempt:
            continue
        if isinstance(node, ListExpr):
            _alike(node.elements, [i in node.optional for i in range(len(node.elements))], issues)
        elif isinstance(node, MapExpr):
            _alike([e[0] for e in node.entries], [False] * len(node.entries), issues)
            _alike([e[1] for e in node.entries], [e[2] for e in node.entries], issues)


def _alike(parts: list[Expr], optional: list[bool], issues: Issues) -> None:
    wanted: Type | None = None
    for part, maybe in zip(parts, optional, strict=True):
        found = part.type.parameters[0] if maybe and part.type.name == "optional_type" else part.type
        if wanted is None:
            wanted = found
        elif found != wanted:
            issues.report(part.offset, f"expected type '{wanted}' but found '{found}'")
            return


def _check_format(node: Call, issues: Issues) -> None:
    template, args = node.target, node.args[0] if node.args else None
    if not isinstance(template, Literal) or not isinstance(template.value, str) or not isinstance(args, ListExpr):
        return
    verbs = [v for v in re.findall(r"%(?:(%)|(?:\.\d+)?(.)|$)", template.value, re.DOTALL) if not v[0]]
    for index, (_, verb) in enumerate(verbs):
        if not verb:
            issues.report(node.offset, "unexpected end of string")
            return
        if index >= len(args.elements):
            issues.report(node.offset, f"index {index} out of range")
            return
        if verb not in VERBS:
            text = f'could not parse formatting clause: unrecognized formatting clause "{verb}"'
            issues.report(node.offset, text)
            return
        kinds, what = VERBS[verb]
        given = args.elements[index]
        if given.type.kind not in kinds and given.type.kind not in ("dyn", "param"):
            issues.report(given.offset, f"error during formatting: {what}, was given {given.type.name}")
            return
    if len(args.elements) > len(verbs):
        wanted, found = len(verbs), len(args.elements)
        issues.report(node.offset, f"too many arguments supplied to string.format (expected {wanted}, got {found})")


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
