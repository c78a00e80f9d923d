"""Runtime classes (node.k8s.io/v1): their validation (`pkg/apis/node/validation`)."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.go_diff import internal
from kumo.kubernetes.apiserver.kinds.metadata import validate_labels
from kumo.kubernetes.apiserver.kinds.pod.options import TEMPLATE
from kumo.kubernetes.apiserver.kinds.pod.resources import validate_resources
from kumo.kubernetes.apiserver.kinds.pod.scheduling import validate_tolerations
from kumo.kubernetes.apiserver.kinds.rules import Rules, at

_KEYS = ("key", "operator", "value", "effect")


def _check(obj: Object) -> list[Cause]:
    handler = obj.get("handler") or ""
    found = fields.each("handler", handler, names.check_label(handler)) if handler else [fields.required("handler")]
    overhead = obj.get("overhead")
    if overhead is not None:
        found += validate_resources("overhead", {"limits": overhead.get("podFixed")}, frozenset())
    found += validate_labels("scheduling.nodeSelector", at(obj, "scheduling.nodeSelector"))
    return found + _tolerations("scheduling.tolerations", at(obj, "scheduling.tolerations") or ())


def _tolerations(path: str, tolerations: Any) -> list[Cause]:
    found: list[Cause] = []
    validate_tolerations(path, tolerations, TEMPLATE, found)
    seen: set[tuple[str, ...]] = set()
    for index, toleration in enumerate(tolerations):
        key = tuple(toleration.get(part) or "" for part in _KEYS)
        if key in seen:
            found.append(fields.duplicate(f"{path}[{index}]", internal("core.v1.Toleration", toleration)))
        seen.add(key)
    return found


def _change(new: Object, old: Object) -> list[Cause]:
    fresh = new.get("handler") or ""
    return [] if fresh == old.get("handler") else [fields.immutable("handler", fresh)]


def rules() -> dict[GVK, Rules]:
    """The rules of the kind in this module."""
    return {
        GVK("node.k8s.io", "v1", "RuntimeClass"): Rules(
            validate_create=_check,
            check_update=lambda new, old: _check(new) + _change(new, old),
            revalidates=True,
            any_finalizer=True,
            unconditional_update=False,
            allow_create_on_update=True,
        )
    }
