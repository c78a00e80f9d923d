"""Type checking: every node gets its type, every call the overloads that may be meant (cel-go's checker)."""

from __future__ import annotations

from collections.abc import Mapping

from kumo.machinery.cel import types
from kumo.machinery.cel.assignability import (
    Bindings,
    all_assignable,
    assignable,
    is_dyn_or_error,
    most_general,
    substituted,
    unwrapped,
)
from kumo.machinery.cel.escaping import escaped
from kumo.machinery.cel.functions import Overload
from kumo.machinery.cel.libraries import Functions
from kumo.machinery.cel.numbers import Uint
from kumo.machinery.cel.source import Issues
from kumo.machinery.cel.syntax import (
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
from kumo.machinery.cel.types import BOOL, DYN, ERROR, INT, STRING, Type
from kumo.machinery.cel.visiting import Visitor

_LITERALS: dict[type, Type] = {
    type(None): types.NULL,
    bool: BOOL,
    int: INT,
    Uint: types.UINT,
    float: types.DOUBLE,
    str: STRING,
    bytes: types.BYTES,
}
_TYPE_NAMES: Mapping[str, Type] = {
    **{t.name: t for t in (BOOL, INT, types.UINT, types.DOUBLE, STRING, types.BYTES, types.TYPE)},
    "list": types.list_of(DYN),
    "map": types.map_of(DYN, DYN),
    "null_type": types.NULL,
    "google.protobuf.Timestamp": types.TIMESTAMP,
    "google.protobuf.Duration": types.DURATION,
    "optional_type": types.opaque("optional_type", types.parameter("V")),
    "net.IP": types.opaque("net.IP"),
    "net.CIDR": types.opaque("net.CIDR"),
}


class Checker(Visitor[Type]):
    """The check of one expression."""

    def __init__(
        self, variables: Mapping[str, Type], messages: Mapping[str, Type], functions: Functions, issues: Issues
    ) -> None:
        self._scopes: list[Mapping[str, Type]] = [variables]
        self._messages = messages
        self._functions = functions
        self._issues = issues
        self._bindings: Bindings = {}
        self._fresh = 0
        self._nodes: list[Expr] = []
        self.mentioned: set[str] = set()

    def run(self, root: Expr) -> None:
        """Check the whole tree; complaints go to the issues."""
        self._check(root)
        for node in self._nodes:
            node.type = substituted(self._bindings, node.type, to_dyn=True)

    # -- helpers ----------------------------------------------------------------------------------------------------

    def _variable(self) -> Type:
        self._fresh += 1
        return types.parameter(f"_var{self._fresh - 1}")

    def _fits(self, wanted: Type, given: Type) -> bool:
        found = assignable(self._bindings, wanted, given)
        if found is None:
            return False
        self._bindings = found
        return True

    def _mismatch(self, node: Expr, wanted: Type, given: Type) -> None:
        self._issues.report(node.offset, f"expected type '{wanted}' but found '{given}'")

    def _undeclared(self, node: Expr, name: str) -> Type:
        self._issues.report(node.offset, f"undeclared reference to '{name}' (in container '')")
        return ERROR

    def _lookup(self, name: str) -> Type | None:
        for scope in reversed(self._scopes):
            if name in scope:
                if scope is self._scopes[0]:
                    self.mentioned.add(name)
                return scope[name]
        return None

    # -- nodes ------------------------------------------------------------------------------------------------------

    def _literal(self, node: Literal) -> Type:
        return _LITERALS[type(node.value)]

    def _check(self, node: Expr) -> Type:
        found = self.visit(node)
        node.type = found
        self._nodes.append(node)
        return found

    def _ident(self, node: Ident) -> Type:
        found = self._lookup(node.name)
        if found is not None:
            return found
        named = _TYPE_NAMES.get(node.name) or self._messages.get(node.name)
        if named is not None:
            node.constant = named
            return types.type_of(named)
        return self._undeclared(node, node.name)

    def _select(self, node: Select) -> Type:
        name = "" if node.test else qualified_name(node)
        if name and name in self._scopes[0]:
            # A variable with a dot in its name (`authorizer.requestResource`).
            found = self._lookup(name)
            assert found is not None
            return found
        if name and (name in _TYPE_NAMES or name in self._messages) and self._lookup(name.split(".")[0]) is None:
            return types.type_of(_TYPE_NAMES.get(name) or self._messages[name])
        found = self._field(node, node.operand, node.field, optional=False)
        return BOOL if node.test else substituted(self._bindings, found)

    def _field(self, node: Expr, operand: Expr, field: str, optional: bool) -> Type:
        target, was_optional = unwrapped(substituted(self._bindings, self._check(operand)))
        found = ERROR
        if target.kind == "map":
            found = target.parameters[1]
        elif target.kind == "struct":
            known = target.fields.get(field) or target.fields.get(escaped(field))
            if known is not None:
                found = known
            else:
                self._issues.report(node.offset, f"undefined field '{field}'")
        elif target.kind == "param":
            self._fits(DYN, target)
            found = DYN
        else:
            if not is_dyn_or_error(target):
                self._issues.report(node.offset, f"type '{target}' does not support field selection")
            found = DYN
        return types.optional_of(found) if was_optional or optional else found

    def _call(self, node: Call) -> Type:
        if node.function == "_?._":
            field = node.args[1]
            assert isinstance(field, Literal)
            field.type = STRING
            node.overloads = self._functions["_?._"]
            return substituted(self._bindings, self._field(node, node.args[0], field.value, optional=True))
        for arg in node.args:
            self._check(arg)
        if node.target is not None:
            prefix = qualified_name(node.target)
            namespaced = f"{prefix}.{node.function}" if prefix else ""
            if namespaced in self._functions:
                node.function = namespaced
                node.target = None
                return self._resolve(node)
            self._check(node.target)
        if node.function not in self._functions:
            return self._undeclared(node, node.function)
        return self._resolve(node)

    def _resolve(self, node: Call) -> Type:
        args = ([node.target] if node.target is not None else []) + node.args
        given = [arg.type for arg in args]
        if node.function in ("_&&_", "_||_"):
            node.overloads = self._functions[node.function]
            wrong = [(a, t) for a, t in zip(args, given, strict=True) if not self._fits(t, BOOL)]
            for arg, kind in wrong:
                self._mismatch(arg, BOOL, kind)
            return ERROR if wrong else BOOL
        found: list[Overload] = []
        result: Type | None = None
        for one in self._functions[node.function]:
            if one.member != (node.target is not None):
                continue
            params, wanted = list(one.params), one.result
            if one.generic:
                fresh: Bindings = {p: self._variable() for p in sorted(one.generic, key=str)}
                params = [substituted(fresh, p) for p in params]
                wanted = substituted(fresh, wanted)
            bound = all_assignable(self._bindings, given, params)
            if bound is None:
                continue
            self._bindings = bound
            found.append(one)
            this = substituted(self._bindings, wanted)
            if result is None:
                result = this
            elif result.kind != "dyn" and this != result:
                result = DYN
        if result is None:
            shown = [str(substituted(self._bindings, t, to_dyn=True)) for t in given]
            target = f"{shown.pop(0)}." if node.target is not None else ""
            signature = f"{target}({', '.join(shown)})"
            text = f"found no matching overload for '{node.function}' applied to '{signature}'"
            self._issues.report(node.offset, text)
            return ERROR
        node.overloads = tuple(found)
        return result

    def _joined(self, node: Expr, before: Type | None, now: Type) -> Type:
        if before is None:
            return now
        if self._fits(before, now):
            return most_general(before, now)
        return DYN  # Literals of mixed types are refused afterwards, outside of `format`.

    def _inner(self, node: Expr, found: Type, optional: bool) -> Type:
        if not optional:
            return found
        inner, was = unwrapped(found)
        if not was and inner.kind != "dyn":
            self._mismatch(node, types.optional_of(inner), inner)
        return inner

    def _list(self, node: ListExpr) -> Type:
        joined: Type | None = None
        for index, element in enumerate(node.elements):
            found = self._inner(element, self._check(element), index in node.optional)
            joined = self._joined(element, joined, found)
        return types.list_of(joined or self._variable())

    def _map(self, node: MapExpr) -> Type:
        keys: Type | None = None
        values: Type | None = None
        for key, value, optional in node.entries:
            keys = self._joined(key, keys, self._check(key))
            values = self._joined(value, values, self._inner(value, self._check(value), optional))
        return types.map_of(keys or self._variable(), values or self._variable())

    def _struct(self, node: StructExpr) -> Type:
        message = self._messages.get(node.name)
        if message is None:
            if node.name in _TYPE_NAMES or self._lookup(node.name.split(".")[0]) is not None:
                self._issues.report(node.offset, f"'{node.name}' is not a message type")
                return ERROR
            return self._undeclared(node, node.name)
        for name, value, optional, offset in node.fields:
            given = self._inner(value, self._check(value), optional)
            wanted = message.fields.get(name)
            if wanted is None:
                self._issues.report(offset, f"undefined field '{name}'")
            elif not self._fits(wanted, given):
                self._issues.report(
                    offset, f"expected type of field '{name}' is '{wanted}' but provided type is '{given}'"
                )
        return message

    def _bind(self, node: Comprehension) -> Type:
        return self._fold(node)

    def _fold(self, node: Comprehension) -> Type:
        over = substituted(self._bindings, self._check(node.range))
        accumulated = self._check(node.init)
        self._scopes.append({node.accumulator: accumulated})
        self._scopes.append(self._loop_variables(node, over))
        self._check(node.condition)
        self._assert(node.condition, BOOL)
        self._check(node.step)
        self._assert(node.step, accumulated)
        self._scopes.pop()
        result = self._check(node.result)
        self._scopes.pop()
        return substituted(self._bindings, result)

    def _loop_variables(self, node: Comprehension, over: Type) -> dict[str, Type]:
        if over.kind == "list":
            first, second = (INT, over.parameters[0]) if node.var2 else (over.parameters[0], DYN)
        elif over.kind == "map":
            first, second = over.parameters
        elif over.kind in ("dyn", "error", "param"):
            self._fits(DYN, over)
            first = second = DYN
        else:
            text = f"expression of type '{over}' cannot be range of a comprehension (must be list, map, or dynamic)"
            self._issues.report(node.range.offset, text)
            first = second = ERROR
        return {node.var: first, node.var2: second} if node.var2 else {node.var: first}

    def _assert(self, node: Expr, wanted: Type) -> None:
        if not self._fits(wanted, node.type):
            self._mismatch(node, wanted, node.type)
