"""Whether a value of one type may stand where another is wanted, with type variables bound on the way (cel-go)."""

from __future__ import annotations

from kumo.machinery.cel import types
from kumo.machinery.cel.types import DYN, Type

Bindings = dict[Type, Type]
_NULLABLE = ("opaque", "struct", "timestamp", "duration")


def is_dyn_or_error(found: Type) -> bool:
    """Whether nothing is known of the type."""
    return found.kind in ("dyn", "error")


def unwrapped(found: Type) -> tuple[Type, bool]:
    """The type inside an optional one, and whether it was one."""
    if found.kind == "opaque" and found.name == "optional_type":
        return found.parameters[0], True
    return found, False


def assignable(bindings: Bindings, wanted: Type, given: Type) -> Bindings | None:
    """The bindings under which the types agree, or None."""
    copy = dict(bindings)
    return copy if _assignable(copy, wanted, given) else None


def all_assignable(bindings: Bindings, first: list[Type], second: list[Type]) -> Bindings | None:
    """The same for types side by side."""
    copy = dict(bindings)
    return copy if _all_assignable(copy, first, second) else None


def _all_assignable(bindings: Bindings, first: list[Type], second: list[Type]) -> bool:
    return len(first) == len(second) and all(_assignable(bindings, a, b) for a, b in zip(first, second, strict=True))


def _assignable(m: Bindings, one: Type, two: Type) -> bool:
    if two.kind == "param":
        valid, bound = _substitutes(m, one, two)
        if valid:
            return True
        if bound:
            return False
    if one.kind == "param":
        return _substitutes(m, two, one)[0]
    if is_dyn_or_error(one) or is_dyn_or_error(two):
        return True
    if one.kind == "null":
        return two.kind == "null" or two.kind in _NULLABLE
    if two.kind == "null":
        return one.kind in _NULLABLE
    if one.kind == "type":
        return two.kind == "type"
    if one.kind in ("opaque", "list", "map"):
        return (
            one.kind == two.kind
            and one.name == two.name
            and _all_assignable(m, list(one.parameters), list(two.parameters))
        )
    return one == two


def _substitutes(m: Bindings, one: Type, variable: Type) -> tuple[bool, bool]:
    """Whether `one` may be what the variable stands for, and whether that was known before."""
    if one == variable:
        return True, True
    known = m.get(variable)
    if known is not None:
        if one == known:
            return True, True
        if _assignable(m, one, known):
            general = most_general(one, known)
            if _free_of(m, variable, general):
                m[variable] = general
            return True, True
        return False, True
    if _free_of(m, variable, one):
        m[variable] = one
        return True, False
    return False, False


def _free_of(m: Bindings, variable: Type, within: Type) -> bool:
    if variable == within:
        return False
    if within.kind == "param":
        known = m.get(within)
        return known is None or _free_of(m, variable, known)
    return all(_free_of(m, variable, part) for part in within.parameters)


def most_general(one: Type, two: Type) -> Type:
    """The type of the two that says less."""
    return one if _less_specific(one, two) else two


def _less_specific(one: Type, two: Type) -> bool:
    if one.kind in ("dyn", "param"):
        return True
    if two.kind in ("dyn", "param") or one.kind != two.kind:
        return False
    if one.kind in ("opaque", "list", "map"):
        return (
            one.name == two.name
            and len(one.parameters) == len(two.parameters)
            and all(_less_specific(a, b) for a, b in zip(one.parameters, two.parameters, strict=True))
        )
    return one.kind == "type" or one == two


def substituted(m: Bindings, found: Type, to_dyn: bool = False) -> Type:
    """The type with its variables replaced by what they stand for; unknown ones by DYN if asked."""
    known = m.get(found)
    if known is not None:
        return substituted(m, known, to_dyn)
    if found.kind == "param":
        return DYN if to_dyn else found
    if not found.parameters:
        return found
    parts = tuple(substituted(m, part, to_dyn) for part in found.parameters)
    if parts == found.parameters:
        return found
    if found.kind == "list":
        return types.list_of(parts[0])
    if found.kind == "map":
        return types.map_of(*parts)
    return Type(found.kind, found.name, parts)
