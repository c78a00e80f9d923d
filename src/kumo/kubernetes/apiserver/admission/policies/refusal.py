"""The refusals of policies, as upstream's dispatchers word them."""

from __future__ import annotations

from kumo.api.errors import StatusError, forbidden
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes

_CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413}


def _name(attrs: AdmissionAttributes) -> str:
    meta = (attrs.object or {}).get("metadata") or {}
    return attrs.name or meta.get("name") or meta.get("generateName") or "Unknown"


def refused_by_validation(attrs: AdmissionAttributes, message: str, reason: str) -> StatusError:
    """A validating policy's refusal, with its reason and that reason's code."""
    reason = reason or "Invalid"
    error = forbidden(attrs.gvr.group, attrs.gvr.resource, _name(attrs), message)
    details = {**(error.details or {}), "causes": [{"message": message}]}
    return StatusError(_CODES.get(reason, 422), reason, error.message, details)


def refused_by_mutation(attrs: AdmissionAttributes, messages: list[tuple[str, str]]) -> StatusError:
    """Mutating policies' failures: each a message and a reason; the first speaks for all."""
    error = forbidden(attrs.gvr.group, attrs.gvr.resource, _name(attrs), "admission request denied by policy")
    details = {**(error.details or {}), "causes": [{"message": message} for message, _ in messages]}
    message, reason = messages[0]
    return StatusError(403, reason or "Forbidden", message, details)
