"""Revisions: the numbers and notes that `kubectl rollout history` and `undo` read, and how much past is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kumo.api.objects import Object, annotations_of, is_deleting
from kumo.kubernetes.controller_manager.deployment.sets import DESIRED, MAX, REVISION, Set

HISTORY = "deployment.kubernetes.io/revision-history"
_NOT_COPIED = {
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
}
_HISTORY_LIMIT = 2000
DEFAULT_HISTORY = 10


def next_revision(old: Sequence[Set]) -> int:
    """One more than any former set's revision."""
    return max((s.revision for s in old), default=0) + 1


def set_annotations(deployment: Object, existing: dict[str, str] | None, revision: int, maximum: int) -> dict[str, str]:
    """What the annotations of the current template's set should be; `existing` is None for one to be made.

    The deployment's own annotations are copied; a set that becomes current again gets a new revision and remembers its
    former one.
    """
    notes = dict(existing or {})
    notes.update({k: v for k, v in annotations_of(deployment).items() if k not in _NOT_COPIED})
    former = notes.get(REVISION, "")
    if not former.isdigit() or int(former) < revision:
        notes[REVISION] = str(revision)
        if existing is not None and former:
            listed = [n for n in notes.get(HISTORY, "").split(",") if n]
            listed.append(former)
            while len(",".join(listed)) > _HISTORY_LIMIT:
                listed.pop(0)
            notes[HISTORY] = ",".join(listed)
    if existing is None:
        notes.update(size_annotations(deployment, maximum))
    return notes


def size_annotations(deployment: Object, maximum: int) -> dict[str, str]:
    """The sizes a set remembers, to scale by proportion later."""
    return {DESIRED: str(deployment["spec"].get("replicas", 1)), MAX: str(maximum)}


def to_forget(deployment: Object, old: Sequence[Set]) -> list[Set]:
    """The former sets beyond `revisionHistoryLimit`, lowest revision first, as far as they hold no pods."""
    limit: Any = deployment["spec"].get("revisionHistoryLimit", DEFAULT_HISTORY)
    kept = [s for s in old if not is_deleting(s.object)]
    surplus = len(kept) - int(limit)
    if surplus <= 0:
        return []
    ordered = sorted(kept, key=lambda s: (s.revision, s.created))
    return [s for s in ordered[:surplus] if s.replicas == 0 and s.wanted == 0 and s.observed]
