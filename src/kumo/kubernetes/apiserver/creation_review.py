"""Admission of what is created but not stored: bindings, evictions, token requests, reviews."""

from __future__ import annotations

from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes
from kumo.kubernetes.apiserver.call import Call
from kumo.kubernetes.apiserver.core import Core
from kumo.kubernetes.apiserver.operation_options import operation_options


async def admit_creation(core: Core, call: Call, gvk: GVK, obj: Object, *, subresource: str = "") -> Object:
    """Take the object through mutating and validating admission, as a CREATE; what became of it."""
    attributes = AdmissionAttributes(
        "CREATE",
        gvk,
        call.resource.type.gvr,
        call.namespace,
        call.info.name,
        call.user,
        object=obj,
        subresource=subresource,
        dry_run=call.dry_run(),
        options=operation_options("CreateOptions", call.query),
        warnings=call.warnings,
        audit_annotations=call.audit_annotations,
    )
    await core.admission.mutate(attributes)
    await core.check(attributes)
    return attributes.object if attributes.object is not None else obj
