"""A certificate signing request says who asked: the API server writes that, whatever the body claims."""

from __future__ import annotations

from typing import Any

from kumo.kubernetes.apiserver.attributes import AdmissionAttributes

_FIELDS = ("username", "uid", "groups", "extra")


def note_requester(attrs: AdmissionAttributes) -> None:
    """Write the user into `spec` of a new request."""
    if attrs.operation != "CREATE" or attrs.subresource or attrs.object is None:
        return
    spec: dict[str, Any] = attrs.object.setdefault("spec", {})
    for field in _FIELDS:
        spec.pop(field, None)
    user = attrs.user
    spec["username"] = user.name
    if user.uid:
        spec["uid"] = user.uid
    if user.groups:
        spec["groups"] = list(user.groups)
    if user.extra:
        spec["extra"] = {key: list(values) for key, values in user.extra.items()}
