"""Objects as JSON-shaped dictionaries, and the handful of questions everybody asks of one.

Shapes follow `ObjectMeta` of `meta/v1`. All functions are pure; those that change an object say so.
"""

from __future__ import annotations

import math
import os
import random
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

Object = dict[str, Any]
"""One API object: `apiVersion`, `kind`, `metadata` and whatever its kind adds."""

NAME_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""The letters of a generated name: no vowels and no look-alikes, so that no word appears by chance (as upstream)."""


class Key(NamedTuple):
    """Where an object lives among its kind; `namespace` is empty for a cluster-scoped one."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def metadata(obj: Object) -> dict[str, Any]:
    """The object's metadata, made if missing (so that a caller may write into it)."""
    found: dict[str, Any] = obj.setdefault("metadata", {})
    return found


def key_of(obj: Object) -> Key:
    """The object's key: its namespace (or the empty string) and its name."""
    meta = obj.get("metadata") or {}
    return Key(meta.get("namespace") or "", meta.get("name") or "")


def name_of(obj: Object) -> str:
    """`metadata.name`, or the empty string."""
    return str((obj.get("metadata") or {}).get("name") or "")


def namespace_of(obj: Object) -> str:
    """`metadata.namespace`, or the empty string."""
    return str((obj.get("metadata") or {}).get("namespace") or "")


def uid_of(obj: Object) -> str:
    """`metadata.uid`, or the empty string."""
    return str((obj.get("metadata") or {}).get("uid") or "")


def labels_of(obj: Object) -> dict[str, str]:
    """The object's labels (do not change the result: it may be shared)."""
    return (obj.get("metadata") or {}).get("labels") or {}


def annotations_of(obj: Object) -> dict[str, str]:
    """The object's annotations (do not change the result: it may be shared)."""
    return (obj.get("metadata") or {}).get("annotations") or {}


def is_deleting(obj: Object) -> bool:
    """Whether deletion has been asked for (`metadata.deletionTimestamp` is set)."""
    return bool((obj.get("metadata") or {}).get("deletionTimestamp"))


def new_uid() -> str:
    """A random UID in the form RFC 4122 gives a version 4 UUID."""
    made = os.urandom(16).hex()
    return f"{made[:8]}-{made[8:12]}-4{made[13:16]}-{'89ab'[int(made[16], 16) & 3]}{made[17:20]}-{made[20:]}"


def name_suffix(length: int = 5) -> str:
    """A random suffix as `generateName` appends it."""
    return "".join(random.choices(NAME_SUFFIX_ALPHABET, k=length))


def timestamp(at: float | None = None) -> str:
    """A `metav1.Time`: RFC 3339, UTC, whole seconds. `at` is seconds since the epoch, now by default."""
    return _second(math.floor(time.time() if at is None else at))


@lru_cache(maxsize=64)
def _second(at: int) -> str:
    """The same second is written down many times over."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def micro_timestamp(at: float | None = None) -> str:
    """A `metav1.MicroTime`: RFC 3339, UTC, six decimals."""
    moment = datetime.fromtimestamp(time.time() if at is None else at, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_timestamp(text: str) -> float:
    """Seconds since the epoch of a `metav1.Time` or `MicroTime`. Raises ValueError for any other text."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def controller_of(obj: Object) -> dict[str, Any] | None:
    """The owner reference with `controller: true`, if there is one."""
    for reference in (obj.get("metadata") or {}).get("ownerReferences") or ():
        if reference.get("controller"):
            found: dict[str, Any] = reference
            return found
    return None


def owner_reference(owner: Object, *, controller: bool = True, block_deletion: bool = True) -> dict[str, Any]:
    """An owner reference to `owner`, which must carry apiVersion, kind, name and uid."""
    reference: dict[str, Any] = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name_of(owner),
        "uid": uid_of(owner),
    }
    if controller:
        reference["controller"] = True
    if block_deletion:
        reference["blockOwnerDeletion"] = True
    return reference
