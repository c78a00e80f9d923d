"""Groups of the Kubernetes project (`*.k8s.io`, `*.kubernetes.io`) need an approval in an annotation."""

from __future__ import annotations

from urllib.parse import urlsplit

from kumo.api import fields
from kumo.api.errors import Cause
from kumo.api.objects import Object

ANNOTATION = "api-approved.kubernetes.io"
_SEE = "see https://github.com/kubernetes/enhancements/pull/1111"


def is_protected(group: str) -> bool:
    """Whether the group is one of the project's."""
    return group in ("k8s.io", "kubernetes.io") or group.endswith((".k8s.io", ".kubernetes.io"))


def state(obj: Object) -> tuple[str, str]:
    """`missing`, `bypassed`, `approved` or `invalid`, and the words for it."""
    text = ((obj.get("metadata") or {}).get("annotations") or {}).get(ANNOTATION) or ""
    if not text:
        return "missing", f'protected groups must have approval annotation "{ANNOTATION}", {_SEE}'
    if text.startswith("unapproved"):
        return "bypassed", f"not approved: {fields.shown(text)}"
    try:
        url = urlsplit(text)
    except ValueError:
        url = urlsplit("")
    if url.scheme and url.netloc:
        return "approved", f"approved in {text}"
    return "invalid", (
        f'protected groups must have approval annotation "{ANNOTATION}" with either a URL or a reason starting with '
        f'"unapproved", {_SEE}'
    )


def validate(obj: Object, old: Object | None) -> list[Cause]:
    """What is wrong with the approval of a definition."""
    if not is_protected((obj.get("spec") or {}).get("group") or ""):
        return []
    now, words = state(obj)
    if now in ("approved", "bypassed") or (old is not None and state(old)[0] == now):
        return []
    path = f"metadata.annotations[{ANNOTATION}]"
    if now == "missing":
        return [fields.required(path, words)]
    return [fields.invalid(path, obj["metadata"]["annotations"][ANNOTATION], words)]


def condition(obj: Object) -> tuple[str, str, str] | None:
    """Status, reason and message of the condition KubernetesAPIApprovalPolicyConformant; None for other groups."""
    if not is_protected((obj.get("spec") or {}).get("group") or ""):
        return None
    now, words = state(obj)
    reasons = {
        "missing": ("False", "MissingAnnotation"),
        "invalid": ("False", "InvalidAnnotation"),
        "bypassed": ("False", "UnapprovedAnnotation"),
        "approved": ("True", "ApprovedAnnotation"),
    }
    return (*reasons[now], words)
