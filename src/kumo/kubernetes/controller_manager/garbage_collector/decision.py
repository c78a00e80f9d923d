"""What happens to one object: nothing, a reference is cut, it is deleted, or its waiting owner is let go. Pure.

The rules of upstream's `attemptToDeleteItem`, `processDeletingDependentsItem` and `orphanDependents`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from kumo.api.objects import Object, is_deleting
from kumo.kubernetes.controller_manager.garbage_collector.graph import FOREGROUND, ORPHAN, Owner, owners_of, without


class OwnerState(Enum):
    """What is known of one owner: it is there, it is gone, or it waits for its dependents to go first."""

    SOLID = "solid"
    ABSENT = "absent"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Keep:
    """Nothing to do."""


@dataclass(frozen=True, slots=True)
class SetOwners:
    """Write these owner references instead."""

    references: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete with that propagation policy; first let the object not block owners that wait, if `unblock` says so."""

    policy: str
    unblock: bool = False


Verdict = Keep | SetOwners | Delete


def judge(obj: Object, states: Mapping[str, OwnerState], *, waits_for_dependents: bool) -> Verdict:
    """What to do with an object whose owners are in `states` (by uid).

    `waits_for_dependents`: one of its own dependents is being deleted in the foreground, or has dependents that are:
    then its owner must not wait for it, or a circle would wait for ever.
    """
    owners = owners_of(obj)
    if not owners or is_deleting(obj):
        return Keep()
    by_state: dict[OwnerState, set[str]] = {state: set() for state in OwnerState}
    for owner in owners:
        by_state[states.get(owner.uid, OwnerState.SOLID)].add(owner.uid)
    if by_state[OwnerState.SOLID]:
        gone = by_state[OwnerState.ABSENT] | by_state[OwnerState.WAITING]
        if not gone:
            return Keep()
        return SetOwners(tuple(without(obj["metadata"]["ownerReferences"], gone)))
    if by_state[OwnerState.WAITING]:
        return Delete("Foreground", unblock=waits_for_dependents)
    return Delete(_policy(obj))


def _policy(obj: Object) -> str:
    finalizers = obj["metadata"].get("finalizers") or ()
    if ORPHAN in finalizers:
        return "Orphan"
    return "Foreground" if FOREGROUND in finalizers else "Background"


def unblocked(obj: Object) -> tuple[dict[str, Any], ...]:
    """The object's owner references, none of them blocking."""
    references = obj["metadata"].get("ownerReferences") or ()
    return tuple({k: v for k, v in r.items() if k != "blockOwnerDeletion"} for r in references)


def misplaced(owner: Owner, dependent_namespace: str, owner_namespace: str, *, owner_namespaced: bool) -> bool:
    """Whether a reference crosses namespaces, which makes the owner absent as far as the dependent is concerned."""
    return owner_namespaced and owner_namespace != dependent_namespace
