"""Conditions as KubeVirt keeps them: with `lastProbeTime`, and untouched while nothing but a time would change."""

from __future__ import annotations

from typing import Any

from kumo.api.conditions import find

Condition = dict[str, Any]


def update(conditions: list[Condition], new: Condition) -> None:
    """Put `new` in the place of the condition of its type, unless status, reason and message are the same."""
    for index, old in enumerate(conditions):
        if old.get("type") == new["type"]:
            if any(old.get(part) != new.get(part) for part in ("status", "reason", "message")):
                conditions[index] = new
            return
    conditions.append(new)


def remove(conditions: list[Condition], kind: str) -> None:
    """Take the condition of that type away, if it is there."""
    conditions[:] = [c for c in conditions if c.get("type") != kind]


def condition(kind: str, status: str, reason: str, message: str, now: str) -> Condition:
    """A condition that was probed and has changed `now`."""
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastProbeTime": now,
        "lastTransitionTime": now,
    }


def is_status(conditions: list[Condition] | None, kind: str, status: str, reason: str = "") -> bool:
    """Whether the condition of that type has that status (and that reason, if given)."""
    found = find(conditions, kind)
    return found is not None and found.get("status") == status and (not reason or found.get("reason") == reason)


def same(old: list[Condition] | None, new: list[Condition] | None) -> bool:
    """Whether both lists say the same, whatever the order."""

    def key(c: Condition) -> str:
        return str(c.get("type"))

    return sorted(old or [], key=key) == sorted(new or [], key=key)
