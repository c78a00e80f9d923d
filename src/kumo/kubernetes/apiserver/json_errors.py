"""What Go's JSON decoder says of a text that is none; looked for only once the quick decoder has refused it."""

from __future__ import annotations

import re

_SPACE = b" \t\n\r"
_NUMBER = re.compile(rb"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_LITERALS = {ord("t"): b"true", ord("f"): b"false", ord("n"): b"null"}
_ENDED = "unexpected end of JSON input"


class _Wrong(Exception):
    pass


def json_error(data: bytes) -> str:
    """The message; empty if nothing is wrong with the text (but its depth or its numbers, maybe)."""
    try:
        at = _skip(data, _value(data, _skip(data, 0), "looking for beginning of value"))
        if at < len(data):
            raise _wrong(data, at, "after top-level value")
    except _Wrong as wrong:
        return str(wrong)
    except RecursionError:
        return "exceeded max depth"
    return ""


def _wrong(data: bytes, at: int, where: str) -> _Wrong:
    if at >= len(data):
        return _Wrong(_ENDED)
    char = data[at]
    shown = {0x27: "\\'", 0x5C: "\\\\"}.get(char) or (chr(char) if 0x20 <= char < 0x7F else f"\\x{char:02x}")
    return _Wrong(f"invalid character '{shown}' {where}")


def _skip(data: bytes, at: int) -> int:
    while at < len(data) and data[at] in _SPACE:
        at += 1
    return at


def _value(data: bytes, at: int, where: str) -> int:
    """The place after the value that begins at `at`."""
    if at >= len(data):
        raise _Wrong(_ENDED)
    first = data[at]
    if first == 0x7B:
        return _object(data, at)
    if first == 0x5B:
        return _array(data, at)
    if first == 0x22:
        return _string(data, at)
    if first in _LITERALS:
        return _literal(data, at, _LITERALS[first])
    found = _NUMBER.match(data, at)
    if found is None:
        if first == 0x2D:
            raise _wrong(data, at + 1, "in numeric literal")
        raise _wrong(data, at, where)
    return found.end()


def _literal(data: bytes, at: int, text: bytes) -> int:
    for offset, wanted in enumerate(text):
        if at + offset >= len(data) or data[at + offset] != wanted:
            raise _wrong(data, at + offset, f"in literal {text.decode()} (expecting '{chr(wanted)}')")
    return at + len(text)


def _string(data: bytes, at: int) -> int:
    at += 1
    while at < len(data):
        char = data[at]
        if char == 0x22:
            return at + 1
        if char < 0x20:
            raise _wrong(data, at, "in string literal")
        if char == 0x5C:
            at += 1
            if at < len(data) and data[at] not in b'"\\/bfnrtu':
                raise _wrong(data, at, "in string escape code")
            if at < len(data) and data[at] == 0x75:
                for _ in range(4):
                    at += 1
                    if at < len(data) and data[at] not in b"0123456789abcdefABCDEF":
                        raise _wrong(data, at, "in \\u hexadecimal character escape")
        at += 1
    raise _Wrong(_ENDED)


def _object(data: bytes, at: int) -> int:
    at = _skip(data, at + 1)
    if at < len(data) and data[at] == 0x7D:
        return at + 1
    while True:
        if at >= len(data) or data[at] != 0x22:
            raise _wrong(data, at, "looking for beginning of object key string")
        at = _skip(data, _string(data, at))
        if at >= len(data) or data[at] != 0x3A:
            raise _wrong(data, at, "after object key")
        at = _skip(data, _value(data, _skip(data, at + 1), "looking for beginning of value"))
        if at < len(data) and data[at] == 0x7D:
            return at + 1
        if at >= len(data) or data[at] != 0x2C:
            raise _wrong(data, at, "after object key:value pair")
        at = _skip(data, at + 1)


def _array(data: bytes, at: int) -> int:
    at = _skip(data, at + 1)
    if at < len(data) and data[at] == 0x5D:
        return at + 1
    while True:
        at = _skip(data, _value(data, at, "looking for beginning of value"))
        if at < len(data) and data[at] == 0x5D:
            return at + 1
        if at >= len(data) or data[at] != 0x2C:
            raise _wrong(data, at, "after array element")
        at = _skip(data, at + 1)
