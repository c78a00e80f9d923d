"""Controller revisions as values: former templates of stateful sets and daemon sets, kept to go back to.

A ControllerRevision (apps/v1) holds in `data` the strategic merge patch that puts its template back:
`{"spec": {"template": {..., "$patch": "replace"}}}`. Its name is the owner's and a hash of that patch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any

from kumo.api.objects import (
    NAME_SUFFIX_ALPHABET,
    Object,
    annotations_of,
    labels_of,
    name_of,
    namespace_of,
    owner_reference,
)

HASH_LABEL = "controller-revision-hash"
"""On pods: which revision they are of (its name for stateful sets, its hash for daemon sets)."""
OWN_HASH_LABEL = "controller.kubernetes.io/hash"
"""On the revisions of stateful sets."""
_FNV_OFFSET, _FNV_PRIME = 2166136261, 16777619
_LONGEST_PREFIX = 223


def patch_of(owner: Object) -> dict[str, Any]:
    """What brings the owner's current template back when it is applied as a strategic merge patch.

    Its keys are sorted: clients compare a revision's bytes with those that Go writes of the template.
    """
    template = {**owner["spec"]["template"], "$patch": "replace"}
    return {"spec": {"template": json.loads(json.dumps(template, sort_keys=True))}}


def template_of(revision: Object) -> dict[str, Any]:
    """The pod template that a revision keeps; empty when its data are not what `patch_of` makes."""
    found = ((revision.get("data") or {}).get("spec") or {}).get("template")
    return {k: deepcopy(v) for k, v in found.items() if k != "$patch"} if isinstance(found, dict) else {}


def data_hash(data: dict[str, Any], collisions: int = 0) -> str:
    """The hash in a revision's name: FNV-1 (32 bits) of the data as Go writes JSON and of the collision count."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for plain in "<>&\u2028\u2029":
        text = text.replace(plain, f"\\u{ord(plain):04x}")
    value = _FNV_OFFSET
    for byte in (text + str(collisions)).encode():
        value = ((value * _FNV_PRIME) & 0xFFFFFFFF) ^ byte
    alphabet = NAME_SUFFIX_ALPHABET
    return "".join(alphabet[ord(digit) % len(alphabet)] for digit in str(value))


def new_revision(owner: Object, number: int, collisions: int = 0, label: str = OWN_HASH_LABEL) -> Object:
    """The revision of the owner's current template, numbered `number`; its hash is in the label `label`."""
    data = patch_of(owner)
    digest = data_hash(data, collisions)
    labels = (owner["spec"]["template"].get("metadata") or {}).get("labels") or {}
    meta: dict[str, Any] = {
        "name": f"{name_of(owner)[:_LONGEST_PREFIX]}-{digest}",
        "namespace": namespace_of(owner),
        "labels": {**labels, label: digest},
        "ownerReferences": [owner_reference(owner)],
    }
    if annotations_of(owner):
        meta["annotations"] = dict(annotations_of(owner))
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": meta,
        "data": data,
        "revision": number,
    }


def number_of(revision: Object) -> int:
    """`revision`, which grows with every change of the template."""
    return int(revision.get("revision") or 0)


def hash_of(obj: Object) -> str:
    """The label `controller-revision-hash`; empty without it."""
    return labels_of(obj).get(HASH_LABEL, "")


def ordered(revisions: Iterable[Object]) -> list[Object]:
    """Oldest first: by number, then by creation and name."""
    return sorted(revisions, key=lambda r: (number_of(r), r["metadata"].get("creationTimestamp") or "", name_of(r)))


def _without_nothing(value: Any) -> Any:
    if isinstance(value, dict):
        cleaned = {k: _without_nothing(v) for k, v in value.items()}
        return {k: v for k, v in cleaned.items() if v is not None and v != []}
    return [_without_nothing(v) for v in value] if isinstance(value, list) else value


def same_data(one: Object, other: Object) -> bool:
    """Whether two revisions bring back the same template."""
    mine, its = one.get("data"), other.get("data")
    return bool(mine == its or _without_nothing(mine) == _without_nothing(its))


def to_forget(revisions: Sequence[Object], live: set[str], limit: int) -> list[Object]:
    """The oldest revisions beyond `limit`, not counting those whose names are in `live`."""
    spare = [r for r in ordered(revisions) if name_of(r) not in live]
    return spare[: max(len(spare) - limit, 0)]
