"""Conditions: the list of `{type, status, reason, message, lastTransitionTime}` in an object's status."""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object, timestamp


def find(conditions: list[dict[str, Any]] | None, kind: str) -> dict[str, Any] | None:
    """The condition of that type, or None."""
    return next((c for c in conditions or () if c.get("type") == kind), None)


def condition(obj: Object, kind: str) -> dict[str, Any] | None:
    """The condition of that type in the object's status, or None."""
    return find((obj.get("status") or {}).get("conditions"), kind)


def is_true(obj: Object, kind: str) -> bool:
    """Whether the object has that condition with status "True"."""
    return (condition(obj, kind) or {}).get("status") == "True"


def set_condition(conditions: list[dict[str, Any]], new: dict[str, Any], at: str | None = None) -> bool:
    """Put `new` into the list in place of the one of its type; True if anything but a time changed.

    `lastTransitionTime` moves only when the status does, as upstream's `SetStatusCondition`; `at` is the time to write.
    """
    old = find(conditions, new["type"])
    if old is None:
        conditions.append({**new, "lastTransitionTime": new.get("lastTransitionTime") or at or timestamp()})
        return True
    wanted = {k: v for k, v in new.items() if k != "lastTransitionTime"}
    if all(old.get(k) == v for k, v in wanted.items()):
        return False
    if old.get("status") != new.get("status"):
        old["lastTransitionTime"] = new.get("lastTransitionTime") or at or timestamp()
    old.update(wanted)
    return True
