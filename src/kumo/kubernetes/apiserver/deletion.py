"""What a deletion does to an object, as a pure decision: gone at once, marked, or left as it is.

The rules of `apiserver/pkg/registry/rest/delete.go` and `registry/generic/registry/store.go`: graceful deletion of
pods, finalizers, and the finalizers that stand for a propagation policy.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from kumo.api.errors import Cause, conflict, invalid
from kumo.api.objects import Object, parse_timestamp, timestamp
from kumo.api.resources import ResourceType
from kumo.kubernetes.apiserver.write_options import dry_run_causes

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"
CLEANUP_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
"""Keeps a deleted definition until its instances are gone."""
DEFAULT_GRACE = 30
_POLICIES = ("Foreground", "Background", "Orphan")
_ORPHANING = {("", "ReplicationController"), ("batch", "Job")}
"""Kinds whose dependents are kept unless the client says otherwise, for old clients' sake."""


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """`meta/v1` DeleteOptions. `grace` None: the kind's default; `propagation` empty: likewise."""

    grace: int | None = None
    propagation: str = ""
    uid: str = ""
    resource_version: str = ""
    dry_run: tuple[str, ...] = ()
    stated: Object = field(default_factory=dict)
    """What the client said, as admission is told of it."""


def parse_options(body: Object, query: dict[str, str]) -> DeleteOptions:
    """The options of decoded ones (an eviction's), completed by a query's. Raises 422."""
    from_query: Object = {}
    if query.get("gracePeriodSeconds"):
        from_query["gracePeriodSeconds"] = int(query["gracePeriodSeconds"])
    if query.get("orphanDependents"):
        from_query["orphanDependents"] = query["orphanDependents"] in ("true", "1")
    if query.get("propagationPolicy"):
        from_query["propagationPolicy"] = query["propagationPolicy"]
    if query.get("dryRun"):
        from_query["dryRun"] = [query["dryRun"]]
    return checked_options(from_query | {k: v for k, v in body.items() if v is not None})


def checked_options(body: Object) -> DeleteOptions:
    """The options, of decoded ones. Raises 422 with all that is wrong."""
    policy: Any = body.get("propagationPolicy")
    orphan: Any = body.get("orphanDependents")
    dry = [str(value) for value in body.get("dryRun") or ()]
    causes: list[Cause] = []
    if policy is not None and orphan is not None:
        text = f'Invalid value: "{policy}": orphanDependents and deletionPropagation cannot be both set'
        causes.append(Cause("propagationPolicy", text))
    if policy is not None and policy not in _POLICIES:
        supported = ", ".join(f'"{name}"' for name in (*_POLICIES, "nil"))
        text = f'Unsupported value: "{policy}": supported values: {supported}'
        causes.append(Cause("propagationPolicy", text, "FieldValueNotSupported"))
    causes += dry_run_causes(dry)
    if causes:
        raise invalid("meta.k8s.io", "DeleteOptions", "", causes)
    if orphan is not None:
        policy = "Orphan" if orphan else "Background"
    wanted = body.get("preconditions") or {}
    return DeleteOptions(
        body.get("gracePeriodSeconds"),
        policy or "",
        wanted.get("uid") or "",
        wanted.get("resourceVersion") or "",
        tuple(dry),
    )


def check_preconditions(kind: ResourceType, obj: Object, options: DeleteOptions) -> None:
    """Refuse when the object is not the one that was meant. Raises 409."""
    meta = obj["metadata"]
    if options.uid and options.uid != meta["uid"]:
        why = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({meta['uid']}). "
            "The object might have been deleted and then recreated"
        )
        raise conflict(kind.group, kind.kind, meta["name"], why)
    if options.resource_version and options.resource_version != meta["resourceVersion"]:
        why = (
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the "
            f"ResourceVersion in record ({meta['resourceVersion']}). The object might have been modified"
        )
        raise conflict(kind.group, kind.kind, meta["name"], why)


def mark(kind: ResourceType, obj: Object, options: DeleteOptions, now: float | None = None) -> Object | None:
    """The object marked for deletion (a changed copy, or the same when nothing changes); None: it goes at once."""
    now = time.time() if now is None else now
    meta = dict(obj["metadata"])
    marked = {**obj, "metadata": meta}
    finalizers = _finalizers(kind, obj, options)
    if finalizers:
        meta["finalizers"] = finalizers
    else:
        meta.pop("finalizers", None)
    grace = _grace(kind, obj, options)
    if meta.get("deletionTimestamp"):
        _shorten(meta, grace, now)
    elif grace or finalizers or _keeps(obj):
        meta["deletionTimestamp"] = timestamp(now + grace)
        meta["deletionGracePeriodSeconds"] = grace
        if meta.get("generation"):
            meta["generation"] += 1
    else:
        return None
    if obj["kind"] == "Namespace":
        marked["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
    if not finalizers and not meta["deletionGracePeriodSeconds"] and not _keeps(obj):
        return None
    return marked


def last_state(obj: Object, now: float | None = None) -> Object:
    """How an object of a kind with a grace period is shown when it goes at once: marked, with none left."""
    meta = dict(obj["metadata"])
    if not meta.get("deletionTimestamp") and meta.get("generation"):
        meta["generation"] += 1
    meta["deletionTimestamp"] = timestamp(time.time() if now is None else now)
    meta["deletionGracePeriodSeconds"] = 0
    return {**obj, "metadata": meta}


def _keeps(obj: Object) -> bool:
    return obj["kind"] == "Namespace" and bool((obj.get("spec") or {}).get("finalizers"))


def _shorten(meta: Object, grace: int, now: float) -> None:
    """A second deletion may shorten the grace period of the first, never lengthen it."""
    left = meta.get("deletionGracePeriodSeconds") or 0
    if grace >= left:
        return
    began = parse_timestamp(meta["deletionTimestamp"]) - left
    meta["deletionTimestamp"] = timestamp(max(began, now) + grace if grace == 0 else began + grace)
    meta["deletionGracePeriodSeconds"] = grace


def _grace(kind: ResourceType, obj: Object, options: DeleteOptions) -> int:
    """The grace period in seconds: of pods only, and only of those that a node may be running."""
    if kind.group or kind.kind != "Pod":
        return 0
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    grace = options.grace
    if grace is None:
        grace = spec.get("terminationGracePeriodSeconds")
        grace = DEFAULT_GRACE if grace is None else grace
    if not spec.get("nodeName") or status.get("phase") in ("Failed", "Succeeded"):
        return 0
    return 1 if grace < 0 else int(grace)


def _finalizers(kind: ResourceType, obj: Object, options: DeleteOptions) -> list[str]:
    """The object's finalizers with those that the propagation policy adds or takes."""
    found = list(obj["metadata"].get("finalizers") or ())
    if kind.kind == "CustomResourceDefinition" and not obj["metadata"].get("deletionTimestamp"):
        found = [f for f in found if f != CLEANUP_FINALIZER] + [CLEANUP_FINALIZER]
    policy = options.propagation
    if not policy:
        if ORPHAN in found or FOREGROUND in found:
            return found
        policy = "Orphan" if (kind.group, kind.kind) in _ORPHANING else "Background"
    found = [f for f in found if f not in (ORPHAN, FOREGROUND)]
    if policy == "Orphan":
        found.append(ORPHAN)
    elif policy == "Foreground":
        found.append(FOREGROUND)
    return found
