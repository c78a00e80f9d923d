"""Macros: calls that the parser turns into folds (cel-spec, cel-go's two-variable comprehensions and lists)."""

from __future__ import annotations

from collections.abc import Callable

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
)


class MacroError(Exception):
    """The arguments do not fit the macro; `offset` is where."""

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(message)
        self.offset = offset
        self.message = message


def expand(function: str, target: Expr | None, args: list[Expr], offset: int) -> Expr | None:
    """The macro's expansion, or None when the call is a plain one. Raises MacroError."""
    found = _MACROS.get((function, len(args), target is not None))
    return found(offset, target, args) if found is not None else None  # type: ignore[arg-type]


def _accumulator(offset: int) -> Ident:
    return Ident(offset, ACCUMULATOR)


def _variable(arg: Expr, what: str = "argument must be a simple name") -> str:
    if not isinstance(arg, Ident):
        raise MacroError(arg.offset, what)
    if arg.name in (ACCUMULATOR, "__result__"):
        raise MacroError(arg.offset, "iteration variable overwrites accumulator variable")
    return arg.name


def _variables(args: list[Expr]) -> tuple[str, str]:
    first, second = _variable(args[0]), _variable(args[1])
    if first == second:
        raise MacroError(args[1].offset, f"duplicate variable name: {first}")
    return first, second


def _names(args: list[Expr], two: bool) -> tuple[str, str, list[Expr]]:
    if two:
        first, second = _variables(args)
        return first, second, args[2:]
    return _variable(args[0]), "", args[1:]


def _has(at: int, target: Expr, args: list[Expr]) -> Expr:
    arg = args[0]
    if isinstance(arg, Select) and not arg.test:
        return Select(at, arg.operand, arg.field, test=True)
    raise MacroError(arg.offset, "invalid argument to has() macro")


def _all(two: bool) -> Callable[[int, Expr, list[Expr]], Expr]:
    def make(at: int, target: Expr, args: list[Expr]) -> Expr:
        var, var2, rest = _names(args, two)
        condition = Call(at, "@not_strictly_false", [_accumulator(at)])
        step = Call(at, "_&&_", [_accumulator(at), rest[0]])
        return _fold(at, target, var, var2, Literal(at, True), condition, step, _accumulator(at))

    return make


def _exists(two: bool) -> Callable[[int, Expr, list[Expr]], Expr]:
    def make(at: int, target: Expr, args: list[Expr]) -> Expr:
        var, var2, rest = _names(args, two)
        condition = Call(at, "@not_strictly_false", [Call(at, "!_", [_accumulator(at)])])
        step = Call(at, "_||_", [_accumulator(at), rest[0]])
        return _fold(at, target, var, var2, Literal(at, False), condition, step, _accumulator(at))

    return make


def _exists_one(two: bool) -> Callable[[int, Expr, list[Expr]], Expr]:
    def make(at: int, target: Expr, args: list[Expr]) -> Expr:
        var, var2, rest = _names(args, two)
        more = Call(at, "_+_", [_accumulator(at), Literal(at, 1)])
        step = Call(at, "_?_:_", [rest[0], more, _accumulator(at)])
        result = Call(at, "_==_", [_accumulator(at), Literal(at, 1)])
        return _fold(at, target, var, var2, Literal(at, 0), Literal(at, True), step, result)

    return make


def _map(at: int, target: Expr, args: list[Expr]) -> Expr:
    var = _variable(args[0], "argument is not an identifier")
    step: Expr = Call(at, "_+_", [_accumulator(at), ListExpr(at, [args[-1]])])
    if len(args) == 3:
        step = Call(at, "_?_:_", [args[1], step, _accumulator(at)])
    return _fold(at, target, var, "", ListExpr(at, []), Literal(at, True), step, _accumulator(at))


def _filter(at: int, target: Expr, args: list[Expr]) -> Expr:
    var = _variable(args[0], "argument is not an identifier")
    more = Call(at, "_+_", [_accumulator(at), ListExpr(at, [args[0]])])
    step = Call(at, "_?_:_", [args[1], more, _accumulator(at)])
    return _fold(at, target, var, "", ListExpr(at, []), Literal(at, True), step, _accumulator(at))


def _transform_list(at: int, target: Expr, args: list[Expr]) -> Expr:
    var, var2 = _variables(args)
    step: Expr = Call(at, "_+_", [_accumulator(at), ListExpr(at, [args[-1]])])
    return _transformed(at, target, var, var2, args, ListExpr(at, []), step)


def _transform_map(at: int, target: Expr, args: list[Expr]) -> Expr:
    var, var2 = _variables(args)
    step = Call(at, "cel.@mapInsert", [_accumulator(at), Ident(at, var), args[-1]])
    return _transformed(at, target, var, var2, args, MapExpr(at, []), step)


def _transform_entry(at: int, target: Expr, args: list[Expr]) -> Expr:
    var, var2 = _variables(args)
    step = Call(at, "cel.@mapInsert", [_accumulator(at), args[-1]])
    return _transformed(at, target, var, var2, args, MapExpr(at, []), step)


def _transformed(at: int, target: Expr, var: str, var2: str, args: list[Expr], init: Expr, step: Expr) -> Expr:
    if len(args) == 4:
        step = Call(at, "_?_:_", [args[2], step, _accumulator(at)])
    return _fold(at, target, var, var2, init, Literal(at, True), step, _accumulator(at))


def _opt_map(flat: bool) -> Callable[[int, Expr, list[Expr]], Expr]:
    def make(at: int, target: Expr, args: list[Expr]) -> Expr:
        what = "optFlatMap() variable name must be a simple identifier" if flat else ""
        var = _variable(args[0], what or "optMap() variable name must be a simple identifier")
        bound = _fold(
            at, ListExpr(at, []), "#unused", "", Call(at, "value", [], target), Literal(at, False), Ident(at, var),
            args[1], accumulator=var,
        )  # fmt: skip
        then: Expr = bound if flat else Call(at, "optional.of", [bound])
        return Call(at, "_?_:_", [Call(at, "hasValue", [], target), then, Call(at, "optional.none", [])])

    return make


def _sort_by(at: int, target: Expr, args: list[Expr]) -> Expr:
    name = "@__sortBy_input__"
    keys = _map(at, Ident(at, name), args)
    call = Call(at, "@sortByAssociatedKeys", [keys], Ident(at, name))
    nothing = ListExpr(at, [])
    return _fold(at, nothing, "#unused", "", target, Literal(at, False), Ident(at, name), call, accumulator=name)


def _fold(
    at: int,
    over: Expr,
    var: str,
    var2: str,
    init: Expr,
    condition: Expr,
    step: Expr,
    result: Expr,
    accumulator: str = ACCUMULATOR,
) -> Comprehension:
    return Comprehension(at, over, var, var2, accumulator, init, condition, step, result)


_MACROS: dict[tuple[str, int, bool], Callable[[int, Expr, list[Expr]], Expr]] = {
    ("has", 1, False): _has,
    ("all", 2, True): _all(False),
    ("exists", 2, True): _exists(False),
    ("exists_one", 2, True): _exists_one(False),
    ("map", 2, True): _map,
    ("map", 3, True): _map,
    ("filter", 2, True): _filter,
    ("all", 3, True): _all(True),
    ("exists", 3, True): _exists(True),
    ("exists_one", 3, True): _exists_one(True),
    ("existsOne", 3, True): _exists_one(True),
    ("transformList", 3, True): _transform_list,
    ("transformList", 4, True): _transform_list,
    ("transformMap", 3, True): _transform_map,
    ("transformMap", 4, True): _transform_map,
    ("transformMapEntry", 3, True): _transform_entry,
    ("transformMapEntry", 4, True): _transform_entry,
    ("optMap", 2, True): _opt_map(False),
    ("optFlatMap", 2, True): _opt_map(True),
    ("sortBy", 2, True): _sort_by,
}
