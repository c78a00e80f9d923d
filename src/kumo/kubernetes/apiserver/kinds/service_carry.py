"""What a service keeps of its old state when a writer leaves it out, and what it loses with its type."""

from __future__ import annotations

from typing import Any

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
    if _has_node_ports(fresh) and _has_node_ports(stale):
        _keep_node_ports(fresh, stale)
    if needs_health_port(fresh) and needs_health_port(stale) and not fresh.get("healthCheckNodePort"):
        _copy(fresh, stale, "healthCheckNodePort")
    _one_address(fresh, stale)
    _drop_with_type(fresh, stale)
    drop_unneeded(fresh)
    if fresh.get("type") != "LoadBalancer" and new.get("status"):
        new["status"] = {**new["status"], "loadBalancer": {}}


def _has_node_ports(spec: dict[str, Any]) -> bool:
    kind = spec.get("type")
    return kind == "NodePort" or (kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False)


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


def drop_unneeded(spec: dict[str, Any]) -> None:
    """An ExternalName never shows the traffic policy, whatever was written (upstream drops it on reading); in place."""
    if spec.get("type") == "ExternalName" and spec.get("internalTrafficPolicy") in ("Cluster", "Local"):
        _drop(spec, "internalTrafficPolicy")


def _drop_same(target: dict[str, Any], other: dict[str, Any], *keys: str) -> None:
    _drop(target, *(key for key in keys if target.get(key) == other.get(key)))


def _drop(target: dict[str, Any], *keys: str) -> None:
    for key in keys:
        target.pop(key, None)


def one_list(spec: dict[str, Any]) -> None:
    """The list of a new service's addresses, from the one that it states; in place."""
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
