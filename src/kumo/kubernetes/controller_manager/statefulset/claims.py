"""Volume claims of a stateful set: what is made for a pod, and who owns it by the retention policy."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from kumo.api.objects import Object, name_of, namespace_of, owner_reference, uid_of
from kumo.api.resources import core
from kumo.kubernetes.controller_manager.statefulset import identity

CLAIMS = core("persistentvolumeclaims")
Reference = dict[str, Any]
_SET, _POD = ("apps/v1", "StatefulSet"), ("v1", "Pod")


def policy(stateful_set: Object) -> tuple[bool, bool]:
    """Whether claims go when the set is deleted, and when it is scaled down."""
    found = stateful_set["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    return found.get("whenDeleted") == "Delete", found.get("whenScaled") == "Delete"


def wanted(stateful_set: Object, number: int) -> list[Object]:
    """The claims of the pod of an ordinal, as they are created."""
    made = []
    for template in identity.templates(stateful_set):
        claim = deepcopy(template)
        meta = claim.setdefault("metadata", {})
        labels = (stateful_set["spec"].get("selector") or {}).get("matchLabels") or {}
        meta["labels"] = {**(meta.get("labels") or {}), **labels}
        meta["name"] = identity.claim_name(stateful_set, template, number)
        meta["namespace"] = namespace_of(stateful_set)
        claim.pop("status", None)
        made.append({**claim, "apiVersion": "v1", "kind": "PersistentVolumeClaim"})
    return made


def may_be_of(stateful_set: Object, claim: Object) -> bool:
    """Whether the claim has a name that the set gives."""
    prefixes = (f"{name_of(t)}-{name_of(stateful_set)}-" for t in identity.templates(stateful_set))
    return any(name_of(claim).startswith(prefix) for prefix in prefixes)


def of_pod(stateful_set: Object, pod: Object, known: Mapping[str, Object]) -> list[Object]:
    """Those of the pod's claims that exist; `known` has the namespace's claims by name."""
    number = identity.ordinal(pod)
    names = [identity.claim_name(stateful_set, t, number) for t in identity.templates(stateful_set)]
    return [known[n] for n in names if n in known]


def _references(claim: Object) -> list[Reference]:
    found: list[Reference] = (claim.get("metadata") or {}).get("ownerReferences") or []
    return found


def _names(reference: Reference, kind: tuple[str, str], obj: Object) -> bool:
    return (reference.get("apiVersion"), reference.get("kind")) == kind and reference.get("name") == name_of(obj)


def _has_stale(claim: Object, kind: tuple[str, str], obj: Object) -> bool:
    """Whether the claim names a former object of the same name as its owner."""
    named = [r for r in _references(claim) if _names(r, kind, obj)]
    return bool(named) and named[0].get("uid") != uid_of(obj)


def is_stale(stateful_set: Object, pod: Object, known: Mapping[str, Object]) -> bool:
    """Whether a claim of the pod still belongs to a former pod and is about to go with it: the new one must wait."""
    return policy(stateful_set)[1] and any(_has_stale(c, _POD, pod) for c in of_pod(stateful_set, pod, known))


def has_other_controller(claim: Object, stateful_set: Object, pod: Object) -> bool:
    """Whether somebody else manages the claim, so that the policy can't be applied."""
    if policy(stateful_set) == (False, False):
        return False
    for reference in _references(claim):
        if _names(reference, _SET, stateful_set) or _names(reference, _POD, pod):
            if reference.get("uid") not in (uid_of(stateful_set), uid_of(pod)):
                return True
        elif reference.get("controller"):
            return True
    return False


def _wanted_owners(stateful_set: Object, pod: Object) -> tuple[bool, bool]:
    """Whether the set, and whether the pod, should own the pod's claims."""
    when_deleted, when_scaled = policy(stateful_set)
    surplus = not identity.in_range(stateful_set, identity.ordinal(pod))
    by_pod = when_scaled and surplus
    return when_deleted and not by_pod, by_pod


def is_owned_rightly(claim: Object, stateful_set: Object, pod: Object) -> bool:
    """Whether the claim's owners are as the policy wants them (or can't be made so)."""
    if _has_stale(claim, _SET, stateful_set) or _has_stale(claim, _POD, pod):
        return True
    mine = (uid_of(stateful_set), uid_of(pod))
    own = [r for r in _references(claim) if r.get("uid") and r.get("uid") in mine]
    if has_other_controller(claim, stateful_set, pod):
        return not own
    if any(not r.get("controller") for r in own):
        return False
    uids = {r.get("uid") for r in own}
    return tuple(u in uids for u in mine) == _wanted_owners(stateful_set, pod)


def with_owners(claim: Object, stateful_set: Object, pod: Object) -> Object:
    """The claim with the owners that the policy wants."""
    kept = [r for r in _references(claim) if not _names(r, _SET, stateful_set) and not _names(r, _POD, pod)]
    if not has_other_controller(claim, stateful_set, pod):
        by_set, by_pod = _wanted_owners(stateful_set, pod)
        kept += [owner_reference(o) for o, wants in ((stateful_set, by_set), (pod, by_pod)) if wants]
    meta = {k: v for k, v in claim["metadata"].items() if k != "ownerReferences"}
    return {**claim, "metadata": {**meta, **({"ownerReferences": kept} if kept else {})}}
