"""Ingresses, ingress classes, network policies, IP addresses, service ranges."""

from __future__ import annotations

import ipaddress
from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.checks import choice, needed, set_default, spec_of
from kumo.kubernetes.apiserver.kinds.pod.handlers import validate_port
from kumo.kubernetes.apiserver.kinds.ranges import service_ranges
from kumo.kubernetes.apiserver.kinds.rules import Rules, at
from kumo.kubernetes.apiserver.kinds.selector_validation import validate_label_selector

_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")


def _validate_ingress(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    rules, backend = spec.get("rules") or (), spec.get("defaultBackend")
    found: list[Cause] = []
    if not rules and backend is None:
        detail = "either `defaultBackend` or `rules` must be specified"
        found.append(fields.invalid("spec", spec, detail))
    if backend is not None:
        found += _backend("spec.defaultBackend", backend)
    for index, rule in enumerate(rules):
        here = f"spec.rules[{index}]"
        found += _host(f"{here}.host", rule.get("host") or "")
        http = rule.get("http")
        if http is not None:
            found += needed(http, f"{here}.http", "paths")
            for number, path in enumerate(http.get("paths") or ()):
                found += _path(f"{here}.http.paths[{number}]", path)
    for index, tls in enumerate(spec.get("tls") or ()):
        for number, host in enumerate(tls.get("hosts") or ()):
            found += _host(f"spec.tls[{index}].hosts[{number}]", host)
    name = spec.get("ingressClassName")
    if name:
        found += fields.each("spec.ingressClassName", name, names.check_subdomain(name))
    return found


def _host(path: str, host: str) -> list[Cause]:
    if not host:
        return []
    if host.startswith("*."):
        return fields.each(path, host, names.check_subdomain(host[2:]))
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return fields.each(path, host, names.check_subdomain(host))
    return [fields.invalid(path, host, "must be a DNS name, not an IP address")]


def _path(path: str, item: dict[str, Any]) -> list[Cause]:
    kind, location = item.get("pathType"), item.get("path") or ""
    found: list[Cause] = []
    if kind is None:
        found.append(fields.required(f"{path}.pathType", "pathType must be specified"))
    elif kind not in _PATH_TYPES:
        found.append(fields.unsupported(f"{path}.pathType", kind, _PATH_TYPES))
    elif kind in ("Exact", "Prefix"):
        if not location.startswith("/"):
            found.append(fields.invalid(f"{path}.path", location, "must be an absolute path"))
        for bad in ("//", "/./", "/../", "%2f", "%2F"):
            if bad in location:
                found.append(fields.invalid(f"{path}.path", location, f"must not contain '{bad}'"))
    elif location and not location.startswith("/"):
        found.append(fields.invalid(f"{path}.path", location, "must be an absolute path"))
    return found + _backend(f"{path}.backend", item.get("backend") or {})


def _backend(path: str, backend: dict[str, Any]) -> list[Cause]:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        return [fields.invalid(path, "", "cannot set both resource and service backends")]
    if resource is not None:
        return needed(resource, f"{path}.resource", "kind", "name")
    if service is None:
        return [fields.required(path, "resource or service backend is required")]
    name = service.get("name") or ""
    found = needed(service, f"{path}.service", "name")
    if name:
        found += fields.each(f"{path}.service.name", name, names.check_label_1035(name))
    port = service.get("port") or {}
    if port.get("name") and port.get("number"):
        detail = "cannot set both port name & port number"
        found.append(fields.invalid(path, "", detail))
    elif port.get("name"):
        found += fields.each(f"{path}.service.port.name", port["name"], names.check_port_name(port["name"]))
    elif port.get("number"):
        found += fields.each(f"{path}.service.port.number", port["number"], names.check_port(port["number"]))
    else:
        found.append(fields.required(path, "port name or number is required"))
    return found


def _default_class(obj: Object) -> None:
    parameters = at(obj, "spec.parameters")
    if parameters:
        set_default(parameters, scope="Cluster")


def _validate_class(obj: Object) -> list[Cause]:
    controller = at(obj, "spec.controller") or ""
    if not controller:
        return [fields.required("spec.controller")]
    if "/" not in controller:
        return [fields.invalid("spec.controller", controller, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    return []


def _default_policy(obj: Object) -> None:
    spec = spec_of(obj)
    set_default(spec, podSelector={})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    for rule in (*(spec.get("ingress") or ()), *(spec.get("egress") or ())):
        for port in rule.get("ports") or ():
            set_default(port, protocol="TCP")


def _validate_policy(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found = validate_label_selector("spec.podSelector", spec.get("podSelector"))
    for direction, key in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(direction) or ()):
            here = f"spec.{direction}[{index}]"
            for number, port in enumerate(rule.get("ports") or ()):
                found += _policy_port(f"{here}.ports[{number}]", port)
            for number, peer in enumerate(rule.get(key) or ()):
                found += _peer(f"{here}.{key}[{number}]", peer)
    types = spec.get("policyTypes") or ()
    if len(types) > 2:
        found.append(fields.invalid("spec.policyTypes", list(types), "may not specify more than two policyTypes"))
    for index, kind in enumerate(types):
        found += choice(f"spec.policyTypes[{index}]", kind, ("Egress", "Ingress"))
    return found


def _policy_port(path: str, port: dict[str, Any]) -> list[Cause]:
    found = choice(f"{path}.protocol", port.get("protocol"), ("SCTP", "TCP", "UDP"), needed=False)
    if port.get("port") is not None:
        found += validate_port(f"{path}.port", port["port"])
    last = port.get("endPort")
    if last is not None and isinstance(port.get("port"), int) and last < port["port"]:
        found.append(fields.invalid(f"{path}.endPort", last, "must be greater than or equal to `port`"))
    return found


def _peer(path: str, peer: dict[str, Any]) -> list[Cause]:
    kinds = [k for k in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(k) is not None]
    if not kinds:
        return [fields.required(path, "must specify a peer")]
    if "ipBlock" in kinds and len(kinds) > 1:
        detail = "may not specify both ipBlock and another peer"
        return [fields.forbidden(path, detail)]
    found: list[Cause] = []
    for kind in kinds:
        if kind == "ipBlock":
            block = peer[kind].get("cidr") or ""
            found += needed(peer[kind], f"{path}.ipBlock", "cidr")
            if block:
                found += fields.each(f"{path}.ipBlock.cidr", block, names.check_cidr(block))
        else:
            found += validate_label_selector(f"{path}.{kind}", peer[kind])
    return found


def rules() -> dict[GVK, Rules]:
    """The rules of the kinds in this module."""

    def networking(kind: str) -> GVK:
        return GVK("networking.k8s.io", "v1", kind)

    return {
        networking("Ingress"): Rules(
            validate=_validate_ingress,
            has_status=True,
            has_generation=True,
            on_create=lambda obj: obj.update(status={"loadBalancer": {}}),
        ),
        networking("IngressClass"): Rules(default=_default_class, validate=_validate_class, has_generation=True),
        networking("NetworkPolicy"): Rules(default=_default_policy, validate=_validate_policy, has_generation=True),
        **service_ranges(),
    }
