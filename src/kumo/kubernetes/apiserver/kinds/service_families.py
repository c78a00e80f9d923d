"""`ipFamilyPolicy` and `ipFamilies` of a service: what follows from what is stated, and what can't be had."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause

_POLICY = "spec.ipFamilyPolicy"


def prefers_what_it_has(spec: dict[str, Any], old: dict[str, Any]) -> bool:
    """Whether an update of a PreferDualStack service leaves addresses and families as they are.

    Such a service keeps what it has, though the cluster may have got or lost a family since.
    """
    return (
        bool(old)
        and spec.get("ipFamilyPolicy") == "PreferDualStack"
        and old.get("ipFamilyPolicy") in (None, "PreferDualStack")
        and old.get("type") == spec.get("type")
        and all((spec.get(key) or []) == (old.get(key) or []) for key in ("clusterIPs", "ipFamilies"))
    )


def fill_families(spec: dict[str, Any], old: dict[str, Any], families: Sequence[str]) -> list[Cause]:
    """Fill `ipFamilyPolicy` and `ipFamilies`, in place, on a cluster of `families`, the default one first.

    What can't be had is returned.
    """
    by_hand = spec.get("clusterIP") == "None" and not spec.get("selector")
    policy = spec.get("ipFamilyPolicy") or old.get("ipFamilyPolicy")
    policy = spec["ipFamilyPolicy"] = policy or ("RequireDualStack" if by_hand else "SingleStack")
    found = _narrow(spec, old, policy) if old else []
    found += _single(spec, policy)
    wanted = list(spec.get("ipFamilies") or ())
    found += _infer(spec.get("clusterIPs") or [], wanted, families)
    if found:
        return found
    if not by_hand:
        if policy == "RequireDualStack" and len(families) < 2:
            found.append(fields.invalid(_POLICY, policy, "this cluster is not configured for dual-stack services"))
        for index, family in enumerate(wanted):
            if family not in families:
                found.append(fields.invalid(f"spec.ipFamilies[{index}]", family, "not configured on this cluster"))
        if found:
            return found
    wanted = wanted or [families[0]]
    if policy != "SingleStack" and len(wanted) == 1 and (by_hand or len(families) == 2):
        wanted.append("IPv6" if wanted[0] == "IPv4" else "IPv4")
    spec["ipFamilies"] = wanted
    return []


def _narrow(spec: dict[str, Any], old: dict[str, Any], policy: str) -> list[Cause]:
    """An update: SingleStack drops the second of what did not change; another policy must keep both."""
    found = []
    for key, what in (("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")):
        now, before = spec.get(key) or [], old.get(key) or []
        if policy == "SingleStack":
            if len(now) > 1 and now == before:
                spec[key] = now[:1]
        elif now and len(now) < len(before):
            found.append(fields.invalid(_POLICY, policy, f"must be 'SingleStack' to release the secondary {what}"))
    return found


def _single(spec: dict[str, Any], policy: str) -> list[Cause]:
    if policy != "SingleStack":
        return []
    text = "must be 'RequireDualStack' or 'PreferDualStack' when multiple {} are specified"
    return [
        fields.invalid(_POLICY, policy, text.format(what))
        for key, what in (("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families"))
        if len(spec.get(key) or ()) == 2
    ]


def _infer(addresses: Sequence[str], wanted: list[str], families: Sequence[str]) -> list[Cause]:
    """Add the families that the addresses tell to `wanted`."""
    found = []
    for index, address in enumerate(addresses):
        parsed = names.sloppy_ip(address)
        if address == "None" or parsed is None:
            break
        if index < len(wanted):
            continue
        family = f"IPv{parsed.version}"
        if family in families:
            wanted.append(family)
        else:
            text = f"{family} is not configured on this cluster"
            found.append(fields.invalid(f"spec.clusterIPs[{index}]", list(addresses), text))
    return found
