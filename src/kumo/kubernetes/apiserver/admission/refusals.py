"""The refusals of admission steps. Pure."""

from __future__ import annotations

from kumo.api.errors import StatusError, forbidden, not_found
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes


def object_name(attrs: AdmissionAttributes) -> str:
    """The name that a refusal uses: the object's, or what it will be generated from."""
    meta = (attrs.object or {}).get("metadata") or {}
    return attrs.name or meta.get("name") or meta.get("generateName") or ""


def refused(attrs: AdmissionAttributes, why: str) -> StatusError:
    """403 as upstream's `admission.NewForbidden` words it."""
    return forbidden(attrs.gvr.group, attrs.gvr.resource, object_name(attrs), why)


def gone(resource: str, name: str) -> StatusError:
    """404 for an object that a step had to look at, as upstream's listers word it (`pod "x" not found`)."""
    return not_found("", resource, name)
