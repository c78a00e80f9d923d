"""From a checked tree to closures that count their cost as cel-go does (interpreter/planner, runtimecost)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kumo.machinery.cel import code, folds
from kumo.machinery.cel.code import Code, Frame, Run
from kumo.machinery.cel.costs import LIST_COST, MAP_COST, STRUCT_COST
from kumo.machinery.cel.errors import CelError, CompileError
from kumo.machinery.cel.escaping import unescaped
from kumo.machinery.cel.functions import Overload
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
    qualified_name,
)
from kumo.machinery.cel.types import Type
from kumo.machinery.cel.values import Optional, contains, equal, fits
from kumo.machinery.cel.visiting import Visitor

_CONVERSIONS = frozenset(("bool", "bytes", "double", "dyn", "duration", "int", "string", "timestamp", "type", "uint"))
_BROKEN = (TypeError, AttributeError, ValueError, KeyError, IndexError, OverflowError, ZeroDivisionError)


class Compiler(Visitor[Code]):
    """Makes the closures of one expression; `variables` says where they are in the frame, `size` how long it gets."""

    def __init__(self, variables: Mapping[str, int]) -> None:
        self._scopes: list[dict[str, int]] = [dict(variables)]
        self.size = code.FIRST + len(variables)

    def run(self, root: Expr) -> Run:
        """The whole expression. Raises CompileError for constants that can't be converted."""
        return self.visit(root).run

    def _slot(self) -> int:
        self.size += 1
        return self.size - 1

    def _find(self, name: str) -> int | None:
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        return None

    def _literal(self, node: Literal) -> Code:
        return code.constant(node.value)

    # -- names and fields -------------------------------------------------------------------------------------------

    def _ident(self, node: Ident) -> Code:
        slot = self._find(node.name)
        if slot is None:
            return code.constant(node.constant)
        return Code(code.path(slot, node.name, ()), attribute=True, base=1)

    def _select(self, node: Select) -> Code:
        if node.type.kind == "type" and not node.test:
            return code.constant(node.type.parameters[0])
        whole = "" if node.test else qualified_name(node)
        if whole and (slot := self._find(whole)) is not None:
            return Code(code.path(slot, whole, ()), attribute=True, base=1)
        name = _field_name(node.operand.type, node.field)
        if node.test:
            return self._test(node, name)
        names = [name]
        operand = node.operand
        while isinstance(operand, Select) and not operand.test and operand.type.kind != "type":
            names.append(_field_name(operand.operand.type, operand.field))
            operand = operand.operand
        if isinstance(operand, Ident) and self._find(operand.name) is not None:
            slot = self._find(operand.name)
            assert slot is not None
            return Code(code.path(slot, operand.name, tuple(reversed(names))), attribute=True, base=1)
        below = self.visit(node.operand)
        return self._qualified(below, lambda value, f: code.select(value, name))

    def _qualified(self, below: Code, step: Any) -> Code:
        """One more qualifier on an attribute (or on a value, which becomes one)."""
        inner, cost = below.run, 1 if below.attribute else 2

        def run(f: Frame) -> Any:
            f[0] += cost
            return step(inner(f), f)

        return Code(run, attribute=True, base=below.base if below.attribute else 1)

    def _test(self, node: Select, name: str) -> Code:
        below = self.visit(node.operand)
        inner, cost = below.run, 1 - below.base

        def run(f: Frame) -> bool:
            f[0] += cost
            value = inner(f)
            return name in value if type(value) is dict else code.has(value, name)

        return Code(run, attribute=True)

    def _index(self, node: Call, optional: bool) -> Code:
        below, key = self.visit(node.args[0]), self.visit(node.args[1])
        step = code.select_optional if optional else code.index
        if optional and node.function == "_?._":
            key = code.constant(_field_name(node.args[0].type, key.value))
        if key.constant and optional:
            return self._maybe(below, key.value)
        if key.constant:
            return self._qualified(below, lambda value, f: step(value, key.value))
        inner, find = below.run, key.run
        cost = (0 if key.attribute else 1) + (0 if below.attribute else 1)

        def run(f: Frame) -> Any:
            f[0] += cost
            value = inner(f)
            return step(value, find(f))

        return Code(run, attribute=True, base=below.base if below.attribute else 1)

    def _maybe(self, below: Code, key: Any) -> Code:
        """`below.?key`: an optional value; what is not there costs nothing."""
        inner, extra = below.run, 0 if below.attribute else 1

        def run(f: Frame) -> Any:
            found = code.select_optional(inner(f), key)
            f[0] += extra + found.present
            return found

        return Code(run, attribute=True, base=below.base if below.attribute else 1)

    # -- calls ------------------------------------------------------------------------------------------------------

    def _call(self, node: Call) -> Code:
        function = node.function
        if function in ("_?._", "_[?_]", "_[_]"):
            return self._index(node, function != "_[_]")
        args = [self.visit(a) for a in ([node.target] if node.target is not None else []) + node.args]
        if function == "_&&_":
            return Code(code.conjunction(args[0].run, args[1].run))
        if function == "_||_":
            return Code(code.disjunction(args[0].run, args[1].run))
        if function == "_?_:_":
            return Code(code.conditional(args[0].run, args[1], args[2]), attribute=True)
        if function == "@not_strictly_false":
            return Code(code.not_strictly_false(args[0].run))
        if function in ("or", "orValue") and node.target is not None:
            return Code(_or_value(args[0].run, args[1].run, function == "or"))
        if function == "_==_" or function == "_!=_":
            return Code(_equality(args[0].run, args[1].run, node, function == "_==_"))
        if function == "@in" and args[1].constant and isinstance(args[1].value, list):
            return self._member_of(args[0], args[1].value)
        called = _called(node, [a.run for a in args])
        if function in _CONVERSIONS and len(args) == 1 and args[0].constant:
            return _folded(called)
        return Code(called)

    def _member_of(self, item: Code, items: list[Any]) -> Code:
        """`in` a list that is known: a look into a set, and free."""
        if not items:
            return code.constant(False)
        find, texts = item.run, frozenset(i for i in items if type(i) is str)
        if len(texts) == len(set(map(repr, items))):
            return Code(_among(find, texts))
        return Code(lambda f: contains(items, find(f)))

    # -- literals ---------------------------------------------------------------------------------------------------

    def _list(self, node: ListExpr) -> Code:
        parts = [self.visit(e) for e in node.elements]
        if all(p.constant for p in parts) and not node.optional:
            return code.constant([p.value for p in parts])
        runs = [(p.run, i in node.optional) for i, p in enumerate(parts)]
        plain = [p.run for p in parts]

        def simple(f: Frame) -> list[Any]:
            f[0] += LIST_COST
            return [run(f) for run in plain]

        def run(f: Frame) -> list[Any]:
            f[0] += LIST_COST
            out = []
            for element, optional in runs:
                value = element(f)
                if optional:
                    if type(value) is not Optional:
                        raise CelError(f"cannot initialize optional list element from non-optional value {value}")
                    if not value.present:
                        continue
                    value = value.value
                out.append(value)
            return out

        return Code(run if node.optional else simple)

    def _map(self, node: MapExpr) -> Code:
        parts = [(self.visit(k), self.visit(v), optional) for k, v, optional in node.entries]
        if all(k.constant and v.constant and not o for k, v, o in parts):
            return _folded(lambda f: {_key(k.value): v.value for k, v, _ in parts})
        runs = [(k.run, v.run, o) for k, v, o in parts]

        def run(f: Frame) -> dict[Any, Any]:
            f[0] += MAP_COST
            out: dict[Any, Any] = {}
            for key, value, optional in runs:
                _put(out, _key(key(f)), value(f), optional)
            return out

        return Code(run)

    def _struct(self, node: StructExpr) -> Code:
        runs = [(unescaped(name), self.visit(value).run, optional) for name, value, optional, _ in node.fields]

        def run(f: Frame) -> dict[str, Any]:
            f[0] += STRUCT_COST
            out: dict[str, Any] = {}
            for name, value, optional in runs:
                _put(out, name, value(f), optional)
            return out

        return Code(run)

    # -- loops ------------------------------------------------------------------------------------------------------

    def _bind(self, node: Comprehension) -> Code:
        init, slot = self.visit(node.init), self._slot()
        self._scopes.append({node.accumulator: slot})
        result = self.visit(node.result)
        self._scopes.pop()
        return Code(folds.binding(slot, init.run, result.run))

    def _fold(self, node: Comprehension) -> Code:
        over = self.visit(node.range).run
        slot, second = self._slot(), self._slot() if node.var2 else 0
        self._scopes.append({node.var: slot, **({node.var2: second} if node.var2 else {})})
        made = self._loop(node, over, folds.entries(slot, second))
        self._scopes.pop()
        return Code(made)

    def _loop(self, node: Comprehension, over: Run, walk: folds.Entries) -> Run:
        step = node.step
        assert isinstance(step, Call)
        if step.function in ("_&&_", "_||_"):
            return folds.quantifier(over, walk, self.visit(step.args[1]).run, step.function == "_||_")
        predicate: Run | None = None
        if step.function == "_?_:_":
            predicate = self.visit(step.args[0]).run
            step = step.args[1]
            assert isinstance(step, Call)
        if step.function == "cel.@mapInsert":
            key = self.visit(step.args[1]).run if len(step.args) == 3 else None
            return folds.collect_map(over, walk, predicate, key, self.visit(step.args[-1]).run)
        more = step.args[1]
        if isinstance(more, ListExpr):
            element = self.visit(more.elements[0])
            return folds.collect(over, walk, predicate, element.run, 2 + (0 if element.constant else LIST_COST))
        assert predicate is not None and node.accumulator == ACCUMULATOR
        return folds.exactly_one(over, walk, predicate)


def _among(find: Run, texts: frozenset[str]) -> Run:
    def run(f: Frame) -> bool:
        found = find(f)
        return type(found) is str and found in texts

    return run


def _field_name(operand: Type, field: str) -> str:
    inner = operand.parameters[0] if operand.name == "optional_type" else operand
    return unescaped(field) if inner.kind == "struct" else field


def _key(value: Any) -> Any:
    if isinstance(value, str | int):
        return value
    if type(value) is float:
        return value
    raise CelError("unsupported key type")


def _put(out: dict[Any, Any], key: Any, value: Any, optional: bool) -> None:
    if optional:
        if type(value) is not Optional:
            raise CelError(f"cannot initialize optional entry '{key}' from non-optional value {value}")
        if not value.present:
            out.pop(key, None)
            return
        value = value.value
    out[key] = value


def _folded(run: Run) -> Code:
    try:
        return code.constant(run([0, 1_000_000]))
    except CelError as error:
        raise CompileError(error.message, kind="program") from None


def _or_value(left: Run, right: Run, whole: bool) -> Run:
    def run(f: Frame) -> Any:
        found = left(f)
        if type(found) is not Optional:
            raise CelError("no such overload")
        if found.present:
            return found if whole else found.value
        return right(f)

    return run


def _equality(left: Run, right: Run, node: Call, wanted: bool) -> Run:
    overload = node.overloads[0]
    kinds = {a.type.kind for a in node.args}
    if kinds <= {"int", "bool", "double", "uint"}:

        def numbers(f: Frame) -> bool:
            f[0] += 1
            return equal(left(f), right(f)) is wanted

        return numbers
    cost = overload.cost

    def run(f: Frame) -> bool:
        one, two = left(f), right(f)
        if type(one) is str and type(two) is str:
            f[0] += -(-min(len(one), len(two)) // 10)
            return (one == two) is wanted
        f[0] += 1 if wanted and hasattr(one, "cel_type") else cost((one, two), None)
        return equal(one, two) is wanted

    return run


def _called(node: Call, args: list[Run]) -> Run:
    overloads: tuple[Overload, ...] = node.overloads
    static = [a.type for a in node.args]
    if node.target is not None:
        static.insert(0, node.target.type)
    first = overloads[0]
    if len(overloads) > 1 or any(_loose(s, p) for s, p in zip(static, first.params, strict=True)):
        return _dynamic(node.function, overloads, args)
    return _direct(first, args)


def _loose(given: Type, wanted: Type) -> bool:
    """Whether a value of the static type may turn out not to fit."""
    return wanted.kind not in ("dyn", "param") and given.kind in ("dyn", "param", "error")


def _direct(overload: Overload, args: list[Run]) -> Run:
    """A call of the one overload that the types leave."""
    call, cost = overload.code, overload.cost
    if cost is None and len(args) == 1:
        (only,) = args

        def unary(f: Frame) -> Any:
            f[0] += 1
            value = only(f)
            try:
                return call(value)
            except _BROKEN:
                raise code.no_overload(overload.function, [value]) from None

        return unary
    if cost is None and len(args) == 2:
        left, right = args

        def binary(f: Frame) -> Any:
            f[0] += 1
            one, two = left(f), right(f)
            try:
                return call(one, two)
            except _BROKEN:
                raise code.no_overload(overload.function, [one, two]) from None

        return binary

    def run(f: Frame) -> Any:
        values = [a(f) for a in args]
        return _apply(overload, cost, values, f)

    return run


def _apply(overload: Overload, cost: Any, values: list[Any], f: Frame) -> Any:
    try:
        result = overload.code(*values)
        f[0] += 1 if cost is None else cost(values, result)
    except _BROKEN:
        raise code.no_overload(overload.function, values) from None
    if f[0] > f[1]:
        code.over_limit(f)
    return result


def _dynamic(function: str, overloads: tuple[Overload, ...], args: list[Run]) -> Run:
    """A call whose overload the values decide."""
    many = len(overloads) > 1

    def run(f: Frame) -> Any:
        values = [a(f) for a in args]
        for one in overloads:
            if all(map(fits, values, one.params)):
                return _apply(one, one.cost if one.by_name or not many else None, values, f)
        raise code.no_overload(function, values)

    return run
