"""The syntax tree of an expression, as the parser makes it: macros are expanded already.

Nodes carry `offset` (where messages point to), and after the check `type` and, of calls, `overloads`.
"""

from __future__ import annotations

from typing import Any

from kumo.machinery.cel.types import DYN, Type

ACCUMULATOR = "@result"


class Expr:
    """Any node."""

    __slots__ = ("offset", "type")

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.type: Type = DYN


class Literal(Expr):
    """A constant: None, bool, int, `Uint`, float, str or bytes."""

    __slots__ = ("value",)

    def __init__(self, offset: int, value: Any) -> None:
        super().__init__(offset)
        self.value = value


class Ident(Expr):
    """A name; after the check `constant` holds the value of a type's name."""

    __slots__ = ("constant", "name")

    def __init__(self, offset: int, name: str) -> None:
        super().__init__(offset)
        self.name = name
        self.constant: Type | None = None


class Select(Expr):
    """`operand.field`, or `has(operand.field)` when `test`."""

    __slots__ = ("field", "operand", "test")

    def __init__(self, offset: int, operand: Expr, field: str, test: bool = False) -> None:
        super().__init__(offset)
        self.operand = operand
        self.field = field
        self.test = test


class Call(Expr):
    """`function(args)` or `target.function(args)`; operators have names like `_+_`."""

    __slots__ = ("args", "function", "overloads", "target")

    def __init__(self, offset: int, function: str, args: list[Expr], target: Expr | None = None) -> None:
        super().__init__(offset)
        self.function = function
        self.args = args
        self.target = target
        self.overloads: tuple[Any, ...] = ()


class ListExpr(Expr):
    """`[a, ?b]`; `optional` holds the indexes of elements with a question mark."""

    __slots__ = ("elements", "optional")

    def __init__(self, offset: int, elements: list[Expr], optional: frozenset[int] = frozenset()) -> None:
        super().__init__(offset)
        self.elements = elements
        self.optional = optional


class MapExpr(Expr):
    """`{k: v, ?k: v}`; an entry is (key, value, whether it has a question mark)."""

    __slots__ = ("entries",)

    def __init__(self, offset: int, entries: list[tuple[Expr, Expr, bool]]) -> None:
        super().__init__(offset)
        self.entries = entries


class StructExpr(Expr):
    """`Name{field: value}`; a field is (name, value, optional, offset)."""

    __slots__ = ("fields", "name")

    def __init__(self, offset: int, name: str, fields: list[tuple[str, Expr, bool, int]]) -> None:
        super().__init__(offset)
        self.name = name
        self.fields = fields


class Comprehension(Expr):
    """A fold over a list or a map: what macros like `all` become. `var2` is empty for one variable."""

    __slots__ = ("accumulator", "condition", "init", "range", "result", "step", "var", "var2")

    def __init__(
        self,
        offset: int,
        over: Expr,
        var: str,
        var2: str,
        accumulator: str,
        init: Expr,
        condition: Expr,
        step: Expr,
        result: Expr,
    ) -> None:
        super().__init__(offset)
        self.range = over
        self.var = var
        self.var2 = var2
        self.accumulator = accumulator
        self.init = init
        self.condition = condition
        self.step = step
        self.result = result


def is_bind(node: Comprehension) -> bool:
    """Whether the fold only binds a name (`sortBy`'s expansion)."""
    return (
        isinstance(node.range, ListExpr)
        and not node.range.elements
        and isinstance(node.condition, Literal)
        and node.condition.value is False
        and node.accumulator != ACCUMULATOR
    )


def qualified_name(node: Expr) -> str:
    """`a.b.c` when the node is a chain of plain selections, or an empty text."""
    parts: list[str] = []
    while isinstance(node, Select) and not node.test:
        parts.append(node.field)
        node = node.operand
    if not isinstance(node, Ident):
        return ""
    parts.append(node.name)
    return ".".join(reversed(parts))
