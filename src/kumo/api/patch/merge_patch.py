"""JSON Merge Patch (RFC 7386), content type `application/merge-patch+json`."""

from __future__ import annotations

from typing import Any


def apply_merge_patch(target: Any, patch: Any) -> Any:
    """A new value: the target with the patch merged in. Null removes a key; lists are replaced whole.

    Parts that the patch does not touch are shared with the target, so neither may be changed afterwards.
    """
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = apply_merge_patch(result.get(key), value)
    return result


def create_merge_patch(old: Any, new: Any) -> Any:
    """The patch that makes `new` of `old`; empty if they are equal. Nulls inside `new` cannot be expressed."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            patch[key] = value
        elif old[key] != value or type(old[key]) is not type(value):
            patch[key] = create_merge_patch(old[key], value)
    return patch
