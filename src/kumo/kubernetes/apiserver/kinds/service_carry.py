"""What a service keeps of its old state when a writer leaves it out, and what it loses with its type."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.kubernetes.apiserver.kinds.service_validation import EXTERNAL, is_external, needs_health_port

_ADDRESS = ("clusterIP", "clusterIPs")


def carry_over(new: Object, old: Object) -> None:
    """Bring the new state of a service in line with the old one, in place (before addresses and ports are given)."""
    fresh, stale = new.setdefault("spec", {}), old.get("spec") or {}
    if fresh.get("type") != "ExternalName" and stale.get("type") != "ExternalName":
        for key in _ADDRESS:
            if not fresh.get(key) and stale.get(key):
                fresh[key] = stale[key]
    if fresh.get("type") in EXTERNAL and stale.get("type") in EXTERNAL:
        _keep_node_ports(fresh, stale)
    if needs_health_port(fresh) and needs_health_port(stale) and not fresh.get("healthCheckNodePort"):
        _copy(fresh, stale, "healthCheckNodePort")
    _one_address(fresh, stale)
    _drop_with_type(fresh, stale)
    if fresh.get("type") != "LoadBalancer" and new.get("status"):
        new["status"] = {**new["status"], "loadBalancer": {}}


def _copy(target: dict[str, Any], source: dict[str, Any], key: str) -> None:
    if key in source:
        target[key] = source[key]


def _keep_node_ports(fresh: dict[str, Any], stale: dict[str, Any]) -> None:
    """Ports are told apart by their names."""
    before = {port.get("name") or "": port.get("nodePort") for port in stale.get("ports") or ()}
    now = {port.get("nodePort") for port in fresh.get("ports") or ()}
    used = {port.get("nodePort") for port in stale.get("ports") or ()} & now
    for port in fresh.get("ports") or ():
        number = before.get(port.get("name") or "")
        if not port.get("nodePort") and number and number not in used:
            port["nodePort"] = number


def _one_address(fresh: dict[str, Any], stale: dict[str, Any]) -> None:
    """Who changes only `clusterIP` means `clusterIPs` as well."""
    one, before = fresh.get("clusterIP") or "", stale.get("clusterIP") or ""
    if stale.get("clusterIPs") and not fresh.get("clusterIPs") and one == before:
        fresh["clusterIPs"] = stale["clusterIPs"]
    if one != before and fresh.get("clusterIPs") == stale.get("clusterIPs"):
        if one:
            fresh["clusterIPs"] = [one]
        elif before:
            fresh.pop("clusterIPs", None)


def _drop_with_type(fresh: dict[str, Any], stale: dict[str, Any]) -> None:
    kind, before = fresh.get("type"), stale.get("type")
    if before != "ExternalName" and kind == "ExternalName":
        if all(fresh.get(key) == stale.get(key) for key in _ADDRESS):
            _drop(fresh, *_ADDRESS)
        _drop_same(fresh, stale, "ipFamilies", "ipFamilyPolicy")
    if before in EXTERNAL and kind not in EXTERNAL:
        numbers = {port.get("nodePort") for port in stale.get("ports") or ()} | {None}
        if all(port.get("nodePort") in numbers for port in fresh.get("ports") or ()):
            for port in fresh.get("ports") or ():
                _drop(port, "nodePort")
    if needs_health_port(stale) and not needs_health_port(fresh):
        _drop_same(fresh, stale, "healthCheckNodePort")
    if before == "LoadBalancer" and kind != "LoadBalancer":
        _drop_same(fresh, stale, "allocateLoadBalancerNodePorts", "loadBalancerClass")
    if is_external(stale) and not is_external(fresh):
        _drop_same(fresh, stale, "externalTrafficPolicy")


def _drop_same(target: dict[str, Any], other: dict[str, Any], *keys: str) -> None:
    _drop(target, *(key for key in keys if target.get(key) == other.get(key)))


def _drop(target: dict[str, Any], *keys: str) -> None:
    for key in keys:
        target.pop(key, None)


def one_list(spec: dict[str, Any]) -> None:
    """The list of a new service's addresses, from the one that it states; in place."""
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]


def fill_families(spec: dict[str, Any], old: dict[str, Any], family: str) -> list[Cause]:
    """Fill `ipFamilyPolicy` and `ipFamilies`, in place, on a cluster of one `family`; what cannot be had."""
    policy = spec.get("ipFamilyPolicy") or old.get("ipFamilyPolicy")
    by_hand = spec.get("clusterIP") == "None" and not spec.get("selector")
    policy = spec["ipFamilyPolicy"] = policy or ("RequireDualStack" if by_hand else "SingleStack")
    addresses, families = spec.get("clusterIPs") or [], spec.get("ipFamilies") or []
    found: list[Cause] = []
    if old:
        if policy == "SingleStack":
            if len(addresses) > 1 and addresses == old.get("clusterIPs"):
                addresses = spec["clusterIPs"] = addresses[:1]
            if len(families) > 1 and families == old.get("ipFamilies"):
                families = spec["ipFamilies"] = families[:1]
        else:
            for now, then, what in (
                (addresses, old.get("clusterIPs") or [], "cluster IP"),
                (families, old.get("ipFamilies") or [], "IP family"),
            ):
                if now and len(now) == 1 and len(then) == 2 and now == then[:1]:
                    text = f"must be 'SingleStack' to release the secondary {what}"
                    found.append(fields.invalid("spec.ipFamilyPolicy", policy, text))
    if policy == "SingleStack":
        for values, what in ((addresses, "cluster IPs"), (families, "IP families")):
            if len(values) == 2:
                text = f"must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
                found.append(fields.invalid("spec.ipFamilyPolicy", policy, text))
    families = list(families)
    for index, address in enumerate(addresses):
        parsed = names.sloppy_ip(address)
        if address == "None" or parsed is None:
            break
        if index >= len(families):
            if f"IPv{parsed.version}" != family:
                text = f"IPv{parsed.version} is not configured on this cluster"
                found.append(fields.invalid(f"spec.clusterIPs[{index}]", addresses, text))
            else:
                families.append(family)
    if found:
        return found
    if by_hand:
        families = families or [family]
        if len(families) < 2 and policy != "SingleStack":
            families.append("IPv6" if families[0] == "IPv4" else "IPv4")
        spec["ipFamilies"] = families
        return []
    if policy == "RequireDualStack":
        text = "this cluster is not configured for dual-stack services"
        found.append(fields.invalid("spec.ipFamilyPolicy", policy, text))
    for index, one in enumerate(families):
        if one != family:
            found.append(fields.invalid(f"spec.ipFamilies[{index}]", one, "not configured on this cluster"))
    spec["ipFamilies"] = families or [family]
    return found
