"""DELETE of an object or of a collection."""

from __future__ import annotations

from dataclasses import replace

from kumo.api.errors import Cause, StatusError, bad_request, invalid, is_not_found, method_not_allowed, modified
from kumo.api.objects import Object
from kumo.kubernetes.apiserver import bodies
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes
from kumo.kubernetes.apiserver.call import Call
from kumo.kubernetes.apiserver.core import Core
from kumo.kubernetes.apiserver.deletion import DeleteOptions, check_preconditions, mark, parse_options
from kumo.kubernetes.apiserver.entry import Entry
from kumo.kubernetes.apiserver.matching import Match
from kumo.kubernetes.apiserver.operation_options import delete_options
from kumo.kubernetes.apiserver.storage import Gone
from kumo.kubernetes.apiserver.updating import missing

_ATTEMPTS = 12
_RETURNS_OBJECT = frozenset(
    ("pods", "persistentvolumes", "persistentvolumeclaims", "podtemplates", "resourcequotas", "serviceaccounts")
)
"""Core resources whose deletion answers with the object itself (the others: with a Status)."""


async def read_options(call: Call) -> DeleteOptions:
    """The DeleteOptions of the request. Raises 400, 422."""
    data = await bodies.read(call.request)
    body: Object = {}
    if data:
        value = bodies.decode(data, bodies.media_type(call.request), "DeleteOptions")
        if not isinstance(value, dict):
            raise bad_request("the object provided is unrecognized (must be of type DeleteOptions)")
        if value.get("kind", "DeleteOptions") != "DeleteOptions":
            raise bad_request("decoded object cannot be converted to DeleteOptions")
        body = value
    try:
        options = parse_options(body, call.query)
    except ValueError as error:
        raise bad_request(str(error)) from None
    if any(value != "All" for value in options.dry_run):
        text = f'Unsupported value: "{options.dry_run[0]}": supported values: "All"'
        raise invalid("meta.k8s.io", "DeleteOptions", "", [Cause("dryRun", text, "FieldValueNotSupported")])
    return replace(options, stated=delete_options(body, call.query))


async def delete(
    core: Core, call: Call, options: DeleteOptions, name: str = "", *, admitted: bool = False
) -> tuple[Entry, bool]:
    """Delete the object, or mark it for deletion; its last state, and whether it is gone. Raises 404, 409.

    `admitted`: admission was asked before (about an eviction).
    """
    resource, name = call.resource, name or call.info.name
    namespace = call.namespace
    entry = core.storage.get(resource, namespace, name)
    for _ in range(_ATTEMPTS):
        if entry is None:
            raise missing(call)
        old = resource.object(entry)
        check_preconditions(resource.type, old, options)
        if not admitted:
            await _admit(core, call, old, namespace, name, options)
        marked = mark(resource.type, old, options)
        try:
            if options.dry_run:
                return (
                    (entry, True) if marked is None else (core.storage.draft(resource, marked, entry.revision), False)
                )
            if marked is None:
                return await core.storage.remove(resource, entry), True
            return await core.storage.replace(resource, entry, marked), False
        except Gone as gone:
            if options.resource_version:
                raise modified(resource.type.group, resource.type.resource, name) from None
            entry = gone.entry
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


async def delete_collection(core: Core, call: Call, match: Match, options: DeleteOptions) -> list[Entry]:
    """Delete every object that matches; their last states."""
    if call.resource.type.namespaced and not call.info.namespace:
        raise method_not_allowed()
    where = core.cache.of(call.resource.stored.group, call.resource.stored.resource)
    found = []
    for entry in list(where.entries(match)):
        one = Call(call.request, call.info, call.user, call.resource, call.query, call.warnings)
        try:
            found.append((await delete(core, one, options, entry.name))[0])
        except StatusError as error:
            if not is_not_found(error):
                raise
    return found


def answers_with_object(call: Call) -> bool:
    """Whether the answer to a finished deletion is the object."""
    return not call.info.group and call.info.resource in _RETURNS_OBJECT


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
