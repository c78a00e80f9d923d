"""AdmissionReview (admission.k8s.io/v1 and v1beta1): the question to a webhook, and what its answer must look like."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kumo.api.go_text import json_kind
from kumo.api.objects import Object, new_uid
from kumo.kubernetes.apiserver.admission.matching import Target, namespace_of
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes
from kumo.kubernetes.apiserver.tokens import user_object

GROUP = "admission.k8s.io"
_HEAD = r'struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }'
KNOWN_VERSIONS = ("v1", "v1beta1")


class BadAnswer(Exception):
    """The webhook's answer cannot be read, or breaks the protocol; the message is upstream's."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a webhook said. `patch` is the decoded bytes of a patch of type `patch_type`."""

    allowed: bool
    status: Object | None = None
    patch: bytes = b""
    patch_type: str = ""
    warnings: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)


def review(attrs: AdmissionAttributes, target: Target, obj: Object | None, old: Object | None, version: str) -> Object:
    """The AdmissionReview of a request seen as `target`; `obj` and `old` are in the target's version."""
    wanted = {"group": target.gvk.group, "version": target.gvk.version, "kind": target.gvk.kind}
    resource = {"group": target.gvr.group, "version": target.gvr.version, "resource": target.gvr.resource}
    gvk, gvr = attrs.gvk, attrs.gvr
    request: Object = {"uid": new_uid(), "kind": wanted, "resource": resource}
    if attrs.subresource:
        request["subResource"] = attrs.subresource
    request["requestKind"] = {"group": gvk.group, "version": gvk.version, "kind": gvk.kind}
    request["requestResource"] = {"group": gvr.group, "version": gvr.version, "resource": gvr.resource}
    if attrs.subresource:
        request["requestSubResource"] = attrs.subresource
    if attrs.name:
        request["name"] = attrs.name
    namespace = namespace_of(attrs)
    if namespace:
        request["namespace"] = namespace
    request["operation"] = attrs.operation
    request["userInfo"] = user_object(attrs.user)
    request["object"] = obj
    request["oldObject"] = old
    request["dryRun"] = attrs.dry_run
    request["options"] = attrs.options or None
    return {"kind": "AdmissionReview", "apiVersion": f"{GROUP}/{version}", "request": request}


def verdict(answer: Object, asked: Object, *, mutating: bool) -> Verdict:
    """The verdict of a decoded answer to the review `asked`. Raises BadAnswer."""
    response = answer.get("response")
    if response is None:
        raise BadAnswer("webhook response was absent")
    strict = asked["apiVersion"] == f"{GROUP}/v1"
    uid = asked["request"]["uid"]
    if strict and response.get("uid", "") != uid:
        raise BadAnswer(f'expected response.uid="{uid}", got "{response.get("uid") or ""}"')
    patch, patch_type = response.get("patch") or "", response.get("patchType")
    if strict and mutating:
        if patch and patch_type is None:
            raise BadAnswer("webhook returned response.patch but not response.patchType")
        if not patch and patch_type is not None:
            raise BadAnswer("webhook returned response.patchType but not response.patch")
        if patch_type == "":
            raise BadAnswer('webhook returned invalid response.patchType of ""')
    elif strict:
        if patch:
            raise BadAnswer("validating webhook may not return response.patch")
        if patch_type is not None:
            raise BadAnswer("validating webhook may not return response.patchType")
    else:
        # v1beta1 did not check: the one type that there is.
        patch_type = "JSONPatch" if patch else None
    return Verdict(
        bool(response.get("allowed")),
        response.get("status"),
        base64.b64decode(patch) if mutating and patch else b"",
        patch_type or "",
        tuple(response.get("warnings") or ()),
        response.get("auditAnnotations") or {},
    )


def check_answer(answer: Any, version: str) -> Object:
    """The decoded body as an AdmissionReview of the version that was asked in, its fields of the right types.

    Raises BadAnswer.
    """
    if not isinstance(answer, dict):
        raise BadAnswer(
            f"couldn't get version/kind; json parse error: json: cannot unmarshal {json_kind(answer)} into Go value "
            f"of type {_HEAD}"
        )
    kind, api_version = answer.get("kind") or "", answer.get("apiVersion") or ""
    if not kind:
        raise BadAnswer("Object 'Kind' is missing in the webhook's answer")
    # A version left out is the one that was asked in.
    group, _, found = str(api_version or f"{GROUP}/{version}").rpartition("/")
    if kind != "AdmissionReview" or group != GROUP or found not in KNOWN_VERSIONS:
        raise BadAnswer(f'no kind "{kind}" is registered for version "{api_version}"')
    if found != version:
        raise BadAnswer(f"converting ({found}.AdmissionReview) to ({version}.AdmissionReview): unknown conversion")
    response = answer.get("response")
    if response is None:
        return answer
    if not isinstance(response, dict):
        raise _mismatch(response, "AdmissionReview.response", f"{version}.AdmissionResponse")
    for name, kinds, go in _FIELDS:
        value = response.get(name)
        if value is not None and not (isinstance(value, kinds) and not (kinds is not bool and isinstance(value, bool))):
            raise _mismatch(value, f"AdmissionResponse.response.{name}", go)
    for name, inner in (("warnings", response.get("warnings")), ("auditAnnotations", response.get("auditAnnotations"))):
        for value in inner.values() if isinstance(inner, dict) else inner or ():
            if not isinstance(value, str):
                raise _mismatch(value, f"AdmissionResponse.response.{name}", "string")
    _check_status(response.get("status") or {})
    _check_base64(response.get("patch") or "")
    return answer


_FIELDS: tuple[tuple[str, type, str], ...] = (
    ("uid", str, "types.UID"),
    ("allowed", bool, "bool"),
    ("status", dict, "v1.Status"),
    ("patch", str, "[]uint8"),
    ("patchType", str, "v1.PatchType"),
    ("auditAnnotations", dict, "map[string]string"),
    ("warnings", list, "[]string"),
)


def _check_status(status: Object) -> None:
    for name, kind, go in (
        ("message", str, "string"),
        ("reason", str, "v1.StatusReason"),
        ("details", dict, "v1.StatusDetails"),
    ):
        value = status.get(name)
        if value is not None and not isinstance(value, kind):
            raise _mismatch(value, f"Status.response.status.{name}", go)
    code = status.get("code")
    if code is not None and type(code) is not int:
        raise _mismatch(code, "Status.response.status.code", "int32")


def _check_base64(text: str) -> None:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        at = next((i for i, c in enumerate(text) if not (c.isascii() and (c.isalnum() or c in "+/="))), len(text))
        raise BadAnswer(f"illegal base64 data at input byte {at}") from None


def _mismatch(value: Any, where: str, go: str) -> BadAnswer:
    return BadAnswer(f"json: cannot unmarshal {json_kind(value)} into Go struct field {where} of type {go}")
