"""PUT, and the part of PATCH that comes after the patch: an object's new state in place of its old one.

Optimistic concurrency: a writer that names a resourceVersion is refused when the object is newer; one that does not is
applied to the newest state, again and again until no other write comes between.
"""

from __future__ import annotations

from collections.abc import Callable

from kumo.api.errors import Cause, StatusError, bad_request, invalid, modified, not_found
from kumo.api.objects import Object
from kumo.kubernetes.apiserver.admission_view import WHOLE, AdmissionView
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes
from kumo.kubernetes.apiserver.call import Call
from kumo.kubernetes.apiserver.conversion.converter import ConversionFailed
from kumo.kubernetes.apiserver.core import Core
from kumo.kubernetes.apiserver.creating import create_object, raise_invalid, wrong_name
from kumo.kubernetes.apiserver.entry import Entry
from kumo.kubernetes.apiserver.incoming import read_object
from kumo.kubernetes.apiserver.kinds.metadata import tell_owners
from kumo.kubernetes.apiserver.managed_fields import Track, admitted, set_managed, updating
from kumo.kubernetes.apiserver.operation_options import operation_options
from kumo.kubernetes.apiserver.preconditions import check_uid, failed
from kumo.kubernetes.apiserver.registry import Resource
from kumo.kubernetes.apiserver.slicing import LARGE, aside
from kumo.kubernetes.apiserver.storage import Gone, spend

_ATTEMPTS = 12
Make = Callable[[Object], Object]
"""Gives the wanted state for the present one, which it leaves as it is and shares nothing with."""


async def update(core: Core, call: Call) -> tuple[Entry, bool]:
    """Replace the object by the body; its entry, and whether it was made anew."""
    obj = await read_object(call)
    meta = obj.setdefault("metadata", {})
    if not meta.get("name"):
        stated = f"the name of the object ({call.info.name} based on URL) was undeterminable: name must be provided"
        raise bad_request(stated)
    if meta["name"] != call.info.name:
        raise wrong_name(meta["name"], call.info.name)
    if call.resource.type.namespaced:
        if (meta.get("namespace") or call.info.namespace) != call.info.namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        meta["namespace"] = call.info.namespace
    else:
        meta.pop("namespace", None)
    entry = core.storage.get(call.resource, call.namespace, call.info.name)
    if entry is None and call.resource.strategy.allow_create_on_update and not call.info.subresource:
        if meta.get("uid"):
            why = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: "
            raise failed(call.resource.type, obj, why)
        meta.pop("resourceVersion", None)
        return await create_object(core, call, obj, name=call.info.name)
    if (
        entry is not None
        and meta.get("resourceVersion") in (None, "", "0")
        and not call.resource.strategy.unconditional_update
    ):
        # An update of whatever there is (upstream: AllowUnconditionalUpdate is false).
        kind = call.resource.type
        cause = Cause("metadata.resourceVersion", "Invalid value: 0: must be specified for an update")
        raise invalid(kind.group, kind.resource, call.info.name, [cause])
    return await modify(core, call, lambda _: core.copy(obj)), False


async def modify(
    core: Core,
    call: Call,
    make: Make,
    *,
    subresource: str | None = None,
    free: bool = False,
    view: AdmissionView = WHOLE,
    track: Track | None = None,
) -> Entry:
    """Bring the object to the state that `make` wants, by way of defaults, admission and validation.

    `subresource` is what strategy and admission are told (by default the call's); `free` leaves out the strategy's
    limits, for the API server's own changes (binding, finalize). `view` is how admission sees the update. `track` gives
    the new state's managedFields (by default those of an update by the call). Raises 404, 409, 422 and what admission
    refuses.
    """
    below = call.info.subresource if subresource is None else subresource
    entry = core.storage.get(call.resource, call.namespace, call.info.name)
    dry = call.dry_run()
    track = updating(core, call, below) if track is None else track
    for _ in range(_ATTEMPTS):
        if entry is None:
            raise not_found(call.resource.type.group, call.resource.type.resource, call.info.name)
        old = call.resource.object(await call.resource.presented(entry))
        call.large = call.large or len(entry.raw) > LARGE
        new = await _made(call, old, make)
        check_version(call, new, old)
        attributes = await _prepare(core, call, new, old, track, below, view, dry, free)
        try:
            if dry:
                core.admission.abandon(attributes)
            if _ends(new):
                return await (core.storage.draft(call.resource, new, 0) if dry else _finish(core, call, entry, new))
            if _same(new, old) and not core.storage.is_stale(call.resource, entry):
                return entry
            if dry:
                return await core.storage.draft(call.resource, new, entry.revision)
            spend(old)
            return await core.storage.replace(call.resource, entry, new)
        except Gone as gone:
            core.admission.abandon(attributes)
            entry = gone.entry  # A state that names the version it was made from is refused in the next round.
    raise modified(call.resource.type.group, call.resource.type.resource, call.info.name)


async def _made(call: Call, old: Object, make: Make) -> Object:
    """What `make` wants of the object."""
    if call.large and call.resource.conversion is None:
        return await aside(True, lambda: make(old))
    return await call.resource.settled(lambda: make(old))


async def _tracked(resource: Resource, track: Callable[[], list[Object] | None]) -> list[Object] | None:
    """The `managedFields` of the new state; none where a webhook does not say what they are, as upstream."""
    try:
        return await resource.settled(track)
    except ConversionFailed:
        return []


def check_version(call: Call, new: Object, old: Object) -> None:
    """Refuse a state made from another version or of another object. Raises 409."""
    kind = call.resource.type
    check_uid(kind, old, new["metadata"].get("uid") or "", custom=call.resource.custom is not None)
    stated = new["metadata"].get("resourceVersion") or ""
    if stated and stated != "0" and stated != old["metadata"]["resourceVersion"]:
        raise modified(kind.group, kind.resource, call.info.name)


async def _prepare(
    core: Core,
    call: Call,
    new: Object,
    old: Object,
    track: Track,
    below: str,
    view: AdmissionView,
    dry: bool,
    free: bool,
) -> AdmissionAttributes:
    """Carry over, default, admit and validate the new state, in place; what admission was told."""
    resource, strategy = call.resource, call.resource.strategy
    stated = new["metadata"].get("managedFields")
    keep_system_fields(new, old)
    tell_owners(new["metadata"], call.warnings, patched=call.info.verb == "patch")
    strategy.default(new)
    if call.large and resource.conversion is None:
        managed = await aside(True, lambda: track(old, new, stated))
    else:
        managed = await _tracked(resource, lambda: track(old, new, stated))
    set_managed(new, managed)
    if not free:
        strategy.prepare_update(new, old, below)
    attributes = AdmissionAttributes(
        "UPDATE",
        resource.gvk,
        resource.type.gvr,
        call.namespace,
        call.info.name,
        call.user,
        object=new,
        old_object=old,
        subresource=below,
        dry_run=dry,
        options=operation_options("UpdateOptions", call.query),
        verb=call.info.verb,
        warnings=call.warnings,
        audit_annotations=call.audit_annotations,
    )
    await view.admit(core, attributes, resource, new, old)
    admitted(new, managed)
    try:
        if not free:
            strategy.settle(new, old, below)
            judge = lambda: strategy.validate_update(new, old, below)  # noqa: E731
            large = call.large and strategy.haste is None
            raise_invalid(
                call, new, await (aside(True, judge) if large else core.deliberation.judged(strategy.haste, judge))
            )
            call.warnings += strategy.warnings(new, old, below)
        await view.check(core, attributes)
    except StatusError:
        core.admission.abandon(attributes)
        raise
    return attributes


def keep_system_fields(new: Object, old: Object) -> None:
    """Keep what only the API server writes; `new` is changed in place."""
    fresh, stale = new["metadata"], old["metadata"]
    fresh.pop("managedFields", None)
    if not fresh.get("uid"):
        fresh["uid"] = stale["uid"]
    if stale.get("creationTimestamp") is None:
        fresh.pop("creationTimestamp", None)
    else:
        fresh["creationTimestamp"] = stale["creationTimestamp"]
    for key in ("deletionTimestamp", "deletionGracePeriodSeconds"):
        if fresh.get(key) is None:  # Another value than before is refused by the validation.
            fresh.pop(key, None)
            if stale.get(key) is not None:
                fresh[key] = stale[key]


def _ends(new: Object) -> bool:
    """Whether the write lets go of the last finalizer of an object that is being deleted."""
    meta = new["metadata"]
    return bool(
        meta.get("deletionTimestamp")
        and not meta.get("finalizers")
        and not meta.get("deletionGracePeriodSeconds")
        and not (new["kind"] == "Namespace" and (new.get("spec") or {}).get("finalizers"))
    )


async def _finish(core: Core, call: Call, entry: Entry, new: Object) -> Entry:
    """Delete an object whose last finalizer has gone, and show its last state."""
    gone = await core.storage.remove(call.resource, entry)
    return await core.storage.draft(call.resource, new, gone.revision)


def _same(new: Object, old: Object) -> bool:
    """Whether there is nothing to write (a version of its own does not make a state another)."""
    if len(new) != len(old) or any(new.get(key) != old[key] for key in old if key != "metadata"):
        return False
    fresh, stale = new["metadata"], old["metadata"]
    extra = 1 if "resourceVersion" not in fresh else 0
    return len(fresh) + extra == len(stale) and all(
        fresh.get(key) == stale[key] for key in stale if key != "resourceVersion"
    )


def missing(call: Call) -> StatusError:
    """404 for the call's object."""
    return not_found(call.resource.type.group, call.resource.type.resource, call.info.name)
