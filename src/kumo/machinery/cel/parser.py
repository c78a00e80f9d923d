"""From tokens to the syntax tree: operator precedence climbing, macros expanded on the way."""

from __future__ import annotations

from kumo.machinery.cel import macros
from kumo.machinery.cel.errors import CompileError
from kumo.machinery.cel.lexer import RESERVED, Token, tokens
from kumo.machinery.cel.numbers import INT_MAX, Uint
from kumo.machinery.cel.source import Issues
from kumo.machinery.cel.syntax import (
    Call,
    Expr,
    Ident,
    ListExpr,
    Literal,
    MapExpr,
    Select,
    StructExpr,
    qualified_name,
)

_SIZE_LIMIT = 100_000
_NESTING_LIMIT = 100
_CHAIN_LIMIT = 250
_BINARY = {
    **dict.fromkeys(("<", "<=", ">", ">=", "==", "!=", "in"), 1),
    **dict.fromkeys(("+", "-"), 2),
    **dict.fromkeys(("*", "/", "%"), 3),
}
_FUNCTION = {"in": "@in"}
_START = (
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
)


class _Stop(Exception):
    """Parsing cannot go on; what is wrong has been reported."""


def parse(text: str) -> Expr:
    """The tree of the expression. Raises CompileError."""
    issues = Issues(text)
    if len(text) > _SIZE_LIMIT:
        issues = Issues("")
        issues.report(0, f"expression code point size exceeds limit: size: {len(text)}, limit {_SIZE_LIMIT}")
        raise CompileError(str(issues))
    parser = _Parser(tokens(text, issues), issues)
    try:
        found = parser.whole()
    except _Stop:
        raise CompileError(str(issues)) from None
    if issues:
        raise CompileError(str(issues))
    return found


class _Parser:
    def __init__(self, found: list[Token], issues: Issues) -> None:
        self._tokens = found
        self._at = 0
        self._issues = issues
        self._depth = 0

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._tokens[self._at]
        if token.kind != "end":
            self._at += 1
        return token

    def _fail(self, token: Token, message: str) -> _Stop:
        self._issues.report(token.offset, message)
        return _Stop()

    def _unexpected(self, token: Token, expecting: str) -> _Stop:
        return self._fail(token, f"Syntax error: mismatched input '{token.text}' expecting {expecting}")

    def _expect(self, kind: str) -> Token:
        token = self._next
        if token.kind != kind:
            if token.kind == "end":
                raise self._fail(token, f"Syntax error: missing '{kind}' at '<EOF>'")
            raise self._unexpected(token, f"'{kind}'")
        return self._take()

    def whole(self) -> Expr:
        found = self.expression()
        if self._next.kind != "end":
            token = self._next
            if self._tokens[self._at + 1].kind == "end":
                raise self._fail(token, f"Syntax error: extraneous input '{token.text}' expecting <EOF>")
            raise self._unexpected(token, "<EOF>")
        return found

    def expression(self) -> Expr:
        self._depth += 1
        if self._depth > _NESTING_LIMIT:
            raise self._fail(Token("", "", 0), "expression recursion limit exceeded: 250")
        found = self._logical("||", "_||_")
        if self._next.kind == "?":
            at = self._take().offset
            then = self._logical("||", "_||_")
            self._expect(":")
            found = Call(at, "_?_:_", [found, then, self.expression()])
        self._depth -= 1
        return found

    def _logical(self, operator: str, function: str) -> Expr:
        terms = [self._logical("&&", "_&&_") if operator == "||" else self._binary(1)]
        offsets = []
        while self._next.kind == operator:
            offsets.append(self._take().offset)
            terms.append(self._logical("&&", "_&&_") if operator == "||" else self._binary(1))
        return _balanced(function, terms, offsets)

    def _binary(self, level: int) -> Expr:
        left = self._unary() if level > 3 else self._binary(level + 1)
        chain = 0
        while _BINARY.get(self._next.text if self._next.kind == "ident" else self._next.kind) == level:
            chain += 1
            if chain > _CHAIN_LIMIT:
                raise self._fail(Token("", "", 0), "expression recursion limit exceeded: 250")
            token = self._take()
            right = self._unary() if level == 3 else self._binary(level + 1)
            left = Call(token.offset, _FUNCTION.get(token.text) or f"_{token.text}_", [left, right])
        return left

    def _unary(self) -> Expr:
        token = self._next
        if token.kind == "-" and self._tokens[self._at + 1].kind == "literal":
            value = self._tokens[self._at + 1].value
            if type(value) in (int, float):
                self._at += 2
                return self._members(Literal(token.offset, -value))
        if token.kind in ("!", "-"):
            self._take()
            count = 1
            while self._next.kind == token.kind:
                self._take()
                count += 1
            inner = self._members(self._primary())
            return Call(token.offset, "!_" if token.kind == "!" else "-_", [inner]) if count % 2 else inner
        return self._members(self._primary())

    def _members(self, found: Expr) -> Expr:
        chain = 0
        while self._next.kind in (".", "["):
            chain += 1
            if chain > _CHAIN_LIMIT:
                raise self._fail(Token("", "", 0), "expression recursion limit exceeded: 250")
            token = self._take()
            found = self._index(token, found) if token.kind == "[" else self._member(token, found)
        if self._next.kind == "{":
            name = qualified_name(found)
            if name:
                return self._members(self._struct(name))
        return found

    def _index(self, token: Token, found: Expr) -> Expr:
        optional = self._next.kind == "?" and bool(self._take())
        index = self.expression()
        self._expect("]")
        return Call(token.offset, "_[?_]" if optional else "_[_]", [found, index])

    def _member(self, token: Token, found: Expr) -> Expr:
        optional = self._next.kind == "?" and bool(self._take())
        name = self._next
        if name.kind not in ("ident", "quoted"):
            missing = "IDENTIFIER" if name.kind != "literal" else ""
            if name.kind == "end" or not missing:
                raise self._fail(name, f"Syntax error: no viable alternative at input '.{_eof(name)}'")
            raise self._unexpected(name, "IDENTIFIER")
        self._take()
        field = name.text.strip("`")
        if optional:
            return Call(token.offset, "_?._", [found, Literal(name.offset, field)])
        if self._next.kind == "(" and name.kind == "ident":
            opening = self._take()
            return self._call(opening, field, found, self._arguments(")"))
        if field in ("in", "true", "false", "null"):
            raise self._unexpected(name, "IDENTIFIER")
        return Select(token.offset, found, field)

    def _call(self, opening: Token, function: str, target: Expr | None, args: list[Expr]) -> Expr:
        try:
            expanded = macros.expand(function, target, args, opening.offset)
        except macros.MacroError as error:
            self._issues.report(error.offset, error.message)
            return Literal(opening.offset, None)
        return expanded if expanded is not None else Call(opening.offset, function, args, target)

    def _arguments(self, closing: str) -> list[Expr]:
        found: list[Expr] = []
        while self._next.kind != closing:
            found.append(self.expression())
            if self._next.kind != ",":
                break
            self._take()
            if self._next.kind == closing:
                raise self._unexpected(self._next, _START)
        self._expect(closing)
        return found

    def _primary(self) -> Expr:
        token = self._take()
        if token.kind == "literal":
            if type(token.value) is int and token.value > INT_MAX:
                self._issues.report(token.offset, "invalid int literal")
            return Literal(token.offset, token.value)
        if token.kind == "ident":
            return self._name(token)
        if token.kind == ".":
            name = self._next
            if name.kind != "ident":
                raise self._unexpected(name, "IDENTIFIER")
            return self._name(self._take())
        if token.kind == "(":
            found = self.expression()
            self._expect(")")
            return found
        if token.kind == "[":
            return self._list(token)
        if token.kind == "{":
            return self._map(token)
        raise self._unexpected(token, _START)

    def _name(self, token: Token) -> Expr:
        constants = {"true": True, "false": False, "null": None}
        if token.text in constants:
            return Literal(token.offset, constants[token.text])
        if token.text == "in":
            raise self._unexpected(token, _START)
        if self._next.kind == "(":
            opening = self._take()
            return self._call(opening, token.text, None, self._arguments(")"))
        if token.text in RESERVED:
            self._issues.report(token.offset, f"reserved identifier: {token.text}")
        return Ident(token.offset, token.text)

    def _list(self, token: Token) -> Expr:
        found: list[Expr] = []
        optional: set[int] = set()
        while self._next.kind != "]":
            if self._next.kind == "?":
                self._take()
                optional.add(len(found))
            found.append(self.expression())
            if self._next.kind != ",":
                break
            self._take()
        self._expect("]")
        return ListExpr(token.offset, found, frozenset(optional))

    def _map(self, token: Token) -> Expr:
        entries: list[tuple[Expr, Expr, bool]] = []
        while self._next.kind != "}":
            optional = self._next.kind == "?" and bool(self._take())
            key = self.expression()
            self._expect(":")
            entries.append((key, self.expression(), optional))
            if self._next.kind != ",":
                break
            self._take()
        self._expect("}")
        return MapExpr(token.offset, entries)

    def _struct(self, name: str) -> Expr:
        opening = self._take()
        found: list[tuple[str, Expr, bool, int]] = []
        while self._next.kind != "}":
            optional = self._next.kind == "?" and bool(self._take())
            field = self._next
            if field.kind not in ("ident", "quoted"):
                raise self._unexpected(field, "{'}', '?', IDENTIFIER}")
            self._take()
            colon = self._expect(":")
            found.append((field.text.strip("`"), self.expression(), optional, colon.offset))
            if self._next.kind != ",":
                break
            self._take()
        self._expect("}")
        return StructExpr(opening.offset, name, found)


def _eof(token: Token) -> str:
    return "" if token.kind == "end" else token.text


def _balanced(function: str, terms: list[Expr], offsets: list[int]) -> Expr:
    """A tree of logical operators as shallow as can be."""
    if len(terms) == 1:
        return terms[0]
    middle = len(offsets) // 2
    left = _balanced(function, terms[: middle + 1], offsets[:middle])
    right = _balanced(function, terms[middle + 1 :], offsets[middle + 1 :])
    return Call(offsets[middle], function, [left, right])


__all__ = ["Uint", "parse"]
