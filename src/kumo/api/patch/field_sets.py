"""Sets of fields, as server-side apply keeps them: in the form of `FieldsV1`, the tries of `managedFields`.

A set is a dictionary from path elements to sets. Elements are `f:name` for fields and map keys, `k:{"name":"x"}` for
items of keyed lists, `v:"x"` for items of sets. What stands below an element says what of it is a member:

- `{}`: the place itself, and nothing below it;
- with the key `.`: the place itself, and what else is there;
- without: only what is there.

The empty dictionary as a whole set has no members. Keys are in upstream's order: `.` first, fields before keys before
values, numbers as numbers. Source: `sigs.k8s.io/structured-merge-diff/fieldpath`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

FieldSet = dict[str, Any]
SELF = "."


def compact(value: Any) -> str:
    """A scalar, or a dictionary of them with sorted keys, as the shortest JSON."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


_SPECIAL = re.compile(r'["\\<>&]')
_ESCAPED = re.compile("[<>&\u2028\u2029]")


def scalar(value: Any) -> str:
    """The JSON of a scalar as path elements have it, which is Go's: some characters by their numbers."""
    if type(value) is str:
        if not _SPECIAL.search(value) and value.isprintable():
            return f'"{value}"'
    elif type(value) is int:
        return str(value)
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", compact(value))


def is_member(part: FieldSet) -> bool:
    """Whether the place is a member whose part of a set this is."""
    return not part or SELF in part


# -- order --------------------------------------------------------------------------------------------------------


_RANKS = {"f": 1, "k": 2, "v": 3, "i": 4}


@lru_cache(maxsize=4096)
def _rank(element: str) -> tuple[Any, ...]:
    if element == SELF:
        return (0,)
    rank, text = _RANKS.get(element[:1], 5), element[2:]
    if rank in (1, 5):
        return (rank, text)
    try:
        value = json.loads(text)
    except ValueError:
        return (5, element)
    if isinstance(value, dict):
        return (rank, tuple((name, _comparable(v)) for name, v in sorted(value.items())))
    return (rank, _comparable(value))


def _comparable(value: Any) -> tuple[int, Any]:
    if isinstance(value, bool):
        return (2, value)
    if isinstance(value, int | float):
        return (0, value)
    if isinstance(value, str):
        return (1, value)
    return (3, compact(value))


def in_order(elements: Iterable[str]) -> list[str]:
    """The elements in upstream's order."""
    found = list(elements)
    if len(found) > 1:
        first = found[-1][:2]
        if first == "f:" and all(e[0] in ".f" for e in found):
            found.sort()
        else:
            found.sort(key=_rank)
    return found


def ordered(one: FieldSet) -> FieldSet:
    """The same set with its keys in order at this level."""
    wanted = in_order(one)
    return {element: one[element] for element in wanted} if list(one) != wanted else one


# -- algebra ------------------------------------------------------------------------------------------------------


def union(one: FieldSet, other: FieldSet) -> FieldSet:
    """Members of either."""
    if not other:
        return one
    if not one:
        return other
    found = dict(one)
    grown = False
    for element, part in other.items():
        present = found.get(element)
        if present is None:
            found[element] = part
            grown = True
        elif present is not part and present != part:
            found[element] = _join(present, part)
    return ordered(found) if grown else found


def _join(one: FieldSet, other: FieldSet) -> FieldSet:
    """The union below one element."""
    if element_only(one):
        return other if is_member(other) else {SELF: {}, **other}
    if element_only(other):
        return one if is_member(one) else {SELF: {}, **one}
    return union(one, other)


def element_only(part: FieldSet) -> bool:
    """Whether the place is a member and nothing below it is."""
    return not part or (len(part) == 1 and SELF in part)


def difference(one: FieldSet, other: FieldSet) -> FieldSet:
    """Members of the first that are not members of the second."""
    if not other:
        return one
    found: FieldSet = {}
    for element, part in one.items():
        theirs = other.get(element)
        if theirs is None:
            found[element] = part
        elif element != SELF:
            rest = _subtract(part, theirs)
            if rest is not None:
                found[element] = rest
    return found


def _subtract(part: FieldSet, theirs: FieldSet) -> FieldSet | None:
    """The difference below one element; None if nothing is left."""
    member = is_member(part) and not is_member(theirs)
    children = {e: p for e, p in part.items() if e != SELF}
    rest = difference(children, {e: p for e, p in theirs.items() if e != SELF}) if children else {}
    if member:
        return {SELF: {}, **rest} if rest else {}
    return rest or None


def intersection(one: FieldSet, other: FieldSet) -> FieldSet:
    """Members of both."""
    found: FieldSet = {}
    for element, part in one.items():
        theirs = other.get(element)
        if theirs is None:
            continue
        if element == SELF:
            found[SELF] = {}
            continue
        both = _common(part, theirs)
        if both is not None:
            found[element] = both
    return found


def _common(part: FieldSet, theirs: FieldSet) -> FieldSet | None:
    member = is_member(part) and is_member(theirs)
    rest = intersection({e: p for e, p in part.items() if e != SELF}, {e: p for e, p in theirs.items() if e != SELF})
    if member:
        return {SELF: {}, **rest} if rest else {}
    return rest or None


def without(one: FieldSet, gone: FieldSet) -> FieldSet:
    """The first without the members of the second and everything below those."""
    if not gone:
        return one
    found: FieldSet = {}
    for element, part in one.items():
        below = gone.get(element)
        if below is None or element == SELF:
            found[element] = part
        elif not is_member(below):
            rest = without({e: p for e, p in part.items() if e != SELF}, below)
            if is_member(part):
                found[element] = {SELF: {}, **rest} if rest else {}
            elif rest:
                found[element] = rest
    return found


def has(one: FieldSet, path: Iterable[str]) -> bool:
    """Whether the place at the path (of elements) is a member."""
    part: FieldSet | None = one
    for element in path:
        part = part.get(element) if part is not None else None
        if part is None:
            return False
    return part is not None and is_member(part)


def at_path(path: Iterable[str]) -> FieldSet:
    """The set with one member."""
    found: FieldSet = {}
    for element in reversed(list(path)):
        found = {element: found}
    return found


def paths(one: FieldSet, prefix: str = "") -> Iterator[str]:
    """The members as texts: `.spec.containers[name="a"].image`; those of a place before those below it."""
    children = {element: part for element, part in one.items() if element != SELF}
    for element, part in children.items():
        if is_member(part):
            yield prefix + shown(element)
    for element, part in children.items():
        if part:
            yield from paths(part, prefix + shown(element))


def shown(element: str) -> str:
    """A path element as messages give it."""
    kind, text = element[:2], element[2:]
    if kind == "f:":
        return f".{text}"
    if kind == "v:":
        return f"[={compact(json.loads(text))}]" if "\\" in text else f"[={text}]"
    if kind == "i:":
        return f"[{text}]"
    pairs = json.loads(text)
    return "[" + ",".join(f"{k}={compact(v)}" for k, v in pairs.items()) + "]"


def checked(fields: Any) -> FieldSet:
    """A `fieldsV1` that a client wrote, in order. Raises ValueError for what is none."""
    if not isinstance(fields, dict):
        raise ValueError("fieldsV1 is not an object")
    found: FieldSet = {}
    for element, part in fields.items():
        if element != SELF:
            if len(element) < 2:
                raise ValueError("key must be 2 characters long:")
            if element[1] != ":":
                raise ValueError(f"missing colon: {element}")
            if element[0] not in _RANKS:
                raise ValueError("unknown path element type")
            if element[0] in "kv":
                json.loads(element[2:])
            if element[0] == "i":
                int(element[2:])
        found[element] = checked(part) if part else {}
    return ordered(found)
