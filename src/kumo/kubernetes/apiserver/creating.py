"""POST to a collection: a new object."""

from __future__ import annotations

import time
from dataclasses import replace

from kumo.api.errors import Cause, StatusError, already_exists, bad_request, invalid
from kumo.api.objects import Object, is_deleting, name_suffix, new_uid, timestamp
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes
from kumo.kubernetes.apiserver.call import Call
from kumo.kubernetes.apiserver.core import Core
from kumo.kubernetes.apiserver.entry import Entry
from kumo.kubernetes.apiserver.incoming import read_object
from kumo.kubernetes.apiserver.kinds.metadata import tell_owners
from kumo.kubernetes.apiserver.managed_fields import admitted, created, set_managed
from kumo.kubernetes.apiserver.operation_options import operation_options
from kumo.kubernetes.apiserver.registry import Resource
from kumo.kubernetes.apiserver.slicing import aside

_GENERATED_NAME_LIMIT = 63 - 5
_ATTEMPTS = 8
_EVENTS = "events.k8s.io"
"""Whose events upstream judges as those of the core group, and says so."""


async def create(core: Core, call: Call) -> tuple[Entry, bool]:
    """Create the object of the body; its entry, and that it was made (a dry run's, too, is answered so)."""
    obj = await read_object(call)
    return await create_object(core, call, obj)


async def create_object(
    core: Core, call: Call, obj: Object, *, name: str = "", managed: list[Object] | None = None
) -> tuple[Entry, bool]:
    """Create `obj`, which conforms to its schema; under `name` when a PUT or an apply names what is not there yet.

    `managed` are the managedFields, if an apply has worked them out. Raises 403 for a PUT or an apply of somebody who
    may not create.
    """
    resource, dry = call.resource, call.dry_run()
    if call.info.verb != "create":
        core.authorize(call.user, replace(call.info, verb="create"))
    meta = obj.setdefault("metadata", {})
    _place(call, meta, name)
    version = meta.pop("resourceVersion", "")
    wanted = meta.get("generateName") or ""
    generate = "" if meta.get("name") else wanted
    for attempt in range(_ATTEMPTS if generate else 1):
        draft = core.copy(obj) if generate else obj
        if generate:
            draft["metadata"]["name"] = generate[:_GENERATED_NAME_LIMIT] + name_suffix()
        attributes = await _prepare(core, call, draft, dry, managed)
        try:
            if version.isdecimal() and int(version) and not dry:
                raise StatusError(500, "", "resourceVersion should not be set on objects to be created")
            if dry:
                core.admission.abandon(attributes)
                if core.storage.get(resource, draft["metadata"].get("namespace") or "", draft["metadata"]["name"]):
                    raise _exists(call, draft)
                return await core.storage.draft(resource, draft, 0), True
            return await core.storage.create(resource, draft), True
        except StatusError as error:
            core.admission.abandon(attributes)
            if error.reason != "AlreadyExists" or not generate or attempt == _ATTEMPTS - 1:
                raise _explained(core, resource, draft, error, made_up=bool(wanted)) from None
    raise AssertionError("unreachable")


def _explained(core: Core, resource: Resource, obj: Object, error: StatusError, *, made_up: bool) -> StatusError:
    """The refusal; whose object is on its way out is told so, and who has wanted a name of the server's making."""
    if error.reason == "AlreadyExists":
        meta = obj["metadata"]
        entry = core.storage.get(resource, meta.get("namespace") or "", meta["name"])
        message, details = error.message, error.details
        if entry is not None and is_deleting(entry.object()):
            message = f"object is being deleted: {message}"
        headers = error.headers
        if made_up:
            message += ", the server was not able to generate a unique name for the object"
            details, headers = {**(details or {}), "retryAfterSeconds": 1}, {"Retry-After": "1"}
        return StatusError(error.code, error.reason, message, details, headers)
    return error


def _place(call: Call, meta: Object, name: str) -> None:
    """Put the request's namespace and name into the object. Raises 400 when it states others."""
    namespace = call.namespace
    stated = meta.get("namespace") or ""
    if call.resource.type.namespaced and stated and stated != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    if namespace:
        meta["namespace"] = namespace
    elif not call.resource.type.namespaced:
        meta.pop("namespace", None)
    if name:
        meta.setdefault("name", name)
        if meta["name"] != name:
            raise wrong_name(meta["name"], name)
    for key in ("selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"):
        meta.pop(key, None)
    meta["uid"] = new_uid()
    meta["creationTimestamp"] = timestamp(time.time())


async def _prepare(core: Core, call: Call, obj: Object, dry: bool, managed: list[Object] | None) -> AdmissionAttributes:
    """Default, admit and validate the new object, in place; what admission was told."""
    resource, meta = call.resource, obj["metadata"]
    strategy = resource.strategy
    stated = meta.pop("managedFields", None)
    tell_owners(meta, call.warnings, patched=False)
    strategy.default(obj)
    if managed is None:
        if call.large and resource.conversion is None:
            managed = await aside(True, lambda: created(core, call, obj, stated))
        else:
            managed = await resource.settled(lambda: created(core, call, obj, stated))
    set_managed(obj, managed)
    strategy.prepare_create(obj)
    attributes = AdmissionAttributes(
        "CREATE",
        resource.gvk,
        resource.type.gvr,
        meta.get("namespace") or "",
        meta.get("name") or "",
        call.user,
        object=obj,
        dry_run=dry,
        options=operation_options("CreateOptions", call.query),
        warnings=call.warnings,
        audit_annotations=call.audit_annotations,
    )
    await core.admit(attributes, resource)
    assert attributes.object is not None
    if attributes.object is not obj:
        wanted = attributes.object
        obj.clear()
        obj.update(wanted)
        attributes.object = obj
    admitted(obj, managed)
    try:
        judge = lambda: strategy.validate_create(obj)  # noqa: E731
        large = call.large and strategy.haste is None
        raise_invalid(
            call, obj, await (aside(True, judge) if large else core.deliberation.judged(strategy.haste, judge))
        )
        call.warnings += strategy.warnings(obj)
        await core.check(attributes)
    except StatusError:
        core.admission.abandon(attributes)
        raise
    return attributes


def raise_invalid(call: Call, obj: Object, causes: list[Cause]) -> None:
    """Raise 422 if there are causes."""
    if causes:
        meta = obj.get("metadata") or {}
        kind, group = call.resource.type.kind, call.resource.type.group
        group = "" if group == _EVENTS else group
        raise invalid(group, kind, meta.get("name") or meta.get("generateName") or "", causes)


def wrong_name(stated: str, name: str) -> StatusError:
    """400: the object's name is not the one in the path."""
    return bad_request(f"the name of the object ({stated}) does not match the name on the URL ({name})")


def _exists(call: Call, obj: Object) -> StatusError:
    return already_exists(call.resource.type.group, call.resource.type.resource, obj["metadata"]["name"])
