"""`string.format`: verbs s, d, f, e, b, x, X, o (cel-go's ext/formatting), and `strings.quote`."""

from __future__ import annotations

import re
from typing import Any

from kumo.api import fields
from kumo.machinery.cel.errors import CelError
from kumo.machinery.cel.libraries.conversions import double_text
from kumo.machinery.cel.numbers import Uint
from kumo.machinery.cel.times import Duration, Timestamp
from kumo.machinery.cel.types import Type
from kumo.machinery.cel.values import Lazy, type_of_value

_VERB = re.compile(r"%(?:(%)|(?:\.(\d+))?(.)|$)", re.DOTALL)
_STRING_KINDS = (
    "string", "bool", "bytes", "int", "uint", "double", "map", "list", "type", "duration", "timestamp", "null",
)  # fmt: skip
_STRING_RULE = (
    "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, "
    "and timestamps"
)
_DOUBLES = ("double", "string")
VERBS = {
    "s": (_STRING_KINDS, _STRING_RULE),
    "d": (("int", "uint"), "decimal clause can only be used on integers"),
    "f": (_DOUBLES, "fixed-point clause can only be used on doubles"),
    "e": (_DOUBLES, "scientific clause can only be used on doubles"),
    "b": (("int", "uint", "bool"), "only integers and bools can be formatted as binary"),
    "x": (("int", "uint", "string", "bytes"), "only integers, byte buffers, and strings can be formatted as hex"),
    "X": (("int", "uint", "string", "bytes"), "only integers, byte buffers, and strings can be formatted as hex"),
    "o": (("int", "uint"), "octal clause can only be used on integers"),
}
"""By verb: the kinds of types it takes, and the rule in upstream's words."""
_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
_LENGTH_LIMIT = 10_000_000
_QUOTES = {7: "\\a", 8: "\\b", 12: "\\f", 10: "\\n", 13: "\\r", 9: "\\t", 11: "\\v", 92: "\\\\", 34: '\\"'}


def quote(text: str) -> str:
    """The text in quotes, with escapes."""
    return f'"{text.translate(_QUOTES)}"'


def format_text(template: str, args: list[Any]) -> str:
    """The template with its verbs filled in. Raises CelError."""
    out: list[str] = []
    at = used = 0
    for match in _VERB.finditer(template):
        out.append(template[at : match.start()])
        at = match.end()
        if match[1]:
            out.append("%")
            continue
        verb = match[3]
        if not verb:
            raise CelError("unexpected end of string")
        if used >= len(args):
            raise CelError(f"index {used} out of range")
        precision = int(match[2]) if match[2] else 6
        if precision > 1000:
            raise CelError("precision too large")
        out.append(_filled(verb, args[used], precision))
        used += 1
        if sum(map(len, out)) > _LENGTH_LIMIT:
            raise CelError("operation cancelled: actual cost limit exceeded")
    out.append(template[at:])
    return "".join(out)


def _filled(verb: str, value: Any, precision: int) -> str:
    if verb == "s":
        return _text(value)
    if verb == "d":
        if type(value) in (int, Uint):
            return str(int(value))
        raise CelError(_wrong(VERBS["d"][1], value))
    if verb in "fe":
        return _fraction(verb, value, precision)
    if verb == "b":
        if type(value) is bool:
            return "1" if value else "0"
        if type(value) in (int, Uint):
            return f"{int(value):b}"
        raise CelError(_wrong(VERBS["b"][1], value))
    if verb in "xX":
        return _hex(verb, value)
    if verb == "o":
        if type(value) in (int, Uint):
            return f"{int(value):o}"
        raise CelError(_wrong(VERBS["o"][1], value))
    raise CelError(f'could not parse formatting clause: unrecognized formatting clause "{verb}"')


def _wrong(what: str, value: Any) -> str:
    return f"error during formatting: {what}, was given {type_of_value(value).name}"


def _fraction(verb: str, value: Any, precision: int) -> str:
    if value in ("NaN", "Infinity", "-Infinity"):
        return str(value)
    if type(value) is not float:
        raise CelError(_wrong(VERBS[verb][1], value))
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    text = f"{value:.{precision}{verb}}"
    if verb == "f":
        return text
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa}×10{exponent.lstrip('+').translate(_RAISED)}"


def _hex(verb: str, value: Any) -> str:
    if type(value) in (int, Uint):
        text = f"{int(value):x}"
    elif isinstance(value, str):
        text = value.encode().hex()
    elif isinstance(value, bytes):
        text = value.hex()
    else:
        raise CelError(_wrong(VERBS["x"][1], value))
    return text.upper() if verb == "X" else text


def _inner(value: Any) -> str:
    """A value inside of a list or a map."""
    if isinstance(value, str):
        return fields.shown(value)
    if isinstance(value, bytes):
        return f"b{fields.shown(_text(value))}"
    if isinstance(value, float):
        text = _fraction("f", value, 6)
        return text if text[-1].isdigit() else f'"{text}"'
    if isinstance(value, Timestamp | Duration):
        name = "timestamp" if isinstance(value, Timestamp) else "duration"
        return f'{name}("{value}")'
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        text = double_text(value)
        return {"+Inf": "Infinity", "-Inf": "-Infinity"}.get(text, text)
    if isinstance(value, int | Duration | Timestamp):
        return str(int(value)) if isinstance(value, int) else str(value)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, Type):
        return value.name
    if isinstance(value, list):
        return "[" + ", ".join(map(_inner, value)) + "]"
    if isinstance(value, dict | Lazy):
        return "{" + ", ".join(sorted(f"{_inner(k)}:{_inner(v)}" for k, v in value.items())) + "}"
    raise CelError(_wrong(_STRING_RULE, value))
