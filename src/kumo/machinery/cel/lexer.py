"""From text to tokens."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from kumo.machinery.cel.numbers import INT_MAX, UINT_MAX, Uint
from kumo.machinery.cel.source import Issues

RESERVED = frozenset(
    (
        "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package",
        "namespace", "return", "var", "void", "while",
    )
)  # fmt: skip
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n\f]+|//[^\n]*)
    |(?P<string>(?:[rR][bB]?|[bB][rR]?)?(?:\"\"\"|'''|"|'))
    |(?P<float>(?:\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?))
    |(?P<int>0x[0-9a-fA-F]+[uU]?|\d+[uU]?)
    |(?P<ident>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<quoted>`[A-Za-z0-9_.\-/ ]+`)
    |(?P<op>==|!=|<=|>=|&&|\|\||[-+*/%!<>?:.,()\[\]{}])""",
    re.VERBOSE,
)
_GOOD_ESCAPE = r"\\(?:[abfnrtv\\'\"`?]|[xX][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2})"
_BODY = {q: re.compile(rf"(?:[^\\\n\r{q}]|{_GOOD_ESCAPE})*") for q in "\"'"}
_END_RAW = {q: re.compile(rf"[^\n\r{q}]*{q}") for q in "\"'"}
_SIMPLE = {
    "a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, "'": 39, '"': 34, "`": 96, "?": 63,
}  # fmt: skip
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\'\"`?])|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.?))", re.DOTALL
)


class Token(NamedTuple):
    """`kind` is `ident`, `quoted`, `literal`, an operator itself, or `end`."""

    kind: str
    text: str
    offset: int
    value: Any = None


def tokens(text: str, issues: Issues) -> list[Token]:
    """The tokens of the text; what is none is reported."""
    found: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            width = 2 if text[at] in "=&|" else 1
            issues.report(at, f"Syntax error: token recognition error at: '{_shown(text[at : at + width])}'")
            at += width
            continue
        kind, begun = match.lastgroup or "", at
        at = match.end()
        if kind == "space":
            continue
        if kind == "string":
            end = _string_end(text, match.group(), at)
            if end is None:
                at = _broken_string_end(text, match.group(), at)
                issues.report(begun, f"Syntax error: token recognition error at: '{_shown(text[begun:at])}'")
                continue
            found.append(_string(text[begun:end], match.group(), begun, issues))
            at = end
        elif kind in ("int", "float"):
            found.append(_number(match.group(), begun, kind, issues))
        elif kind == "op":
            found.append(Token(match.group(), match.group(), begun))
        else:
            found.append(Token(kind, match.group(), begun))
    found.append(Token("end", "<EOF>", len(text)))
    return found


def _shown(text: str) -> str:
    return text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


def _number(text: str, offset: int, kind: str, issues: Issues) -> Token:
    if kind == "float":
        return Token("literal", text, offset, float(text))
    unsigned = text[-1] in "uU"
    digits = text[:-1] if unsigned else text
    value = int(digits, 16) if digits.startswith("0x") else int(digits)
    if unsigned:
        if value > UINT_MAX:
            issues.report(offset, "invalid uint literal")
        return Token("literal", text, offset, Uint(value & UINT_MAX))
    if value > INT_MAX + 1:
        issues.report(offset, "invalid int literal")
    return Token("literal", text, offset, value)


def _string_end(text: str, opening: str, at: int) -> int | None:
    quote = opening.lstrip("rRbB")
    raw = "r" in opening.lower()
    if len(quote) == 1:
        if raw:
            match = _END_RAW[quote].match(text, at)
            return match.end() if match else None
        body = _BODY[quote].match(text, at)
        end = body.end() if body else at
        return end + 1 if text[end : end + 1] == quote else None
    while at < len(text):
        if text.startswith(quote, at):
            return at + 3
        at += 2 if text[at] == "\\" and not raw else 1
    return None


def _broken_string_end(text: str, opening: str, at: int) -> int:
    """How far the text looks like a string, which it is not."""
    quote = opening.lstrip("rRbB")
    if len(quote) > 1:
        return len(text)
    body = _BODY[quote].match(text, at)
    end = body.end() if body else at
    if text[end : end + 1] == "\\":
        end += 1
    return end + (1 if end < len(text) and text[end] not in "\r\n" else 0)


def _string(text: str, opening: str, offset: int, issues: Issues) -> Token:
    quote = opening.lstrip("rRbB")
    prefix = opening[: len(opening) - len(quote)].lower()
    body = text[len(opening) : len(text) - len(quote)].replace("\r\n", "\n").replace("\r", "\n")
    if "b" in prefix:
        return Token("literal", text, offset, body.encode() if "r" in prefix else _bytes(body, offset, issues))
    value = body if "r" in prefix or "\\" not in body else _unescaped(body, offset, issues)
    return Token("literal", text, offset, value)


def _code(match: re.Match[str]) -> int | None:
    simple, two, four, eight, octal, _ = match.groups()
    if simple:
        return _SIMPLE[simple]
    if octal:
        return int(octal, 8)
    digits = two or four or eight
    code = int(digits, 16) if digits else -1
    return code if 0 <= code < 0x110000 and not 0xD800 <= code < 0xE000 else None


def _unescaped(body: str, offset: int, issues: Issues) -> str:
    def put(match: re.Match[str]) -> str:
        code = _code(match)
        if code is None:
            issues.report(offset, "unable to unescape string")
            return ""
        return chr(code)

    return _ESCAPE.sub(put, body)


def _bytes(body: str, offset: int, issues: Issues) -> bytes:
    out, at = bytearray(), 0
    for match in _ESCAPE.finditer(body):
        out += body[at : match.start()].encode()
        at = match.end()
        code = _code(match)
        if code is None or match.group(3) or match.group(4):
            issues.report(offset, "unable to unescape string")
            continue
        out.append(code & 0xFF)
    return bytes(out + body[at:].encode())
