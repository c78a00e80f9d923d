"""The subresource that lets a namespace go."""

from __future__ import annotations

from kumo.api.objects import Object
from kumo.kubernetes.apiserver.call import Call
from kumo.kubernetes.apiserver.core import Core
from kumo.kubernetes.apiserver.creating import raise_invalid
from kumo.kubernetes.apiserver.entry import Entry
from kumo.kubernetes.apiserver.incoming import read_object
from kumo.kubernetes.apiserver.kinds.cluster import finalizer_complaints
from kumo.kubernetes.apiserver.patched_objects import check_name
from kumo.kubernetes.apiserver.updating import check_version, modify


async def finalize_namespace(core: Core, call: Call) -> Entry:
    """PUT namespaces/finalize: set `spec.finalizers`; the last one lets it go. Raises 400, 404, 409, 422."""
    wanted = await read_object(call)
    check_name(wanted.get("metadata") or {}, call.info.name)

    def make(old: Object) -> Object:
        wanted.setdefault("metadata", {})
        check_version(call, wanted, old)
        finalizers = (wanted.get("spec") or {}).get("finalizers")
        raise_invalid(call, old, finalizer_complaints(finalizers or ()))
        fresh: Object = core.copy(old)
        spec = fresh.setdefault("spec", {})
        spec.pop("finalizers", None)
        if finalizers:
            spec["finalizers"] = finalizers
        return fresh

    return await modify(core, call, make, subresource="finalize", free=True)
