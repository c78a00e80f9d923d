"""`managedFields` on the way of a write: kept by applies, and for objects that were ever applied by every other write.

An object that nobody has applied carries none: the books cost more than such a write itself, and the first apply starts
them with a manager `before-first-apply`, as upstream does for objects older than the feature.
"""

from __future__ import annotations

from kumo.api.objects import Object
from kumo.api.patch.apply import record_update
from kumo.kubernetes.apiserver import bodies
from kumo.kubernetes.apiserver.call import Call

APPLY_PATCH = "application/apply-patch+yaml"
_NAME_LIMIT = 128


def applies(call: Call) -> bool:
    """Whether the call is a server-side apply."""
    return call.info.verb == "patch" and bodies.media_type(call.request) == APPLY_PATCH


def manager_of(call: Call) -> str:
    """Who writes: the query's fieldManager, else the client program's name."""
    agent = call.request.headers.get("user-agent", "").partition("/")[0]
    return call.query.get("fieldManager") or agent[:_NAME_LIMIT] or "unknown"


def note(call: Call, new: Object, old: Object, stated: list[Object] | None, subresource: str) -> None:
    """Set the new state's `managedFields`; `stated` are those that an apply has worked out."""
    if applies(call):
        if stated:
            new["metadata"]["managedFields"] = stated
    elif old["metadata"].get("managedFields"):
        record_update(old, new, call.resource.schema.root, manager=manager_of(call), subresource=subresource)
