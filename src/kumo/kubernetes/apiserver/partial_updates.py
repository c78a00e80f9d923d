"""The subresource that lets a namespace go."""

from __future__ import annotations

from kumo.api.errors import bad_request
from kumo.api.objects import Object
from kumo.kubernetes.apiserver.call import Call
from kumo.kubernetes.apiserver.core import Core
from kumo.kubernetes.apiserver.entry import Entry
from kumo.kubernetes.apiserver.incoming import read_object
from kumo.kubernetes.apiserver.updating import check_version, modify


async def finalize_namespace(core: Core, call: Call) -> Entry:
    """PUT namespaces/finalize: set `spec.finalizers`; with the last one the namespace goes. Raises 400, 404, 409."""
    wanted = await read_object(call)
    if (wanted.get("metadata") or {}).get("name") != call.info.name:
        raise bad_request("the name of the object does not match the name on the URL")

    def make(old: Object) -> Object:
        check_version(call, wanted, old)
        finalizers = (wanted.get("spec") or {}).get("finalizers")
        fresh: Object = core.copy(old)
        spec = fresh.setdefault("spec", {})
        spec.pop("finalizers", None)
        if finalizers:
            spec["finalizers"] = finalizers
        if "status" in wanted:
            fresh["status"] = wanted["status"]
        return fresh

    return await modify(core, call, make, subresource="finalize", free=True)
