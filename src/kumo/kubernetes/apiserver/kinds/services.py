"""Services, endpoints and endpoint slices."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.checks import choice, needed, set_default, spec_of
from kumo.kubernetes.apiserver.kinds.metadata import validate_labels
from kumo.kubernetes.apiserver.kinds.pod.handlers import validate_port
from kumo.kubernetes.apiserver.kinds.rules import Rules, at

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_EXTERNAL = ("NodePort", "LoadBalancer")


def _default(obj: Object) -> None:
    spec = spec_of(obj)
    spec["sessionAffinity"] = spec.get("sessionAffinity") or "None"
    kind = spec["type"] = spec.get("type") or "ClusterIP"
    if spec["sessionAffinity"] == "ClientIP":
        set_default(spec, sessionAffinityConfig={})
        set_default(spec["sessionAffinityConfig"], clientIP={})
        set_default(spec["sessionAffinityConfig"]["clientIP"], timeoutSeconds=10800)
    for port in spec.get("ports") or ():
        port["protocol"] = port.get("protocol") or "TCP"
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port")
    if kind in _EXTERNAL:
        spec["externalTrafficPolicy"] = spec.get("externalTrafficPolicy") or "Cluster"
    if kind != "ExternalName":
        set_default(spec, internalTrafficPolicy="Cluster")
    if kind == "LoadBalancer":
        set_default(spec, allocateLoadBalancerNodePorts=True)


def _on_create(obj: Object) -> None:
    obj["status"] = {"loadBalancer": {}}


def _on_update(new: Object, old: Object) -> None:
    """Values that were allocated, and that the writer left out, stay as they are."""
    fresh, stale = spec_of(new), old.get("spec") or {}
    if _has_cluster_ip(fresh) and _has_cluster_ip(stale):
        if not fresh.get("clusterIP"):
            _copy(fresh, stale, "clusterIP")
        if not fresh.get("clusterIPs") and fresh.get("clusterIP") == stale.get("clusterIP"):
            _copy(fresh, stale, "clusterIPs")
        for key in ("ipFamilies", "ipFamilyPolicy"):
            if not fresh.get(key):
                _copy(fresh, stale, key)
    if fresh.get("type") in _EXTERNAL and stale.get("type") in _EXTERNAL:
        taken = {p.get("nodePort") for p in fresh.get("ports") or ()}
        before = {(p.get("protocol"), p.get("port")): p.get("nodePort") for p in stale.get("ports") or ()}
        for port in fresh.get("ports") or ():
            number = before.get((port.get("protocol"), port.get("port")))
            if not port.get("nodePort") and number and number not in taken:
                port["nodePort"] = number
                taken.add(number)
        if not fresh.get("healthCheckNodePort"):
            _copy(fresh, stale, "healthCheckNodePort")
    if fresh.get("type") == "ExternalName" and stale.get("type") != "ExternalName":
        for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
            if fresh.get(key) == stale.get(key):
                fresh.pop(key, None)
    if fresh.get("type") == "ClusterIP" and stale.get("type") in _EXTERNAL:
        before_ports = {p.get("nodePort") for p in stale.get("ports") or ()}
        for port in fresh.get("ports") or ():
            if port.get("nodePort") in before_ports:
                port.pop("nodePort", None)
        if fresh.get("externalTrafficPolicy") == stale.get("externalTrafficPolicy"):
            fresh.pop("externalTrafficPolicy", None)


def _copy(target: dict[str, Any], source: dict[str, Any], key: str) -> None:
    if key in source:
        target[key] = source[key]


def _has_cluster_ip(spec: dict[str, Any]) -> bool:
    return spec.get("type") in ("ClusterIP", "NodePort", "LoadBalancer")


def _validate(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    kind = spec.get("type")
    headless = spec.get("clusterIP") == "None" or "None" in (spec.get("clusterIPs") or ())
    ports = spec.get("ports") or []
    found: list[Cause] = []
    if not ports and not headless and kind != "ExternalName":
        found.append(fields.required("spec.ports"))
    if kind == "ExternalName":
        found += _external_name(spec)
    elif kind == "LoadBalancer" and headless:
        found.append(fields.invalid("spec.clusterIPs[0]", "None", "may not be set to 'None' for LoadBalancer services"))
    elif kind == "NodePort" and headless:
        found.append(fields.invalid("spec.clusterIPs[0]", "None", "may not be set to 'None' for NodePort services"))
    found += _ports(ports, kind or "")
    found += validate_labels("spec.selector", spec.get("selector"))
    found += choice("spec.sessionAffinity", spec.get("sessionAffinity"), ("ClientIP", "None"))
    found += choice("spec.type", kind, _TYPES)
    found += _addresses(spec)
    policy = spec.get("externalTrafficPolicy")
    if kind in _EXTERNAL:
        found += choice("spec.externalTrafficPolicy", policy, ("Cluster", "Local"))
    elif policy and not spec.get("externalIPs"):
        detail = "may only be set for externally-accessible services"
        found.append(fields.invalid("spec.externalTrafficPolicy", policy, detail))
    return found


def _external_name(spec: dict[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    if spec.get("clusterIP"):
        detail = "may not be set for ExternalName services"
        found.append(fields.forbidden("spec.clusterIPs", detail))
    name = (spec.get("externalName") or "").removesuffix(".")
    if not name:
        found.append(fields.required("spec.externalName"))
    else:
        found += fields.each("spec.externalName", name, names.check_subdomain(name))
    return found


def _ports(ports: list[dict[str, Any]], kind: str) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    pairs: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        here = f"spec.ports[{index}]"
        name = port.get("name") or ""
        if not name and len(ports) > 1:
            found.append(fields.required(f"{here}.name"))
        elif name:
            found += fields.each(f"{here}.name", name, names.check_label(name))
            if name in seen:
                found.append(fields.duplicate(f"{here}.name", name))
            seen.add(name)
        number = port.get("port") or 0
        found += fields.each(f"{here}.port", number, names.check_port(number))
        found += choice(f"{here}.protocol", port.get("protocol"), _PROTOCOLS)
        found += validate_port(f"{here}.targetPort", port.get("targetPort"))
        if port.get("nodePort") and kind == "ClusterIP":
            detail = "may not be used when `type` is 'ClusterIP'"
            found.append(fields.forbidden(f"{here}.nodePort", detail))
        pair = (port.get("protocol"), number)
        if pair in pairs:
            found.append(fields.duplicate(here, {"protocol": pair[0], "port": number}))
        pairs.add(pair)
    return found


def _addresses(spec: dict[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    for index, address in enumerate(spec.get("externalIPs") or ()):
        found += fields.each(f"spec.externalIPs[{index}]", address, names.check_ip(address))
    cluster = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    for index, address in enumerate(cluster):
        if address not in ("", "None"):
            found += fields.each(f"spec.clusterIPs[{index}]", address, names.check_ip(address))
    for index, block in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        found += fields.each(f"spec.loadBalancerSourceRanges[{index}]", block, names.check_cidr(block.strip()))
    timeout = at(spec, "sessionAffinityConfig.clientIP.timeoutSeconds")
    if timeout is not None and not 0 < timeout <= 86400:
        path = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        found.append(fields.invalid(path, timeout, "must be greater than 0 and less than 86400"))
    return found


def _validate_update(new: Object, old: Object) -> list[Cause]:
    fresh, stale = new.get("spec") or {}, old.get("spec") or {}
    if not _has_cluster_ip(fresh) or not _has_cluster_ip(stale):
        return []
    before, after = stale.get("clusterIP") or "", fresh.get("clusterIP") or ""
    if before and before != after:
        value = fresh.get("clusterIPs") or [after]
        return [fields.invalid("spec.clusterIPs[0]", value, "may not change once set")]
    return []


def _default_endpoints(obj: Object) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            port["protocol"] = port.get("protocol") or "TCP"


def _validate_endpoints(obj: Object) -> list[Cause]:
    found: list[Cause] = []
    for index, subset in enumerate(obj.get("subsets") or ()):
        here = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            found.append(fields.required(here, "must specify `addresses` or `notReadyAddresses`"))
        for key in ("addresses", "notReadyAddresses"):
            for number, address in enumerate(subset.get(key) or ()):
                ip = address.get("ip") or ""
                found += fields.each(f"{here}.{key}[{number}].ip", ip, names.check_ip(ip))
        for number, port in enumerate(subset.get("ports") or ()):
            value = port.get("port") or 0
            found += fields.each(f"{here}.ports[{number}].port", value, names.check_port(value))
    return found


def _default_slice(obj: Object) -> None:
    for port in obj.get("ports") or ():
        set_default(port, name="", protocol="TCP")


def _validate_slice(obj: Object) -> list[Cause]:
    kind = obj.get("addressType")
    found = choice("addressType", kind, ("FQDN", "IPv4", "IPv6"))
    for index, endpoint in enumerate(obj.get("endpoints") or ()):
        here = f"endpoints[{index}]"
        found += needed(endpoint, here, "addresses")
        for number, address in enumerate(endpoint.get("addresses") or ()):
            check = names.check_subdomain if kind == "FQDN" else names.check_ip
            found += fields.each(f"{here}.addresses[{number}]", address, check(address))
    seen: set[str] = set()
    for index, port in enumerate(obj.get("ports") or ()):
        name = port.get("name") or ""
        if name in seen:
            found.append(fields.duplicate(f"ports[{index}].name", name))
        seen.add(name)
        found += choice(f"ports[{index}].protocol", port.get("protocol"), _PROTOCOLS)
    return found


def _validate_slice_update(new: Object, old: Object) -> list[Cause]:
    if new.get("addressType") == old.get("addressType"):
        return []
    return [fields.immutable("addressType", new.get("addressType"))]


def rules() -> dict[GVK, Rules]:
    """The rules of the kinds in this module."""
    return {
        GVK("", "v1", "Service"): Rules(
            default=_default,
            on_create=_on_create,
            on_update=_on_update,
            validate=_validate,
            validate_update=_validate_update,
            check_name=names.check_label_1035,
            has_status=True,
            fields={"spec.clusterIP": "spec.clusterIP", "spec.type": "spec.type"},
        ),
        GVK("", "v1", "Endpoints"): Rules(
            default=_default_endpoints, validate=_validate_endpoints, allow_create_on_update=True
        ),
        GVK("discovery.k8s.io", "v1", "EndpointSlice"): Rules(
            default=_default_slice,
            validate=_validate_slice,
            validate_update=_validate_slice_update,
            has_generation=True,
        ),
    }
