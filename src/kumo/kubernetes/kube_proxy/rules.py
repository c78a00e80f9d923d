"""The wanted state in nft's language: the table's fixed part, and the `Fragment` that each Service port adds. No I/O.

service-ips        address . protocol . port -> chain of the Service port (or of its external way)
service-nodeports  protocol . port           -> its external way
refused-*          the same, for ports that have no endpoint
hairpin            address . address of every endpoint among the pods: who reaches himself is masqueraded
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from kumo.host.nftables import replaced
from kumo.kubernetes.kube_proxy.config import KubeProxyConfig
from kumo.kubernetes.kube_proxy.services import Endpoint, ServicePort

FAMILY = "ip"


class Element(NamedTuple):
    """Where an element is: the set's or map's name, and the key."""

    where: str
    key: str


@dataclass(frozen=True, slots=True)
class Fragment:
    """What one owner adds to the table: sets by name, chains with their rules, elements with their value ("" in sets).

    Rules may name sets and chains of the same fragment only, and of the fixed part.
    """

    sets: dict[str, str] = field(default_factory=dict)
    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    elements: dict[Element, str] = field(default_factory=dict)


def base(config: KubeProxyConfig) -> str:
    """The table without any Service, in place of whatever was there.

    Refusals come after the address translation (priority 0): what still has an address of the service range then has
    no Service, no such port or no endpoint.
    """
    mark = f"{config.mark:#x}"
    return f"""{replaced(FAMILY, config.table)}
table ip {config.table} {{
    map service-ips {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
    map service-nodeports {{ type inet_proto . inet_service : verdict; }}
    set refused-ips {{ type ipv4_addr . inet_proto . inet_service; }}
    set refused-nodeports {{ type inet_proto . inet_service; }}
    set hairpin {{ type ipv4_addr . ipv4_addr; }}

    chain mark-for-masquerade {{
        meta mark set meta mark or {mark}
    }}
    chain services {{
        ip daddr {config.service_cidr} ip saddr != {config.cluster_cidr} jump mark-for-masquerade
        ip daddr . meta l4proto . th dport vmap @service-ips
        fib daddr type local meta l4proto . th dport vmap @service-nodeports
    }}
    chain prerouting {{ type nat hook prerouting priority dstnat; goto services; }}
    chain output {{ type nat hook output priority -100; goto services; }}
    chain postrouting {{
        type nat hook postrouting priority srcnat;
        ct status dnat ip saddr . ip daddr @hairpin masquerade fully-random
        ct status dnat ip saddr 127.0.0.0/8 ip daddr {config.cluster_cidr} masquerade fully-random
        meta mark and {mark} != {mark} return
        meta mark set meta mark xor {mark}
        masquerade fully-random
    }}
    chain refuse {{
        meta l4proto tcp reject with tcp reset
        reject
    }}
    chain refuse-new {{
        ip daddr {config.service_cidr} goto refuse
        ip daddr . meta l4proto . th dport @refused-ips goto refuse
        fib daddr type local meta l4proto . th dport @refused-nodeports goto refuse
    }}
    chain filter-input {{ type filter hook input priority filter; ct state new goto refuse-new; }}
    chain filter-forward {{ type filter hook forward priority filter; ct state new goto refuse-new; }}
    chain filter-output {{ type filter hook output priority filter; ct state new goto refuse-new; }}
}}
"""


def fragment(ports: Iterable[ServicePort], config: KubeProxyConfig) -> Fragment:
    """What a Service's ports add."""
    made = Fragment()
    pods = IPv4Network(config.cluster_cidr)
    for port in ports:
        _add_port(made, port, config)
        for endpoint in {*port.endpoints, *port.external_endpoints}:
            if IPv4Address(endpoint.address) in pods:
                made.elements[Element("hairpin", f"{endpoint.address} . {endpoint.address}")] = ""
    return made


def _add_port(made: Fragment, port: ServicePort, config: KubeProxyConfig) -> None:
    inside = _add_chains(made, port, port.endpoints, "svc")
    outside = inside
    if port.external_addresses or port.node_port:
        outside = _add_external(made, port, inside, config)
    for address in port.cluster_addresses:
        # Without an endpoint there is nothing to do: the rest of the service range is refused anyway.
        if inside:
            made.elements[Element("service-ips", _address_key(address, port))] = f"goto {inside}"
    for address in port.external_addresses:
        where, value = _place("ips", outside)
        made.elements[Element(where, _address_key(address, port))] = value
    if port.node_port:
        where, value = _place("nodeports", outside)
        made.elements[Element(where, f"{port.protocol} . {port.node_port}")] = value


def _place(kind: str, chain: str) -> tuple[str, str]:
    return (f"service-{kind}", f"goto {chain}") if chain else (f"refused-{kind}", "")


def _address_key(address: str, port: ServicePort) -> str:
    return f"{address} . {port.protocol} . {port.port}"


def _add_external(made: Fragment, port: ServicePort, inside: str, config: KubeProxyConfig) -> str:
    """The way in from outside: masqueraded, or only to this node's endpoints with the client's address kept.

    Pods and the node itself use the Service as from inside even where the policy is Local. The chain's name, or "" when
    there is nobody to answer.
    """
    if not port.external_local:
        if not inside:
            return ""
        name = _name("ext", port, "")
        made.chains[name] = ("jump mark-for-masquerade", f"goto {inside}")
        return name
    local = _add_chains(made, port, port.external_endpoints, "loc")
    if not inside and not local:
        return ""
    rules = []
    if inside:
        rules += [
            f"ip saddr {config.cluster_cidr} goto {inside}",
            "fib saddr type local jump mark-for-masquerade",
            f"fib saddr type local goto {inside}",
        ]
    rules.append(f"goto {local}" if local else "drop")
    name = _name("ext", port, "")
    made.chains[name] = tuple(rules)
    return name


def _add_chains(made: Fragment, port: ServicePort, endpoints: tuple[Endpoint, ...], prefix: str) -> str:
    """The chain that leads to one of the endpoints at random; its name, or "" without endpoints."""
    if not endpoints:
        return ""
    name = _name(prefix, port, "")
    if port.affinity:
        made.chains[name] = _with_affinity(made, port, endpoints, prefix)
    elif len(endpoints) == 1:
        made.chains[name] = (f"meta l4proto {port.protocol} dnat to {_target(endpoints[0])}",)
    else:
        choices = ", ".join(f"{i} : {e.address} . {e.port}" for i, e in enumerate(endpoints))
        choose = f"numgen random mod {len(endpoints)} map {{ {choices} }}"
        made.chains[name] = (f"meta l4proto {port.protocol} dnat ip to {choose}",)
    return name


def _with_affinity(made: Fragment, port: ServicePort, endpoints: tuple[Endpoint, ...], prefix: str) -> tuple[str, ...]:
    """Each endpoint has a set of the clients it served of late, in which they are looked up first."""
    rules, choices = [], []
    for number, endpoint in enumerate(endpoints):
        clients = _name("aff", port, f"{prefix}/{_target(endpoint)}/{port.affinity}")
        chain = _name("ep", port, f"{prefix}/{_target(endpoint)}/{port.affinity}")
        made.sets[clients] = f"type ipv4_addr; size 65535; flags dynamic,timeout; timeout {port.affinity}s;"
        made.chains[chain] = (
            f"update @{clients} {{ ip saddr }}",
            f"meta l4proto {port.protocol} dnat to {_target(endpoint)}",
        )
        rules.append(f"ip saddr @{clients} goto {chain}")
        choices.append(f"{number} : goto {chain}")
    rules.append(f"numgen random mod {len(endpoints)} vmap {{ {', '.join(choices)} }}")
    return tuple(rules)


def _target(endpoint: Endpoint) -> str:
    return f"{endpoint.address}:{endpoint.port}"


def _name(prefix: str, port: ServicePort, more: str) -> str:
    """A unique name that can be read in `nft list`, at most 100 characters long."""
    digest = hashlib.sha256(f"{port.title}/{port.protocol}/{more}".encode()).hexdigest()[:12]
    return f"{prefix}-{digest}-{port.title}"[:100].rstrip("-./")
