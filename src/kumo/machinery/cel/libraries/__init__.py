"""Functions of CEL, one module a library; `standard()` has all that Kubernetes 1.36 enables, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from kumo.machinery.cel import costs
from kumo.machinery.cel.functions import Overload, overload

Functions = Mapping[str, tuple[Overload, ...]]


def by_name(overloads: Iterable[Overload]) -> dict[str, tuple[Overload, ...]]:
    """The overloads of each function."""
    found: dict[str, list[Overload]] = {}
    for one in overloads:
        found.setdefault(one.function, []).append(one)
    return {name: tuple(all_of_it) for name, all_of_it in found.items()}


@cache
def standard() -> Functions:
    """The functions of every expression."""
    from kumo.machinery.cel.libraries import (
        addresses,
        authorization,
        calendar,
        conversions,
        formats,
        lists,
        operators,
        optionals,
        quantities,
        strings,
        urls,
    )

    return by_name(
        one
        for library in (
            operators, conversions, calendar, strings, lists, optionals, urls, addresses, quantities, formats,
            authorization,
        )
        for one in library.overloads()
    )  # fmt: skip


@cache
def with_json_patch() -> Functions:
    """The functions of a MutatingAdmissionPolicy: `jsonpatch.escapeKey` too."""

    def escape(text: str) -> str:
        return text.replace("~", "~0").replace("/", "~1")

    line = "string_jsonpatch_escapeKey_string = (string) -> string"
    more = overload("jsonpatch.escapeKey", line, escape, costs.traversed(), by_name=True)
    return {**standard(), "jsonpatch.escapeKey": (more,)}
