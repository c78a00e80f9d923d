"""DELETE of an object or of a collection."""

from __future__ import annotations

import asyncio

from kumo.api.errors import StatusError, is_not_found, method_not_allowed, modified
from kumo.api.objects import Object
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes
from kumo.kubernetes.apiserver.call import Call
from kumo.kubernetes.apiserver.core import Core
from kumo.kubernetes.apiserver.deletion import DeleteOptions, check_preconditions, last_state, mark
from kumo.kubernetes.apiserver.entry import Entry
from kumo.kubernetes.apiserver.matching import Match
from kumo.kubernetes.apiserver.storage import Gone
from kumo.kubernetes.apiserver.updating import missing

_ATTEMPTS = 12
_TOGETHER = 32
"""How many objects of a collection are deleted at the same time."""
_JOBS_LEAVE_PODS = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or "
    "set propagationPolicy=Orphan to suppress this warning"
)
_RETURNS_OBJECT = frozenset(
    [
        *(
            ("", name)
            for name in (
                "namespaces",
                "persistentvolumeclaims",
                "persistentvolumes",
                "pods",
                "podtemplates",
                "resourcequotas",
                "serviceaccounts",
                "services",
            )
        ),
        *(
            ("resource.k8s.io", name)
            for name in ("deviceclasses", "resourceclaims", "resourceclaimtemplates", "resourceslices")
        ),
        *(
            ("storage.k8s.io", name)
            for name in ("csidrivers", "csinodes", "storageclasses", "volumeattachments", "volumeattributesclasses")
        ),
    ]
)
"""Resources whose deletion answers with the object itself (the others: with a Status)."""


async def delete(
    core: Core, call: Call, options: DeleteOptions, name: str = "", *, admitted: bool = False
) -> tuple[Entry, bool]:
    """Delete the object, or mark it for deletion; its last state, and whether it is gone. Raises 404, 409.

    `admitted`: admission was asked before (about an eviction).
    """
    resource, name = call.resource, name or call.info.name
    namespace = call.namespace
    _warn(call, options)
    entry = core.storage.get(resource, namespace, name)
    for _ in range(_ATTEMPTS):
        if entry is None:
            raise missing(call)
        old = resource.object(await resource.presented(entry))
        check_preconditions(resource.type, old, options)
        if not admitted:
            await _admit(core, call, old, namespace, name, options)
        marked = mark(resource.type, old, options)
        try:
            if options.dry_run:
                return (
                    (entry, True)
                    if marked is None
                    else (await core.storage.draft(resource, marked, entry.revision), False)
                )
            if marked is None:
                gone = await core.storage.remove(resource, entry)
                if resource.type.kind == "Pod" and not resource.type.group:
                    return await core.storage.draft(resource, last_state(old), gone.revision), True
                return gone, True
            if marked == old:
                # Deleted before, in the same way: nothing is written, or whoever answers each change with a deletion
                # (a kubelet) would keep everybody else from changing the object.
                return entry, False
            return await core.storage.replace(resource, entry, marked), False
        except Gone as changed:
            if options.resource_version:
                raise modified(resource.type.group, resource.type.resource, name) from None
            entry = changed.entry
    raise modified(resource.type.group, resource.type.resource, name)


async def _admit(core: Core, call: Call, old: Object, namespace: str, name: str, options: DeleteOptions) -> None:
    attributes = AdmissionAttributes(
        "DELETE",
        call.resource.gvk,
        call.resource.type.gvr,
        namespace,
        name,
        call.user,
        old_object=old,
        dry_run=bool(options.dry_run),
        options=options.stated or {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"},
        warnings=call.warnings,
        audit_annotations=call.audit_annotations,
    )
    await core.admit(attributes, call.resource)
    await core.check(attributes)


def _warn(call: Call, options: DeleteOptions) -> None:
    """Tell what else a deletion does, or doesn't."""
    if call.info.resource == "jobs" and call.info.group == "batch" and not options.propagation:
        call.warnings.append(_JOBS_LEAVE_PODS)


async def delete_collection(
    core: Core, call: Call, match: Match, options: DeleteOptions, limit: int = 0
) -> tuple[list[Entry], Entry | None]:
    """Delete every object that matches (no more than `limit` of them, if given).

    Their last states; and where a limit has cut the collection short, the last of them.
    """
    if call.resource.type.namespaced and not call.info.namespace:
        raise method_not_allowed()
    where = core.cache.of(call.resource.stored.group, call.resource.stored.resource)
    if call.resource.conversion is not None:
        where = await call.resource.conversion.view(call.resource)
    wanted = list(where.entries(match))
    cut = wanted[limit - 1] if limit and len(wanted) > limit else None
    if limit:
        wanted = wanted[:limit]

    async def one(entry: Entry) -> Entry | None:
        own = Call(call.request, call.info, call.user, call.resource, call.query, call.warnings)
        try:
            return (await delete(core, own, options, entry.name))[0]
        except StatusError as error:
            if is_not_found(error):
                return None
            raise

    found: list[Entry] = []
    for start in range(0, len(wanted), _TOGETHER):
        # Those of one batch share the store's commits.
        done = await asyncio.gather(*map(one, wanted[start : start + _TOGETHER]), return_exceptions=True)
        for entry in done:
            if isinstance(entry, BaseException):
                raise entry
            if entry is not None:
                found.append(entry)
    return found, cut


def answers_with_object(call: Call) -> bool:
    """Whether the answer to a finished deletion is the object."""
    return (call.info.group, call.info.resource) in _RETURNS_OBJECT


def success(call: Call, entry: Entry) -> Object:
    """The Status of a finished deletion."""
    details = {"name": entry.name, "group": call.info.group, "kind": call.info.resource, "uid": entry.uid}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {k: v for k, v in details.items() if v},
    }
