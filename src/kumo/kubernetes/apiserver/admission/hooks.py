"""Admission hooks of other wings, called as upstream calls webhooks: AdmissionReview v1 in and out, no network between.

What differs from a webhook over HTTPS: no TLS, no time-out, and never an ignored failure (`failurePolicy: Fail`).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import structlog

from kumo.api.errors import StatusError, internal
from kumo.api.objects import Object, new_uid
from kumo.api.patch.json_patch import apply_json_patch
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes
from kumo.kubernetes.apiserver.tokens import user_object
from kumo.machinery.extension import AdmissionHook, Rule

_log = structlog.get_logger("kumo.admission")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class HookCaller:
    """Calls the mutating hooks in order, each seeing what the one before made; then the validating ones."""

    def __init__(self, hooks: Iterable[AdmissionHook]) -> None:
        every = tuple(hooks)
        self._mutating = tuple(h for h in every if h.kind == "mutating")
        self._validating = tuple(h for h in every if h.kind == "validating")

    async def mutate(self, attrs: AdmissionAttributes) -> None:
        """Let the mutating hooks change `attrs.object`. Raises the StatusError of the first that refuses."""
        for hook in self._mutating:
            if concerns(hook.rules, attrs):
                response = await _call(hook, attrs)
                if response.get("patch") and attrs.object is not None:
                    attrs.object = _patched(hook, attrs.object, response)

    async def validate(self, attrs: AdmissionAttributes) -> None:
        """Ask the validating hooks. Raises the StatusError of the first that refuses."""
        for hook in self._validating:
            if concerns(hook.rules, attrs):
                await _call(hook, attrs)


def _among(value: str, values: Sequence[str]) -> bool:
    return "*" in values or value in values


def concerns(rules: Iterable[Rule], attrs: AdmissionAttributes) -> bool:
    """Whether any of the rules matches the write; `pods` does not stand for `pods/status`, `*/*` for everything."""
    gvr, sub = attrs.gvr, attrs.subresource
    for rule in rules:
        if not (_among(gvr.group, rule.groups) and _among(gvr.version, rule.versions)):
            continue
        if not _among(attrs.operation, rule.operations):
            continue
        for pattern in rule.resources:
            resource, _, wanted = pattern.partition("/")
            if resource in ("*", gvr.resource) and (wanted == sub or (wanted == "*" and "/" in pattern)):
                return True
    return False


def review_of(attrs: AdmissionAttributes) -> Object:
    """The AdmissionReview (admission.k8s.io/v1) that describes the write. Its objects are copies."""
    gvr, gvk = attrs.gvr, attrs.gvk
    kind = {"group": gvk.group, "version": gvk.version, "kind": gvk.kind}
    resource = {"group": gvr.group, "version": gvr.version, "resource": gvr.resource}
    request: Object = {
        "uid": new_uid(),
        "kind": kind,
        "resource": resource,
        "requestKind": dict(kind),
        "requestResource": dict(resource),
        "operation": attrs.operation,
        "userInfo": user_object(attrs.user),
        "object": _decode(_encode(attrs.object)),
        "oldObject": _decode(_encode(attrs.old_object)),
        "dryRun": attrs.dry_run,
        "options": attrs.options or None,
    }
    if attrs.subresource:
        request["subResource"] = request["requestSubResource"] = attrs.subresource
    if attrs.name:
        request["name"] = attrs.name
    if attrs.namespace:
        request["namespace"] = attrs.namespace
    return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}


async def _call(hook: AdmissionHook, attrs: AdmissionAttributes) -> dict[str, Any]:
    review = review_of(attrs)
    uid = review["request"]["uid"]
    try:
        answer = await hook.review(review)
        response: dict[str, Any] = answer["response"]
        if response.get("uid", uid) != uid:
            raise ValueError(f'expected response.uid="{uid}", got "{response.get("uid")}"')
    except StatusError:
        raise
    except Exception as error:
        _log.exception("an admission hook failed", hook=hook.name)
        raise internal(f'failed calling webhook "{hook.name}": {error}') from error
    attrs.warnings.extend(str(w) for w in response.get("warnings") or ())
    if not response.get("allowed"):
        raise denied(hook.name, response.get("status") or response.get("result"))
    return response


def denied(name: str, result: Object | None) -> StatusError:
    """A webhook's refusal as the client sees it: the hook's own status, with upstream's words before its message."""
    status = dict(result or {})
    code = int(status.get("code") or 0)
    by = f'admission webhook "{name}" denied the request'
    reason = status.get("reason") or ""
    if status.get("message"):
        message = f"{by}: {status['message']}"
    elif reason:
        message = f"{by}: {reason}"
    else:
        message = f"{by} without explanation"
    return StatusError(max(code, 400), reason, message, status.get("details"))


def _patched(hook: AdmissionHook, obj: Object, response: dict[str, Any]) -> Object:
    kind = response.get("patchType")
    if kind != "JSONPatch":
        raise internal(f'admission webhook "{hook.name}" sent a patch of type {kind!r}; only JSONPatch is known')
    try:
        operations = _decode(base64.b64decode(response["patch"]))
        patched: Object = apply_json_patch(obj, operations)
    except (binascii.Error, msgspec.DecodeError, StatusError) as error:
        raise internal(f'admission webhook "{hook.name}" sent a patch that does not apply: {error}') from error
    return patched
