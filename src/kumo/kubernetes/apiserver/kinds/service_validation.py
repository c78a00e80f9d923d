"""What is wrong with a service, and with its changes (`ValidateServiceCreate` and `...Update` of `pkg/apis/core`)."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object, annotations_of
from kumo.kubernetes.apiserver.kinds.endpoint_addresses import check_endpoint_address
from kumo.kubernetes.apiserver.kinds.metadata import validate_labels
from kumo.kubernetes.apiserver.kinds.pod.handlers import validate_port

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
EXTERNAL = ("NodePort", "LoadBalancer")
WITH_ADDRESS = ("ClusterIP", "NodePort", "LoadBalancer")
PROTOCOLS = ("SCTP", "TCP", "UDP")
_FAMILIES = ("IPv4", "IPv6")
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
_HINTS, _MODE = "service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"
_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
_LONGEST_AFFINITY = 86400
_ONLY_BALANCERS = "may only be used when `type` is 'LoadBalancer'"
_FOR_LIFE = "may not change once set"


def is_headless(spec: dict[str, Any]) -> bool:
    """Whether the service has no address of its own."""
    return spec.get("clusterIPs") == ["None"]


def is_external(spec: dict[str, Any]) -> bool:
    """Whether the service can be reached from outside the cluster."""
    kind = spec.get("type")
    return kind in EXTERNAL or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


def needs_health_port(spec: dict[str, Any]) -> bool:
    """Whether load balancers ask nodes if they have endpoints."""
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def validate_service(obj: Object, old: Object | None = None) -> list[Cause]:
    """What is wrong with the service; `old` is the one that it replaces."""
    spec, annotations = obj.get("spec") or {}, annotations_of(obj)
    before: dict[str, Any] = (old or {}).get("spec") or {}
    found: list[Cause] = []
    hints, mode = annotations.get(_HINTS), annotations.get(_MODE)
    if hints is not None and mode is not None and hints != mode:
        text = f"must match annotations[{_HINTS}] when both are specified"
        found.append(fields.invalid(f"metadata.annotations[{_MODE}]", mode, text))
    kind, headless, ports = spec.get("type") or "", is_headless(spec), spec.get("ports") or []
    if not ports and not headless and kind != "ExternalName":
        found.append(fields.required("spec.ports"))
    if kind in EXTERNAL and headless:
        found.append(fields.invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services"))
    elif kind == "ExternalName":
        _external_name(spec, found)
    taken: set[str] = set()
    for index, port in enumerate(ports):
        _port(f"spec.ports[{index}]", port, len(ports) > 1, taken, found)
    found += validate_labels("spec.selector", spec.get("selector"))
    _affinity(spec, found)
    if kind != "ExternalName":
        validate_cluster_ips(spec, before, found)
    for index, address in enumerate(spec.get("externalIPs") or ()):
        here = f"spec.externalIPs[{index}]"
        wrong = [] if address in (before.get("externalIPs") or ()) else names.check_ip(address)
        found += fields.each(here, address, wrong) or check_endpoint_address(here, address)
    if kind not in TYPES:
        found.append(fields.unsupported("spec.type", kind, TYPES) if kind else fields.required("spec.type"))
    _unique_ports(kind, ports, found)
    _source_ranges(kind, spec, before, annotations, annotations_of(old or {}), found)
    _load_balancer(kind, spec, found)
    _traffic(kind, spec, found)
    return found


def _external_name(spec: dict[str, Any], found: list[Cause]) -> None:
    for key in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if spec.get(key) or spec.get(key) == "":
            found.append(fields.forbidden(f"spec.{key}", "may not be set for ExternalName services"))
    name = (spec.get("externalName") or "").removesuffix(".")
    if name:
        found += fields.each("spec.externalName", name, names.check_subdomain(name))
    else:
        found.append(fields.required("spec.externalName"))


def _port(path: str, port: dict[str, Any], named: bool, taken: set[str], found: list[Cause]) -> None:
    name, number, protocol = port.get("name") or "", port.get("port") or 0, port.get("protocol") or ""
    if named and not name:
        found.append(fields.required(f"{path}.name"))
    elif name:
        found += fields.each(f"{path}.name", name, names.check_label(name))
        if name in taken:
            found.append(fields.duplicate(f"{path}.name", name))
        taken.add(name)
    found += fields.each(f"{path}.port", number, names.check_port(number))
    if protocol not in PROTOCOLS:
        where = f"{path}.protocol"
        found.append(fields.unsupported(where, protocol, PROTOCOLS) if protocol else fields.required(where))
    found += validate_port(f"{path}.targetPort", port.get("targetPort"))
    application = port.get("appProtocol")
    if application is not None:
        found += fields.each(f"{path}.appProtocol", application, names.check_qualified_name(application))


def _affinity(spec: dict[str, Any], found: list[Cause]) -> None:
    kind, config, path = spec.get("sessionAffinity") or "", spec.get("sessionAffinityConfig"), "spec.sessionAffinity"
    if kind not in ("ClientIP", "None"):
        found.append(fields.unsupported(path, kind, ("ClientIP", "None")) if kind else fields.required(path))
    if kind == "None" and config is not None:
        found.append(fields.forbidden(f"{path}Config", "must not be set when session affinity is None"))
    if kind != "ClientIP":
        return
    needed = "when session affinity type is ClientIP"
    client = (config or {}).get("clientIP")
    timeout = (client or {}).get("timeoutSeconds")
    if config is None:
        found.append(fields.required(f"{path}Config", needed))
    elif client is None:
        found.append(fields.required(f"{path}Config.clientIP", needed))
    elif timeout is None:
        found.append(fields.required(f"{path}Config.clientIP.timeoutSeconds", needed))
    elif not 0 < timeout <= _LONGEST_AFFINITY:
        text = f"must be greater than 0 and less than {_LONGEST_AFFINITY}"
        found.append(fields.invalid(f"{path}Config.clientIP.timeoutSeconds", timeout, text))


def validate_cluster_ips(spec: dict[str, Any], before: dict[str, Any], found: list[Cause]) -> None:
    """Addresses and families of a service that has them; `before` is the spec that it replaces."""
    one, every, path = spec.get("clusterIP") or "", spec.get("clusterIPs") or [], "spec.clusterIPs"
    if one and not every:
        found.append(fields.required(path))
    elif one and every[0] != one:
        found.append(fields.invalid(path, every, "first value must match `clusterIP`"))
    elif not one and every:
        found.append(fields.invalid(path, every, "must be empty when `clusterIP` is not specified"))
    families, policy = spec.get("ipFamilies") or [], spec.get("ipFamilyPolicy")
    for index, family in enumerate(families):
        if family not in _FAMILIES:
            found.append(fields.unsupported(f"spec.ipFamilies[{index}]", family, _FAMILIES))
        if family in families[:index]:
            found.append(fields.duplicate(f"spec.ipFamilies[{index}]", family))
    if policy is not None and policy not in _FAMILY_POLICIES:
        found.append(fields.unsupported("spec.ipFamilyPolicy", policy, _FAMILY_POLICIES))
    bad = False
    for index, address in enumerate(every):
        if index == 0 and address == "None":
            if len(every) > 1:
                bad = True
                found.append(fields.invalid(path, every, "'None' must be the first and only value"))
            continue
        wrong = [] if address in (before.get("clusterIPs") or ()) else names.check_ip(address)
        bad = bad or bool(wrong)
        found += fields.each(f"{path}[{index}]", address, wrong)
    if len(every) > 2:
        found.append(fields.invalid(path, every, "may only hold up to 2 values"))
    if bad or every[:1] == ["None"]:
        return
    versions = [found_ip.version for found_ip in map(names.sloppy_ip, every) if found_ip is not None]
    if len(every) > 1 and set(versions) != {4, 6}:
        found.append(fields.invalid(path, every, "may specify no more than one IP for each IP family"))
    for index, (address, family, version) in enumerate(zip(every, families, versions)):
        if family in _FAMILIES and family != f"IPv{version}":
            text = f"expected an {family} value as indicated by `ipFamilies[{index}]`"
            found.append(fields.invalid(f"{path}[{index}]", address, text))


def _unique_ports(kind: str, ports: list[dict[str, Any]], found: list[Cause]) -> None:
    if kind == "ClusterIP":
        for index, port in enumerate(ports):
            if port.get("nodePort"):
                text = "may not be used when `type` is 'ClusterIP'"
                found.append(fields.forbidden(f"spec.ports[{index}].nodePort", text))
    for key in ("nodePort", "port"):
        seen: set[tuple[Any, Any]] = set()
        for index, port in enumerate(ports):
            number, protocol = port.get(key) or 0, port.get("protocol") or ""
            if key == "nodePort" and not number:
                continue
            if (protocol, number) in seen:
                here = f"spec.ports[{index}]"
                found.append(
                    fields.duplicate(f"{here}.nodePort", number)
                    if key == "nodePort"
                    else fields.duplicate(here, _shown(protocol, number))
                )
            seen.add((protocol, number))


def _shown(protocol: str, number: int) -> dict[str, Any]:
    """A port as upstream's message shows it: the internal type with only these two fields set."""
    return {
        "Name": "",
        "Protocol": protocol,
        "AppProtocol": None,
        "Port": number,
        "TargetPort": 0,
        "NodePort": 0,
    }


def _source_ranges(
    kind: str,
    spec: dict[str, Any],
    before: dict[str, Any],
    annotations: dict[str, str],
    annotations_before: dict[str, str],
    found: list[Cause],
) -> None:
    ranges, path = spec.get("loadBalancerSourceRanges") or (), "spec.LoadBalancerSourceRanges"
    if ranges:
        if kind != "LoadBalancer":
            found.append(fields.forbidden(path, _ONLY_BALANCERS))
        known = {text.strip() for text in before.get("loadBalancerSourceRanges") or ()}
        for index, text in enumerate(text.strip() for text in ranges):
            if text not in known:
                found += fields.each(f"{path}[{index}]", text, names.check_cidr(text))
    elif _RANGES in annotations:
        path, value = f"metadata.annotations[{_RANGES}]", annotations[_RANGES]
        if kind != "LoadBalancer":
            found.append(fields.forbidden(path, _ONLY_BALANCERS))
        if annotations_before.get(_RANGES) != value and value.strip():
            for text in (part.strip() for part in value.split(",")):
                found += fields.each(path, text, names.check_cidr(text))


def _load_balancer(kind: str, spec: dict[str, Any], found: list[Cause]) -> None:
    allocate, balancer = spec.get("allocateLoadBalancerNodePorts"), spec.get("loadBalancerClass")
    if allocate is not None and kind != "LoadBalancer":
        found.append(fields.forbidden("spec.allocateLoadBalancerNodePorts", _ONLY_BALANCERS))
    if allocate is None and kind == "LoadBalancer":
        found.append(fields.required("allocateLoadBalancerNodePorts"))
    if balancer is not None:
        if kind != "LoadBalancer":
            found.append(fields.forbidden("spec.loadBalancerClass", _ONLY_BALANCERS))
        else:
            found += fields.each("spec.loadBalancerClass", balancer, names.check_qualified_name(balancer))


def _traffic(kind: str, spec: dict[str, Any], found: list[Cause]) -> None:
    outside, path = spec.get("externalTrafficPolicy") or "", "spec.externalTrafficPolicy"
    if not is_external(spec):
        if outside:
            found.append(fields.invalid(path, outside, "may only be set for externally-accessible services"))
    elif outside not in ("Cluster", "Local"):
        found.append(fields.unsupported(path, outside, ("Cluster", "Local")) if outside else fields.required(path))
    health, path = spec.get("healthCheckNodePort") or 0, "spec.healthCheckNodePort"
    if not needs_health_port(spec):
        if health:
            text = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
            found.append(fields.invalid(path, health, text))
    elif not health:
        found.append(fields.required(path))
    else:
        found += fields.each(path, health, names.check_port(health))
    inside, path = spec.get("internalTrafficPolicy"), "spec.internalTrafficPolicy"
    if inside is None:
        if kind in WITH_ADDRESS:
            found.append(fields.required(path))
    elif inside not in ("Cluster", "Local"):
        found.append(fields.unsupported(path, inside, ("Cluster", "Local")))
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in _DISTRIBUTIONS:
        found.append(fields.unsupported("spec.trafficDistribution", distribution, _DISTRIBUTIONS))


def check_service_update(new: Object, old: Object) -> list[Cause]:
    """What is wrong with the new state of a service."""
    fresh, stale = new.get("spec") or {}, old.get("spec") or {}
    found: list[Cause] = []
    if "ExternalName" not in (fresh.get("type"), stale.get("type")):
        _addresses_stay(fresh, stale, found)
        if not is_headless(fresh) and not is_headless(stale):
            _families_stay(fresh, stale, found)
    if fresh.get("type") == stale.get("type") == "LoadBalancer":
        balancer = fresh.get("loadBalancerClass")
        if balancer != stale.get("loadBalancerClass"):
            found.append(fields.invalid("spec.loadBalancerClass", balancer, _FOR_LIFE))
    _load_balancer_class(fresh, found)
    watched = needs_health_port(fresh) and needs_health_port(stale)
    if watched and fresh.get("healthCheckNodePort") != stale.get("healthCheckNodePort"):
        found.append(fields.forbidden("spec.healthCheckNodePort", "field is immutable"))
    return found + validate_service(new, old)


def _load_balancer_class(spec: dict[str, Any], found: list[Cause]) -> None:
    """As upstream: the class is judged with its change, and once more with the rest."""
    balancer = spec.get("loadBalancerClass")
    if balancer is None:
        return
    if spec.get("type") == "LoadBalancer":
        found += fields.each("spec.loadBalancerClass", balancer, names.check_qualified_name(balancer))
    else:
        found.append(fields.forbidden("spec.loadBalancerClass", _ONLY_BALANCERS))


def _addresses_stay(fresh: dict[str, Any], stale: dict[str, Any], found: list[Cause]) -> None:
    now, then = fresh.get("clusterIPs") or [], stale.get("clusterIPs") or []
    if is_headless(fresh) and is_headless(stale):
        return
    if len(now) == len(then):
        for index, (address, before) in enumerate(zip(now, then)):
            if address != before:
                found.append(fields.invalid(f"spec.clusterIPs[{index}]", now, _FOR_LIFE))
        return
    if not now:
        found.append(fields.invalid("spec.clusterIPs[0]", None, "primary clusterIP can not be unset"))
    elif then and now[0] != then[0]:
        found.append(fields.invalid("spec.clusterIPs[0]", now, _FOR_LIFE))
    if len(then) > len(now) == 1 and fresh.get("ipFamilyPolicy") != "SingleStack":
        text = "must be set to 'SingleStack' when releasing the secondary clusterIP"
        found.append(fields.invalid("spec.ipFamilyPolicy", fresh.get("ipFamilyPolicy"), text))


def _families_stay(fresh: dict[str, Any], stale: dict[str, Any], found: list[Cause]) -> None:
    now, then, path = fresh.get("ipFamilies") or [], stale.get("ipFamilies") or [], "spec.ipFamilies[0]"
    if len(now) == len(then):
        found += [fields.invalid(path, now, _FOR_LIFE) for family, before in zip(now, then) if family != before]
        return
    addresses = fresh.get("clusterIPs") or None
    if len(then) > len(now) and not addresses:
        found.append(fields.invalid(path, now or None, "primary ipFamily can not be unset"))
    if now and then and now[0] != then[0]:
        found.append(fields.invalid(path, addresses, _FOR_LIFE))
    if len(then) > len(now) == 1 and fresh.get("ipFamilyPolicy") != "SingleStack":
        text = "must be set to 'SingleStack' when releasing the secondary ipFamily"
        found.append(fields.invalid("spec.ipFamilyPolicy", fresh.get("ipFamilyPolicy"), text))


def validate_service_status(new: Object, old: Object) -> list[Cause]:
    """What is wrong with a service's new status."""
    items = ((new.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    before = ((old.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    path = "status.loadBalancer.ingress"
    if items and (new.get("spec") or {}).get("type") != "LoadBalancer":
        return [fields.forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'")]
    found: list[Cause] = []
    known = {item.get("ip") for item in before}
    for index, item in enumerate(items):
        here, address, mode, name = f"{path}[{index}]", item.get("ip") or "", item.get("ipMode"), item.get("hostname")
        if address and address not in known:
            found += fields.each(f"{here}.ip", address, names.check_ip(address))
        if mode is None:
            if address:
                found.append(fields.required(f"{here}.ipMode", "must be specified when `ip` is set"))
        elif not address:
            found.append(fields.forbidden(f"{here}.ipMode", "may not be specified when `ip` is not set"))
        elif mode not in ("Proxy", "VIP"):
            found.append(fields.unsupported(f"{here}.ipMode", mode, ("Proxy", "VIP")))
        if name:
            found += fields.each(f"{here}.hostname", name, names.check_subdomain(name))
            if names.sloppy_ip(name) is not None:
                found.append(fields.invalid(f"{here}.hostname", name, "must be a DNS name, not an IP address"))
    return found


def warn_of_service(new: Object, old: Object | None) -> list[str]:
    """What the writer of a service should be told."""
    spec, found = new.get("spec") or {}, []
    if _HINTS in annotations_of(new):
        found.append(f"annotation {_HINTS} is deprecated, please use {_MODE} instead")
    addresses = spec.get("clusterIPs") or ()
    if spec.get("clusterIP") not in (None, "", "None"):
        found += _odd("spec.clusterIPs", addresses)
    kind = spec.get("type")
    headless = kind == "ClusterIP" and spec.get("clusterIP") == "None"
    external = spec.get("externalIPs") or ()
    if headless:
        if spec.get("loadBalancerIP"):
            found.append("spec.loadBalancerIP is ignored for headless services")
        if external:
            found.append("spec.externalIPs is ignored for headless services")
        if spec.get("sessionAffinity") != "None":
            found.append("spec.SessionAffinity is ignored for headless services")
    found += _odd("spec.externalIPs", external)
    if external and not headless and kind != "ExternalName":
        found.append("spec.externalIPs is deprecated and may no longer be implemented in some clusters")
    if spec.get("loadBalancerIP") and (text := names.ip_warning(spec["loadBalancerIP"])):
        found.append(f"spec.loadBalancerIP: {text}")
    for index, block in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        found += [f"spec.loadBalancerSourceRanges[{index}]: {text}" for text in names.cidr_warnings(block)]
    if kind == "ExternalName" and external:
        found.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
    if kind != "ExternalName" and spec.get("externalName"):
        found.append('spec.externalName is ignored when spec.type is not "ExternalName"')
    if spec.get("trafficDistribution") == "PreferClose":
        found.append('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"')
    return found


def _odd(path: str, addresses: Any) -> list[str]:
    told = ((index, names.ip_warning(address)) for index, address in enumerate(addresses))
    return [f"{path}[{index}]: {text}" for index, text in told if text]
