"""Columns of services, endpoints, ingresses, network policies and addresses."""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object
from kumo.kubernetes.apiserver.tables.cells import (
    NONE,
    UNSET,
    age,
    label_selector,
    labels,
    name,
    part,
    shortened,
    text,
)
from kumo.kubernetes.apiserver.tables.columns import Columns, columns


def _load_balancer(obj: Object) -> list[str]:
    ingress = part(obj, "status", "loadBalancer", "ingress") or ()
    return sorted({i.get("ip") or i.get("hostname") or "" for i in ingress} - {""})


def _external(obj: Object) -> str:
    spec = obj.get("spec") or {}
    kind, own = spec.get("type"), spec.get("externalIPs") or []
    if kind == "ExternalName":
        return str(spec.get("externalName") or "")
    if kind == "LoadBalancer":
        return ",".join([*_load_balancer(obj), *own]) or "<pending>"
    return ",".join(own) or NONE


def _ports(obj: Object) -> str:
    shown = []
    for port in part(obj, "spec", "ports") or ():
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        shown.append(f"{port.get('port')}{node}/{port.get('protocol') or 'TCP'}")
    return ",".join(shown) or NONE


def _service(obj: Object, now: float) -> list[Any]:
    ips = part(obj, "spec", "clusterIPs") or ()
    cluster_ip = (ips[0] if ips else part(obj, "spec", "clusterIP")) or NONE
    return [
        name(obj),
        text(obj, "spec", "type"),
        cluster_ip,
        _external(obj),
        _ports(obj),
        age(obj, now),
        labels(part(obj, "spec", "selector")),
    ]


def _host_port(address: str, port: Any) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _endpoints(obj: Object, now: float) -> list[Any]:
    found = []
    for subset in obj.get("subsets") or ():
        addresses = [a.get("ip") or "" for a in subset.get("addresses") or ()]
        ports = subset.get("ports") or ()
        if not ports:
            found += addresses
        found += [_host_port(a, p.get("port")) for p in ports for a in addresses]
    return [name(obj), shortened(found) or NONE, age(obj, now)]


def _endpoint_slice(obj: Object, now: float) -> list[Any]:
    ports = [str(p["port"]) if p.get("port") is not None else "*" for p in obj.get("ports") or ()]
    addresses = [a for e in obj.get("endpoints") or () for a in e.get("addresses") or ()]
    return [
        name(obj),
        text(obj, "addressType"),
        shortened(ports) or UNSET,
        shortened(addresses) or UNSET,
        age(obj, now),
    ]


def _ingress(obj: Object, now: float) -> list[Any]:
    hosts = [r["host"] for r in part(obj, "spec", "rules") or () if r.get("host")]
    ports = "80, 443" if part(obj, "spec", "tls") else "80"
    return [
        name(obj),
        text(obj, "spec", "ingressClassName", missing=NONE),
        shortened(hosts) or "*",
        ",".join(_load_balancer(obj)),
        ports,
        age(obj, now),
    ]


def _ingress_class(obj: Object, now: float) -> list[Any]:
    reference = part(obj, "spec", "parameters")
    shown = NONE
    if reference:
        group = f".{reference['apiGroup']}" if reference.get("apiGroup") else ""
        shown = f"{reference.get('kind')}{group}/{reference.get('name')}"
    return [name(obj), text(obj, "spec", "controller"), shown, age(obj, now)]


def _policy(obj: Object, now: float) -> list[Any]:
    return [name(obj), label_selector(part(obj, "spec", "podSelector")), age(obj, now)]


def _address(obj: Object, now: float) -> list[Any]:
    parent = part(obj, "spec", "parentRef") or {}
    resource = ".".join(p for p in (parent.get("resource"), parent.get("group")) if p).lower()
    parts = (resource, parent.get("namespace"), parent.get("name"))
    return [name(obj), "/".join(p for p in parts if p) or NONE, age(obj, now)]


def _service_cidr(obj: Object, now: float) -> list[Any]:
    return [name(obj), ",".join(part(obj, "spec", "cidrs") or ()), age(obj, now)]


def tables() -> dict[str, Columns]:
    """The columns by resource and group."""
    return {
        "services": columns("Name|Type|Cluster-IP|External-IP|Port(s)|Age|+Selector", _service),
        "endpoints": columns("Name|Endpoints|Age", _endpoints),
        "endpointslices.discovery.k8s.io": columns("Name|AddressType|Ports|Endpoints|Age", _endpoint_slice),
        "ingresses.networking.k8s.io": columns("Name|Class|Hosts|Address|Ports|Age", _ingress),
        "ingressclasses.networking.k8s.io": columns("Name|Controller|Parameters|Age", _ingress_class),
        "networkpolicies.networking.k8s.io": columns("Name|Pod-Selector|Age", _policy),
        "ipaddresses.networking.k8s.io": columns("Name|ParentRef", _address),
        "servicecidrs.networking.k8s.io": columns("Name|CIDRs|Age", _service_cidr),
    }
