"""Functions on texts (cel-go's ext/strings version 2, and regular expressions by RE2)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from kumo.machinery.cel import costs
from kumo.machinery.cel.errors import CelError
from kumo.machinery.cel.functions import Overload, overload
from kumo.machinery.cel.libraries.formatting import format_text, quote

_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
_UPPER = str.maketrans("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_GO_ERRORS = {
    "missing )": "missing closing )",
    "missing ]": "missing closing ]",
    "trailing \\": "trailing backslash at end of expression",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid repetition size": "invalid repeat count",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
}
_RESULT_LIMIT = 10_000_000


@lru_cache(maxsize=512)
def regex(pattern: str) -> Any:
    """The pattern, compiled by RE2. Raises CelError."""
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = 8 << 20
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        text = error.args[0]
        raise CelError(_go_error(text.decode() if isinstance(text, bytes) else str(text))) from None


def _go_error(text: str) -> str:
    """What RE2 complains about, in the words of Go's package."""
    what, colon, where = text.partition(": ")
    return f"error parsing regexp: {_GO_ERRORS.get(what, what)}: `{where}`" if colon else text


def _char_at(text: str, index: int) -> str:
    if not 0 <= index <= len(text):
        raise CelError(f"index out of range: {index}")
    return text[index : index + 1]


def _index_of(text: str, part: str, offset: int = 0) -> int:
    if not part:
        return offset
    if offset < 0:
        raise CelError(f"index out of range: {offset}")
    return text.find(part, offset) if offset < len(text) else -1


def _last_index_of(text: str, part: str, offset: int | None = None) -> int:
    if offset is None:
        return text.rfind(part) if part else len(text)
    if not part:
        return offset
    if offset < 0:
        raise CelError(f"index out of range: {offset}")
    return text.rfind(part, 0, offset + len(part)) if offset < len(text) else -1


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    found = text.count(old) if old else len(text) + 1
    found = min(found, count) if count >= 0 else found
    if len(text) + found * (len(new) - len(old)) > _RESULT_LIMIT:
        raise CelError("operation cancelled: actual cost limit exceeded")
    return text.replace(old, new, count)


def _split(text: str, separator: str, count: int = -1) -> list[str]:
    if count == 0:
        return []
    if not separator:
        parts = list(text)
        return parts if count < 0 or len(parts) <= count else [*parts[: count - 1], "".join(parts[count - 1 :])]
    return text.split(separator) if count < 0 else text.split(separator, count - 1)


def _substring(text: str, start: int, end: int | None = None) -> str:
    last = len(text) if end is None else end
    if end is not None and start > end:
        raise CelError(f"invalid substring range. start: {start}, end: {end}")
    if not 0 <= start <= len(text):
        raise CelError(f"index out of range: {start}")
    if not 0 <= last <= len(text):
        raise CelError(f"index out of range: {last}")
    return text[start:last]


def _trim(text: str) -> str:
    return text.strip(_SPACES)


def _join(parts: list[Any], separator: str = "") -> str:
    if not all(isinstance(p, str) for p in parts):
        raise CelError("join: invalid input: no such overload")
    if sum(map(len, parts)) + len(parts) * len(separator) > _RESULT_LIMIT:
        raise CelError("operation cancelled: actual cost limit exceeded")
    return separator.join(parts)


def _matches(text: str, pattern: str) -> bool:
    return regex(pattern).search(text) is not None


def _find(text: str, pattern: str) -> str:
    match = regex(pattern).search(text)
    return match.group() if match else ""


def _find_all(text: str, pattern: str, count: int = -1) -> list[str]:
    found: list[str] = []
    for match in regex(pattern).finditer(text):
        if count >= 0 and len(found) >= count:
            break
        found.append(match.group())
    return found


def overloads() -> list[Overload]:
    """Everything here."""
    text, twice = costs.traversed(), costs.traversed(times=2)
    walk = costs.walked

    def put(function: str, line: str, code: Any, cost: Any = None) -> Overload:
        return overload(function, line, code, cost, by_name=True)

    return [
        overload("contains", "contains_string = string.(string) -> bool", lambda s, p: p in s, costs.contained),
        overload("endsWith", "ends_with_string = string.(string) -> bool", str.endswith, text),
        overload("startsWith", "starts_with_string = string.(string) -> bool", str.startswith, text),
        overload("matches", "matches = (string, string) -> bool", _matches),
        overload("matches", "matches_string = string.(string) -> bool", _matches, costs.matched),
        put("charAt", "string_char_at_int = string.(int) -> string", _char_at),
        put("indexOf", "string_index_of_string = string.(string) -> int", _index_of, walk),
        put("indexOf", "string_index_of_string_int = string.(string, int) -> int", _index_of, walk),
        put("lastIndexOf", "string_last_index_of_string = string.(string) -> int", _last_index_of, walk),
        put("lastIndexOf", "string_last_index_of_string_int = string.(string, int) -> int", _last_index_of, walk),
        put("lowerAscii", "string_lower_ascii = string.() -> string", lambda s: s.translate(_LOWER), text),
        put("upperAscii", "string_upper_ascii = string.() -> string", lambda s: s.translate(_UPPER), text),
        put("replace", "string_replace_string_string = string.(string, string) -> string", _replace, twice),
        put("replace", "string_replace_string_string_int = string.(string, string, int) -> string", _replace, twice),
        put("split", "string_split_string = string.(string) -> list<string>", _split, twice),
        put("split", "string_split_string_int = string.(string, int) -> list<string>", _split, twice),
        put("substring", "string_substring_int = string.(int) -> string", _substring, text),
        put("substring", "string_substring_int_int = string.(int, int) -> string", _substring, text),
        put("trim", "string_trim = string.() -> string", _trim, text),
        put("format", "string_format = string.(list<dyn>) -> string", format_text, text),
        put("strings.quote", "strings_quote = (string) -> string", quote, text),
        put("join", "list_join = list<string>.() -> string", _join, costs.joined),
        put("join", "list_join_string = list<string>.(string) -> string", _join, costs.joined),
        put("find", "string_find_string = string.(string) -> string", _find, costs.matched),
        put("findAll", "string_find_all_string = string.(string) -> list<string>", _find_all, costs.matched),
        put("findAll", "string_find_all_string_int = string.(string, int) -> list<string>", _find_all, costs.matched),
    ]
