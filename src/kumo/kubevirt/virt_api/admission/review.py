"""`admission.k8s.io/v1`: reading the request of a review, writing the response.

Refusals have the shape that upstream's have, which `kubectl` prints as `The request is invalid: <field>: <message>`.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.kubevirt.common.names import is_component

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be decided. `new` and `old` are the objects (`old` of an update or deletion only)."""

    operation: str
    new: Object
    old: Object
    user: str
    namespace: str
    name: str
    dry_run: bool
    subresource: str

    @property
    def creating(self) -> bool:
        """Whether the object is being created."""
        return self.operation == "CREATE"

    @property
    def own_component(self) -> bool:
        """Whether KubeVirt's own components are asking."""
        return is_component(self.user)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Allowed (with a JSON patch and warnings, maybe), or refused with a status."""

    patch: tuple[dict[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()
    refusal: dict[str, Any] | None = None


Decide = Callable[[Request], Awaitable[Verdict]]
ALLOWED = Verdict()


def refused(causes: Sequence[Cause]) -> Verdict:
    """Refused for these causes: 422 Invalid; the first ten are told."""
    shown = causes[:_SHOWN]
    message = ", ".join(cause.message for cause in shown)
    if len(causes) > _SHOWN:
        message += f", and {len(causes) - _SHOWN} more validation errors"
    told = []
    for cause in shown:
        fields = {"reason": cause.reason, "message": cause.message, "field": cause.field}
        told.append({k: v for k, v in fields.items() if v})
    return Verdict(refusal={"message": message, "reason": "Invalid", "code": 422, "details": {"causes": told}})


def failed(message: str, code: int = 400) -> Verdict:
    """Refused with a plain message."""
    return Verdict(refusal={"message": message, "code": code})


def reviewer(decide: Decide) -> Callable[[Object], Awaitable[Object]]:
    """The `Review` of a hook: AdmissionReview in, AdmissionReview out."""

    async def review(body: Object) -> Object:
        request = body["request"]
        verdict = await decide(
            Request(
                operation=request["operation"],
                new=request.get("object") or {},
                old=request.get("oldObject") or {},
                user=(request.get("userInfo") or {}).get("username", ""),
                namespace=request.get("namespace") or "",
                name=request.get("name") or "",
                dry_run=bool(request.get("dryRun")),
                subresource=request.get("subResource") or "",
            )
        )
        response: dict[str, Any] = {"uid": request.get("uid", ""), "allowed": verdict.refusal is None}
        if verdict.refusal is not None:
            response["status"] = verdict.refusal
        elif verdict.patch:
            response["patch"] = base64.b64encode(msgspec.json.encode(verdict.patch)).decode()
            response["patchType"] = "JSONPatch"
        if verdict.warnings:
            response["warnings"] = list(verdict.warnings)
        return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}

    return review


def put(**parts: Any) -> tuple[dict[str, Any], ...]:
    """A JSON patch that sets these top-level parts of an object; a part that is None is removed."""
    return tuple(
        {"op": "remove", "path": f"/{name}"} if value is None else {"op": "add", "path": f"/{name}", "value": value}
        for name, value in parts.items()
    )
