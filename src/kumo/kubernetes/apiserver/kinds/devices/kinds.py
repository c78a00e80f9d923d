"""The rules of the four kinds of resource.k8s.io/v1."""

from __future__ import annotations

from typing import Any

from kumo.api import fields
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.claim_spec import validate_template_metadata
from kumo.kubernetes.apiserver.kinds.devices.allocations import check_status, forget_devices
from kumo.kubernetes.apiserver.kinds.devices.identifiers import check_resource_name, each_item
from kumo.kubernetes.apiserver.kinds.devices.requests import (
    MOST_CONFIGURATIONS,
    check_claim,
    check_opaque,
    default_claim,
    default_tolerations,
)
from kumo.kubernetes.apiserver.kinds.devices.selectors import check_selectors
from kumo.kubernetes.apiserver.kinds.devices.slices import check_slice, default_slice, warn_slice
from kumo.kubernetes.apiserver.kinds.go_diff import internal
from kumo.kubernetes.apiserver.kinds.rules import Rules, at


def _check_class(new: Object, old: Object | None) -> list[Cause]:
    spec, before = new.get("spec") or {}, (old or {}).get("spec") or {}
    found = check_selectors("spec.selectors", spec.get("selectors"))
    stored = old is not None and (before.get("config") or []) == (spec.get("config") or [])

    def configuration(path: str, item: dict[str, Any]) -> list[Cause]:
        return check_opaque(path, item, stored=stored)

    found += each_item("spec.config", spec.get("config"), MOST_CONFIGURATIONS, configuration)
    if spec.get("extendedResourceName") is not None:
        found += check_resource_name("spec.extendedResourceName", spec["extendedResourceName"])
    return found


def _default_claim(obj: Object) -> None:
    default_claim(obj.get("spec"))
    for result in at(obj, "status.allocation.devices.results") or ():
        default_tolerations(result)


def _create_claim(obj: Object) -> list[Cause]:
    return check_claim("spec", obj.get("spec"))


def _frozen(message: str, new: Object, old: Object) -> list[Cause]:
    """The spec may not change at all."""
    if new.get("spec") == old.get("spec"):
        return []
    return [fields.immutable("spec", internal(message, new.get("spec")))]


def _change_claim(new: Object, old: Object) -> list[Cause]:
    return _frozen("resource.v1.ResourceClaimSpec", new, old)


def _default_template(obj: Object) -> None:
    default_claim(at(obj, "spec.spec"))


def _check_template(obj: Object) -> list[Cause]:
    found = validate_template_metadata("spec.metadata", at(obj, "spec.metadata") or {})
    return found + check_claim("spec.spec", at(obj, "spec.spec"))


def _change_template(new: Object, old: Object) -> list[Cause]:
    return _check_template(new) + _frozen("resource.v1.ResourceClaimTemplateSpec", new, old)


def rules() -> dict[GVK, Rules]:
    """The rules of the kinds in this package."""

    def resource(kind: str) -> GVK:
        return GVK("resource.k8s.io", "v1", kind)

    return {
        resource("DeviceClass"): Rules(
            validate_create=lambda obj: _check_class(obj, None),
            check_update=_check_class,
            revalidates=True,
            has_generation=True,
        ),
        resource("ResourceClaim"): Rules(
            default=_default_claim,
            validate_create=_create_claim,
            check_update=_change_claim,
            prepare_status=forget_devices,
            validate_status=check_status,
            revalidates=True,
            has_status=True,
            status_keeps_metadata=True,
        ),
        resource("ResourceClaimTemplate"): Rules(
            default=_default_template,
            validate_create=_check_template,
            check_update=_change_template,
            revalidates=True,
        ),
        resource("ResourceSlice"): Rules(
            default=default_slice,
            validate_create=lambda obj: check_slice(obj, None),
            check_update=check_slice,
            warn=warn_slice,
            has_generation=True,
            fields={"spec.nodeName": "spec.nodeName", "spec.driver": "spec.driver"},
        ),
    }
