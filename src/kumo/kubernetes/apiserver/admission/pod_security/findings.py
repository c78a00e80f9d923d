"""What checks are made of: a pod's containers, findings, and their words. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from kumo.api.objects import Object


class Finding(NamedTuple):
    """Why a pod is not allowed: `reason` in a few words, `detail` with the names that it is about."""

    reason: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


Check = Callable[[Object, Object], Finding | None]
"""Looks at a pod's metadata and spec."""


class Pick(NamedTuple):
    """A check's rules from a minor version on, and the baseline checks that they stand in for."""

    minor: int
    check: Check
    instead_of: tuple[str, ...] = ()


def containers(spec: Object) -> Iterator[Object]:
    """Init containers, containers, ephemeral containers."""
    for part in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(part) or ()


def security(thing: Object) -> Object:
    """The security context of a pod spec or container."""
    return thing.get("securityContext") or {}


def quoted(items: Iterable[str]) -> str:
    """`"a", "b"`."""
    return ", ".join(f'"{item}"' for item in items)


def plural(word: str, count: int) -> str:
    """The word, with an s for any number but one."""
    return word if count == 1 else f"{word}s"


def named(word: str, items: Sequence[str]) -> str:
    """`container "a"`, `containers "a", "b"`."""
    return f"{plural(word, len(items))} {quoted(items)}"


def setters(spec: Object, bad: Callable[[Object], bool]) -> list[str]:
    """Who has a bad security context: `pod`, and the containers by name."""
    found = ["pod"] if bad(security(spec)) else []
    names = [container.get("name", "") for container in containers(spec) if bad(security(container))]
    return [*found, named("container", names)] if names else found


def each_context(spec: Object) -> Iterator[Object]:
    """The security contexts of the pod and its containers."""
    yield security(spec)
    for container in containers(spec):
        yield security(container)


def unless_windows(check: Check) -> Check:
    """The check, for pods of other systems: Windows has no such setting, and validation forbids it there."""

    def checked(meta: Object, spec: Object) -> Finding | None:
        return None if (spec.get("os") or {}).get("name") == "windows" else check(meta, spec)

    return checked


def unless_own_users(check: Check) -> Check:
    """The check, for pods that share the node's users (`hostUsers` is not false)."""

    def checked(meta: Object, spec: Object) -> Finding | None:
        return None if spec.get("hostUsers") is False else check(meta, spec)

    return checked


def values_at(items: Iterable[Object], *path: str) -> set[Any]:
    """The values at a path of each item that has one."""
    found = set()
    for item in items:
        value: Any = item
        for step in path:
            value = (value or {}).get(step)
        if value is not None:
            found.add(value)
    return found
