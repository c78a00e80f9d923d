"""Ingresses: their validation and warnings (`pkg/apis/networking/validation`)."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object, annotations_of
from kumo.kubernetes.apiserver.kinds.checks import needed
from kumo.kubernetes.apiserver.kinds.rules import at

_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_FORBIDDEN = ("//", "/./", "/../", "%2f", "%2F")
_FORBIDDEN_ENDS = ("/..", "/.")
_CLASS = "kubernetes.io/ingress.class"
_NO_IP = "must be a DNS name, not an IP address"


def check_ingress(obj: Object) -> list[Cause]:
    """What is wrong with a new ingress."""
    return _check(obj, None)


def check_ingress_update(new: Object, old: Object) -> list[Cause]:
    """What is wrong with the new state of an ingress; what was wrong before and is stored may stay."""
    return _check(new, old)


def create_ingress(obj: Object) -> list[Cause]:
    """What only a new ingress is asked: the class in the annotation, which is old, is the class in the spec."""
    annotation, stated = annotations_of(obj).get(_CLASS), at(obj, "spec.ingressClassName")
    if annotation is None or stated is None or annotation == stated:
        return []
    detail = "must match `ingressClassName` when both are specified"
    return [fields.invalid(f"annotations.{_CLASS}", annotation, detail)]


def warn_ingress(new: Object, old: Object | None) -> list[str]:
    """The annotation that named the class is deprecated."""
    if old is not None or _CLASS not in annotations_of(new) or at(new, "spec.ingressClassName") is not None:
        return []
    return [f"annotation {fields.shown(_CLASS)} is deprecated, please use 'spec.ingressClassName' instead"]


def check_ingress_status(new: Object, old: Object) -> list[Cause]:
    """The addresses in an ingress' status."""
    known = {item.get("ip") for item in at(old, "status.loadBalancer.ingress") or ()}
    found: list[Cause] = []
    for index, item in enumerate(at(new, "status.loadBalancer.ingress") or ()):
        here, address, host = f"status.loadBalancer.ingress[{index}]", item.get("ip"), item.get("hostname")
        if address and address not in known:
            found += fields.each(f"{here}.ip", address, names.check_ip(address))
        if host:
            found += fields.each(f"{here}.hostname", host, names.check_subdomain(host))
            if names.sloppy_ip(host) is not None:
                found.append(fields.invalid(f"{here}.hostname", host, _NO_IP))
    return found


def warn_ingress_status(new: Object, old: Object) -> list[str]:
    """Addresses that are oddly written."""
    told = []
    for index, item in enumerate(at(new, "status.loadBalancer.ingress") or ()):
        if text := names.ip_warning(item.get("ip") or ""):
            told.append(f"status.loadBalancer.ingress[{index}]: {text}")
    return told


def _check(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    before = at(old, "spec.tls") or ()
    lax = any(names.check_subdomain(tls["secretName"]) for tls in before if tls.get("secretName"))
    rules, backend = spec.get("rules") or (), spec.get("defaultBackend")
    found: list[Cause] = []
    if not rules and backend is None:
        detail = "either `defaultBackend` or `rules` must be specified"
        found.append(fields.invalid("spec", spec.get("rules"), detail))
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
            found += _name(f"spec.tls[{index}].hosts[{number}]", host)
        if (secret := tls.get("secretName")) and not lax:
            found += fields.each(f"spec.tls[{index}].secretName", secret, names.check_subdomain(secret))
    if (name := spec.get("ingressClassName")) is not None:
        found += fields.each("spec.ingressClassName", name, names.check_subdomain(name))
    return found


def _host(path: str, host: str) -> list[Cause]:
    if not host:
        return []
    found = [] if names.sloppy_ip(host) is None else [fields.invalid(path, host, _NO_IP)]
    return found + _name(path, host)


def _name(path: str, host: str) -> list[Cause]:
    check = names.check_wildcard_subdomain if "*" in host else names.check_subdomain
    return fields.each(path, host, check(host))


def _path(path: str, item: dict[str, Any]) -> list[Cause]:
    kind, location = item.get("pathType"), item.get("path") or ""
    if kind is None:
        return [fields.required(f"{path}.pathType", "pathType must be specified")]
    here = f"{path}.path"
    found: list[Cause] = []
    if kind not in _PATH_TYPES:
        found.append(fields.unsupported(f"{path}.pathType", kind, _PATH_TYPES))
    elif not location.startswith("/") and (location or kind != "ImplementationSpecific"):
        found.append(fields.invalid(here, location, "must be an absolute path"))
    if kind in ("Exact", "Prefix"):
        wrong = [f"must not contain '{bad}'" for bad in _FORBIDDEN if bad in location]
        wrong += [f"cannot end with '{bad}'" for bad in _FORBIDDEN_ENDS if location.endswith(bad)]
        found += fields.each(here, location, wrong)
    return found + _backend(f"{path}.backend", item.get("backend") or {})


def _backend(path: str, backend: dict[str, Any]) -> list[Cause]:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        return [fields.invalid(path, "", "cannot set both resource and service backends")]
    if resource is not None:
        return check_reference(f"{path}.resource", resource)
    if service is None:
        return [fields.invalid(path, "", "resource or service backend is required")]
    name = service.get("name") or ""
    found = needed(service, f"{path}.service", "name")
    if name:
        found += fields.each(f"{path}.service.name", name, names.check_label(name))
    port = service.get("port") or {}
    if port.get("name") and port.get("number"):
        found.append(fields.invalid(path, "", "cannot set both port name & port number"))
    elif port.get("name"):
        found += fields.each(f"{path}.service.port.name", port["name"], names.check_port_name(port["name"]))
    elif port.get("number"):
        found += fields.each(f"{path}.service.port.number", port["number"], names.check_port(port["number"]))
    else:
        found.append(fields.required(path, "port name or number is required"))
    return found


def check_reference(path: str, reference: dict[str, Any]) -> list[Cause]:
    """A reference to an object of some group and kind by its name."""
    found: list[Cause] = []
    if (group := reference.get("apiGroup")) is not None:
        found += fields.each(f"{path}.apiGroup", group, names.check_subdomain(group))
    for key in ("kind", "name"):
        value = reference.get(key) or ""
        found += fields.each(f"{path}.{key}", value, names.check_path_segment(value)) if value else []
        found += [] if value else [fields.required(f"{path}.{key}")]
    return found
