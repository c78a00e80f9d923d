"""ServiceCIDR and IPAddress (networking.k8s.io/v1): what may be written (`pkg/apis/networking/validation`)."""

from __future__ import annotations

import ipaddress
from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.rules import Rules, at

_CIDRS = "spec.cidrs"
_TWO_OF_A_FAMILY = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"


def _ip_name(name: str, generated: bool = False) -> list[str]:
    """An address in the one form that it has, so that two objects never stand for the same one."""
    found = names.check_ip(name)
    if not found and (canonical := str(ipaddress.ip_address(name))) != name:
        found = [f'must be in canonical form ("{canonical}")']
    return found


def _validate_address(obj: Object) -> list[Cause]:
    parent: dict[str, Any] | None = at(obj, "spec.parentRef")
    if parent is None:
        return [fields.required("spec.parentRef")]
    found: list[Cause] = []
    if group := parent.get("group"):
        found += fields.each("spec.parentRef.group", group, names.check_subdomain(group))
    for key in ("resource", "name"):
        value = parent.get(key) or ""
        if not value:
            found.append(fields.required(f"spec.parentRef.{key}"))
        else:
            found += fields.each(f"spec.parentRef.{key}", value, names.check_path_segment(value))
    if namespace := parent.get("namespace"):
        found += fields.each("spec.parentRef.namespace", namespace, names.check_path_segment(namespace))
    return found


def _change_address(new: Object, old: Object) -> list[Cause]:
    found = _validate_address(new)
    now, before = at(new, "spec.parentRef"), at(old, "spec.parentRef")
    if now == before:
        return found
    keys = ("group", "resource", "namespace", "name")
    shown = None if now is None else {key.title(): now.get(key) or "" for key in keys}
    return [*found, fields.immutable("spec.parentRef", shown)]


def _validate_ranges(obj: Object) -> list[Cause]:
    blocks: list[str] = at(obj, _CIDRS) or []
    if not blocks:
        return [fields.required(_CIDRS, "at least one CIDR required")]
    if len(blocks) > 2:
        return [fields.invalid(_CIDRS, {"CIDRs": blocks}, "may only hold up to 2 values")]
    found = [c for i, block in enumerate(blocks) for c in fields.each(f"{_CIDRS}[{i}]", block, _block(block))]
    families = [_family(block) for block in blocks]
    if len(blocks) == 2 and families[0] and families[0] == families[1]:
        found.append(fields.invalid(_CIDRS, blocks, _TWO_OF_A_FAMILY))
    return found


def _block(block: str) -> list[str]:
    found = names.check_cidr(block)
    if not found and (canonical := str(ipaddress.ip_network(block))) != block:
        found = [f'must be in canonical form ("{canonical}")']
    return found


def _family(block: str) -> int:
    """4 or 6, and 0 for what is no range."""
    try:
        return ipaddress.ip_network(block, strict=False).version
    except ValueError:
        return 0


def _change_ranges(new: Object, old: Object) -> list[Cause]:
    """What an update says: nothing changes, except that a second family may be added to the first."""
    now: list[str] = at(new, _CIDRS) or []
    before: list[str] = at(old, _CIDRS) or []
    if len(now) == len(before):
        changed = (i for i, block in enumerate(before) if block != now[i])
        return [fields.immutable(f"{_CIDRS}[{i}]", now[i]) for i in changed]
    if (len(before), len(now)) != (1, 2):
        return [fields.immutable(_CIDRS, now)]
    found = [] if now[0] == before[0] else [fields.immutable(f"{_CIDRS}[0]", now[0])]
    return found + _validate_ranges(new)


def service_ranges() -> dict[GVK, Rules]:
    """The rules of both kinds."""
    return {
        GVK("networking.k8s.io", "v1", "IPAddress"): Rules(
            validate=_validate_address, check_update=_change_address, check_name=_ip_name, revalidates=True
        ),
        GVK("networking.k8s.io", "v1", "ServiceCIDR"): Rules(
            validate_create=_validate_ranges,
            validate_update=_change_ranges,
            has_status=True,
            status_keeps_metadata=True,
        ),
    }
