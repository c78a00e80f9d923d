"""Whether an Indexed job has succeeded early, by its `successPolicy` (batch/v1). Pure."""

from __future__ import annotations

from typing import Any

from kumo.kubernetes.controller_manager.job import indexes
from kumo.kubernetes.controller_manager.job.indexes import Intervals


def match(policy: dict[str, Any] | None, completions: int, done: Intervals) -> str:
    """The message of the first rule that the succeeded indexes meet; empty if none does."""
    if policy is None or not done:
        return ""
    for number, rule in enumerate(policy.get("rules") or ()):
        if _is_met(rule, completions, done):
            return f"Matched rules at index {number}"
    return ""


def _is_met(rule: dict[str, Any], completions: int, done: Intervals) -> bool:
    named, count = rule.get("succeededIndexes"), rule.get("succeededCount")
    if named is None:
        return count is not None and indexes.total(done) >= int(count)
    required = indexes.parse(named, completions)
    if not required:
        return False
    both = indexes.common(required, done)
    return both == indexes.total(required) or (count is not None and both >= int(count))
