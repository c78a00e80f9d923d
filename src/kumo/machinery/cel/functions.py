"""Functions: their overloads, with type, code and cost. Libraries write them down as lines of a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kumo.machinery.cel import types
from kumo.machinery.cel.types import Type

Code = Callable[..., Any]
Cost = Callable[[Sequence[Any], Any], int]
"""What a call costs, of its arguments (the target first) and its result."""


@dataclass(frozen=True, slots=True, eq=False)
class Overload:
    """One form of a function. `params` begin with the target's type when `member`.

    `cost` of None is 1. `by_name`: the cost counts although it is open which overload is meant (Kubernetes' functions).
    """

    id: str
    function: str
    params: tuple[Type, ...]
    result: Type
    member: bool
    code: Code
    cost: Cost | None = None
    by_name: bool = False
    generic: frozenset[Type] = frozenset()


_PLAIN: Mapping[str, Type] = {
    t.name: t
    for t in (
        types.DYN, types.BOOL, types.INT, types.UINT, types.DOUBLE, types.STRING, types.BYTES, types.NULL,
        types.TIMESTAMP, types.DURATION,
    )
}  # fmt: skip
_LINE = re.compile(r"(?P<id>[^\s=]+) = (?:(?P<target>[^()]+?)\.)?\((?P<args>.*)\) -> (?P<result>.+)")
_TOKENS = re.compile(r"[\w.]+|[<>,]")


def parse_type(text: str, named: Mapping[str, Type]) -> Type:
    """A type out of a table: `list<T>`, `map<K,V>`, `optional<T>`, a plain one, one of `named`; capitals are free."""
    parts = _TOKENS.findall(text)
    found, rest = _parse(parts, named)
    assert not rest, text
    return found


def _parse(parts: list[str], named: Mapping[str, Type]) -> tuple[Type, list[str]]:
    head, rest = parts[0], parts[1:]
    inner: list[Type] = []
    if rest and rest[0] == "<":
        while rest[0] != ">":
            one, rest = _parse(rest[1:], named)
            inner.append(one)
        rest = rest[1:]
    makers: dict[str, Callable[..., Type]] = {
        "list": types.list_of,
        "map": types.map_of,
        "optional": types.optional_of,
        "type": types.type_of,
    }
    if inner:
        return makers[head](*inner), rest
    if len(head) == 1 and head.isupper():
        return types.parameter(head), rest
    return named.get(head) or _PLAIN[head], rest


def _parameters(found: Type) -> set[Type]:
    if found.kind == "param":
        return {found}
    return set().union(*map(_parameters, found.parameters)) if found.parameters else set()


def overload(
    function: str,
    line: str,
    code: Code,
    cost: Cost | None = None,
    *,
    by_name: bool = False,
    named: Mapping[str, Type] | None = None,
) -> Overload:
    """An overload out of a line like `string_find = string.(string) -> string`."""
    match = _LINE.fullmatch(line)
    assert match is not None, line
    named = named or {}
    target = match["target"]
    args = [parse_type(a, named) for a in _split(match["args"])]
    params = ([parse_type(target, named)] if target else []) + args
    result = parse_type(match["result"], named)
    free = set().union(_parameters(result), *map(_parameters, params))
    return Overload(
        match["id"], function, tuple(params), result, target is not None, code, cost, by_name, frozenset(free)
    )


def _split(text: str) -> list[str]:
    """The parts between the commas that are in no brackets."""
    found, depth, begun = [], 0, 0
    for at, character in enumerate(text):
        depth += {"<": 1, ">": -1}.get(character, 0)
        if character == "," and not depth:
            found.append(text[begun:at])
            begun = at + 1
    return [p.strip() for p in [*found, text[begun:]] if p.strip()]
