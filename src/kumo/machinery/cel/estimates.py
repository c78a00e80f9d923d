"""What an expression may cost at most, from the limits that schemas declare (cel-go's checker/cost)."""

from __future__ import annotations

from collections.abc import Sequence

from kumo.machinery.cel import estimated_calls
from kumo.machinery.cel.costs import LIST_COST, MAP_COST, STRUCT_COST
from kumo.machinery.cel.ranges import FREE, ONE, UNKNOWN, Range
from kumo.machinery.cel.schemas import Declaration
from kumo.machinery.cel.syntax import (
    ACCUMULATOR,
    Call,
    Comprehension,
    Expr,
    Ident,
    ListExpr,
    Literal,
    MapExpr,
    Select,
    StructExpr,
)
from kumo.machinery.cel.types import Type
from kumo.machinery.cel.visiting import Visitor

Path = tuple[str, ...]
_SCALARS = ("bool", "double", "duration", "int", "timestamp", "uint")


def estimate(root: Expr, declared: Declaration) -> Range:
    """The least and the greatest cost of the checked expression, whose variables are all declared so (`self`)."""
    return Estimator(declared).visit(root)


class _Local:
    """A variable of a loop or a binding: where its values come from, and how big they are."""

    __slots__ = ("entries", "path", "size")

    def __init__(self, path: Path, size: Range | None, entries: tuple[str, Range, Range] | None = None) -> None:
        self.path = path
        self.size = size
        self.entries = entries


class Estimator(Visitor[Range]):
    """The estimate of one expression: the cost of each node with all below it."""

    def __init__(self, declared: Declaration) -> None:
        self._declared = declared
        self._paths: dict[int, Path] = {}
        self._sizes: dict[int, Range] = {}
        self._entries: dict[int, tuple[str, Range, Range]] = {}
        """Of lists and maps: kind, sizes of keys and of values."""
        self._locals: dict[str, list[_Local]] = {}
        self._kept: list[Expr] = []

    # -- sizes ------------------------------------------------------------------------------------------------------

    def _local(self, name: str) -> _Local | None:
        stack = self._locals.get(name)
        return stack[-1] if stack else None

    def path(self, node: Expr) -> Path:
        """Where in the schema the node's value stands; empty when it is of the expression's own making."""
        if isinstance(node, Ident):
            local = self._local(node.name)
            if local is not None:
                return local.path
        return self._paths.get(id(node), ())

    def declaration(self, path: Path) -> Declaration | None:
        """What is declared there (of what is not below a variable, the root: upstream takes it for that too)."""
        if not path:
            return None
        found: Declaration | None = self._declared
        for step in path[1:]:
            if found is None:
                return None
            if step in ("@items", "@values"):
                found = found.items
            elif step == "@keys":
                found = found.keys
            else:
                found = found.fields.get(step)
        return found

    def known_size(self, node: Expr) -> Range | None:
        """The size of the node's value, if anything is known of it."""
        known = self._sizes.get(id(node))
        if known is not None:
            return known
        exact = _exact_size(node)
        if exact is not None:
            return Range(exact, exact)
        declared = self.declaration(self.path(node))
        if declared is not None:
            found = self._sizes[id(node)] = Range(0, declared.most)
            self._kept.append(node)
            return found
        if _is_scalar(node.type):
            return ONE
        if isinstance(node, Ident):
            local = self._local(node.name)
            if local is not None and local.size is not None:
                return local.size
        return None

    def size(self, node: Expr) -> Range:
        """The size of the node's value."""
        return self.known_size(node) or UNKNOWN

    def element_size(self, node: Expr) -> Range:
        """The size of the items of the node's list."""
        path = self.path(node)
        declared = self.declaration((*path, "@items")) if path else None
        return Range(0, declared.most) if declared is not None else UNKNOWN

    def entries(self, node: Expr) -> tuple[str, Range, Range] | None:
        """Kind, sizes of keys and of values of the node's list or map."""
        known = self._entries.get(id(node))
        if known is None and isinstance(node, Ident):
            local = self._local(node.name)
            return local.entries if local is not None else None
        return known

    def note(self, node: Expr, size: Range | None, entries: tuple[str, Range, Range] | None = None) -> None:
        """Keep what is known of a node's value."""
        self._kept.append(node)
        if size is not None:
            self._sizes[id(node)] = size
        if entries is not None:
            self._entries[id(node)] = entries

    # -- costs ------------------------------------------------------------------------------------------------------

    def _literal(self, node: Literal) -> Range:
        return FREE

    def _ident(self, node: Ident) -> Range:
        local = self._local(node.name)
        self._paths[id(node)] = local.path if local is not None else (node.name,)
        return ONE

    def _struct(self, node: StructExpr) -> Range:
        total = Range(STRUCT_COST, STRUCT_COST)
        for _, value, _, _ in node.fields:
            total = total.plus(self.visit(value))
        return total

    def _select(self, node: Select) -> Range:
        total = self.visit(node.operand)
        if node.test:
            return total
        if node.operand.type.kind in ("map", "struct", "param"):
            total = total.plus(ONE)
        self._paths[id(node)] = (*self.path(node.operand), node.field)
        return total

    def _call(self, node: Call) -> Range:
        if node.function == "dyn":
            total = self.visit(node.args[0]).plus(ONE)
            self.note(node, self.known_size(node.args[0]), self.entries(node.args[0]))
            return total
        costs = [self.visit(arg) for arg in node.args]
        total = self.visit(node.target) if node.target is not None else FREE
        for arg in (node.target, *node.args):
            if arg is not None:
                self.known_size(arg)
        found: Range | None = None
        size: Range | None = None
        for overload in node.overloads:
            cost, result = estimated_calls.call(self, node, overload, costs)
            found = cost if found is None else found.union(cost)
            if result is not None:
                size = result if size is None else size.union(result)
            if overload.id in ("index_list", "index_map"):
                entries = self.entries(node.args[0])
                size = entries[2] if entries is not None else None
                step = "@items" if overload.id == "index_list" else "@values"
                self._paths[id(node)] = (*self.path(node.args[0]), step)
            if size is None:
                size = self.known_size(node)
        self.note(node, size)
        return total.plus(found or FREE)

    def _joined_sizes(self, nodes: Sequence[Expr]) -> Range:
        found: Range | None = None
        for node in nodes:
            size = self.size(node)
            found = size if found is None else found.union(size)
        return found or FREE

    def _list(self, node: ListExpr) -> Range:
        total = Range(LIST_COST, LIST_COST)
        for element in node.elements:
            total = total.plus(self.visit(element))
        self.note(node, None, ("list", ONE, self._joined_sizes(node.elements)))
        return total

    def _map(self, node: MapExpr) -> Range:
        total = Range(MAP_COST, MAP_COST)
        for key, value, _ in node.entries:
            total = total.plus(self.visit(key)).plus(self.visit(value))
        keys, values = [e[0] for e in node.entries], [e[1] for e in node.entries]
        self.note(node, None, ("map", self._joined_sizes(keys), self._joined_sizes(values)))
        return total

    def _push(self, name: str, local: _Local) -> None:
        self._locals.setdefault(name, []).append(local)

    def _push_loop(self, node: Comprehension) -> None:
        entries = self.entries(node.range)
        path = self.path(node.range)
        kind = entries[0] if entries is not None else node.range.type.kind
        key_size, value_size = (entries[1], entries[2]) if entries is not None else (None, None)
        if node.var2:
            self._push(node.var, _Local((*path, "@indices" if kind == "list" else "@keys"), key_size))
            self._push(node.var2, _Local((*path, "@items" if kind == "list" else "@values"), value_size))
        elif kind == "list":
            self._push(node.var, _Local((*path, "@items"), value_size))
        else:
            self._push(node.var, _Local((*path, "@keys"), key_size))

    def _fold(self, node: Comprehension) -> Range:
        total = self.visit(node.range).plus(self.visit(node.init))
        init = node.init
        self._push(node.accumulator, _Local(self.path(init), self.known_size(init), self.entries(init)))
        self._push_loop(node)
        loop = self.visit(node.condition).plus(self.visit(node.step))
        self._locals[node.var].pop()
        if node.var2:
            self._locals[node.var2].pop()
        total = total.plus(self.visit(node.result))
        self._locals[node.accumulator].pop()
        count = self.size(node.range)
        total = total.plus(count.times(loop))
        if isinstance(init, Literal):
            self.note(node, self.known_size(init))
        elif isinstance(init, ListExpr | MapExpr):
            self.note(node, count, self.entries(node.step))
        return total

    def _bind(self, node: Comprehension) -> Range:
        total = self.visit(node.range).plus(self.visit(node.init))
        init = node.init
        self._push(node.accumulator, _Local(self.path(init), self.known_size(init), self.entries(init)))
        total = total.plus(self.visit(node.result))
        size, entries = self.known_size(node.result), self.entries(node.result)
        self._locals[node.accumulator].pop()
        self.note(node, size, entries)
        return total


def _exact_size(node: Expr) -> int | None:
    if isinstance(node, Literal):
        return len(node.value) if isinstance(node.value, str | bytes) else 1
    if isinstance(node, ListExpr):
        return len(node.elements)
    return len(node.entries) if isinstance(node, MapExpr) else None


def _is_scalar(kind: Type) -> bool:
    if kind.name == "optional_type":
        return _is_scalar(kind.parameters[0])
    return kind.kind in _SCALARS


__all__ = ["ACCUMULATOR", "Estimator", "estimate"]
