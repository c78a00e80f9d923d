"""Validation of resource requests and limits."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names, quantities
from kumo.api.errors import Cause

_CONTAINER_RESOURCES = ("cpu", "memory", "ephemeral-storage")
_STANDARD = (*_CONTAINER_RESOURCES, "pods", "storage", "services", "secrets", "configmaps")


def _is_standard(name: str) -> bool:
    return name in _CONTAINER_RESOURCES or name.startswith("hugepages-")


def _is_extended(name: str) -> bool:
    return "/" in name and "kubernetes.io/" not in name and not name.startswith("requests.")


def validate_resource_name(path: str, name: str) -> list[Cause]:
    """A resource that a container may ask for: a standard one, or a fully qualified name."""
    found = fields.each(path, name, names.check_qualified_name(name))
    if not found and "/" not in name and not _is_standard(name):
        if name not in _STANDARD:
            found.append(fields.invalid(path, name, "must be a standard resource type or fully qualified"))
        found.append(fields.invalid(path, name, "must be a standard resource for containers"))
    return found


def validate_quantity(path: str, name: str, quantity: Any) -> list[Cause]:
    """An amount of a resource: not negative, whole for extended resources."""
    value = quantities.parse(quantity)
    if value < 0:
        return [fields.invalid(path, str(quantity), "must be greater than or equal to 0")]
    if (_is_extended(name) or name.startswith("hugepages-")) and value.denominator != 1:
        return [fields.invalid(path, str(quantity), "must be an integer")]
    return []


def validate_resources(path: str, resources: dict[str, Any] | None) -> list[Cause]:
    """A container's `resources`."""
    if not resources:
        return []
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    found: list[Cause] = []
    for kind, amounts in (("limits", limits), ("requests", requests)):
        for name, quantity in amounts.items():
            below = f"{path}.{kind}[{name}]"
            found += validate_resource_name(below, name)
            found += validate_quantity(below, name, quantity)
    for name, quantity in requests.items():
        found += _against_limit(path, name, quantity, limits.get(name))
    return found


def _against_limit(path: str, name: str, quantity: Any, limit: Any) -> list[Cause]:
    fixed = _is_extended(name) or name.startswith("hugepages-")
    if limit is None:
        if fixed:
            return [fields.required(f"{path}.limits", "Limit must be set for non overcommitable resources")]
        return []
    wanted, most = quantities.parse(quantity), quantities.parse(limit)
    if fixed and wanted != most:
        return [fields.invalid(f"{path}.requests", str(quantity), f"must be equal to {name} limit of {limit}")]
    if wanted > most:
        detail = f"must be less than or equal to {name} limit of {limit}"
        return [fields.invalid(f"{path}.requests", str(quantity), detail)]
    return []
