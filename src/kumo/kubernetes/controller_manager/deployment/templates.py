"""Pod templates: are two the same, and which short hash tells them apart (`pod-template-hash`)."""

from __future__ import annotations

import json
from typing import Any

from kumo.api.objects import NAME_SUFFIX_ALPHABET

HASH_LABEL = "pod-template-hash"
_FNV_OFFSET, _FNV_PRIME = 2166136261, 16777619


def canonical(value: Any) -> Any:
    """The value without what says nothing: nulls, and empty lists (which upstream holds equal to missing ones)."""
    if isinstance(value, dict):
        cleaned = {k: canonical(v) for k, v in value.items()}
        return {k: v for k, v in cleaned.items() if v is not None and v != []}
    if isinstance(value, list):
        return [canonical(v) for v in value]
    return value


def without_hash(template: dict[str, Any]) -> dict[str, Any]:
    """The canonical template without the label that replica sets add."""
    cleaned: dict[str, Any] = canonical(template)
    meta = dict(cleaned.get("metadata") or {})
    labels = {k: v for k, v in (meta.get("labels") or {}).items() if k != HASH_LABEL}
    meta.pop("labels", None)
    if labels:
        meta["labels"] = labels
    if not meta.get("annotations"):
        meta.pop("annotations", None)
    return {**cleaned, "metadata": meta}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two templates make the same pods."""
    return without_hash(one) == without_hash(other)


def template_hash(template: dict[str, Any], collisions: int | None = None) -> str:
    """A hash of the template in letters safe for names: FNV-1a (32 bits), its digits mapped as upstream maps them.

    `collisions` (`status.collisionCount`) changes it when the name it gave was taken.
    """
    text = json.dumps(canonical(template), sort_keys=True, separators=(",", ":"))
    if collisions is not None:
        text += str(collisions)
    value = _FNV_OFFSET
    for byte in text.encode():
        value = ((value ^ byte) * _FNV_PRIME) & 0xFFFFFFFF
    alphabet = NAME_SUFFIX_ALPHABET
    return "".join(alphabet[ord(digit) % len(alphabet)] for digit in str(value))
