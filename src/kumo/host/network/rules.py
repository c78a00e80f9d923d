"""The nftables rules of the pod network, as text in nft's own language. No I/O.

One table an instance: pods leave the node under its address (masquerade), host ports lead into pods, and nobody reaches
the node's 127.0.0.0/8 over the bridge (it is routable there so that ports of the node work on localhost).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kumo.host.network.cni import PortMapping
from kumo.host.network.config import PodNetworkConfig
from kumo.host.network.leases import Lease
from kumo.host.nftables import replaced

FAMILY, FAMILY6 = "ip", "ip6"
_ALL = ("", "0.0.0.0", "::")
"""Host addresses that stand for all of the node's: of both families, or of one."""


def ruleset(config: PodNetworkConfig, leases: Iterable[Lease]) -> str:
    """The whole table, in place of whatever was there."""
    bridge, own, pods = config.bridge, config.network, config.cluster_network
    table = f"""
table ip {config.table} {{
    map host-ports {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
    map host-address-ports {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}
    set host-port-pods {{ type ipv4_addr; }}

    chain guard {{
        type filter hook prerouting priority raw;
        iifname "{bridge}" ip daddr 127.0.0.0/8 drop
    }}
    chain host-ports-in {{
        fib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @host-address-ports
        fib daddr type local dnat ip to meta l4proto . th dport map @host-ports
    }}
    chain prerouting {{ type nat hook prerouting priority dstnat - 1; goto host-ports-in; }}
    chain output {{ type nat hook output priority -101; goto host-ports-in; }}
    chain postrouting {{
        type nat hook postrouting priority srcnat;
        ip saddr {own} ip daddr != {pods} oifname != "{bridge}" masquerade
        ct status dnat ip saddr 127.0.0.0/8 ip daddr {own} masquerade
        ct status dnat ip saddr @host-port-pods ip daddr @host-port-pods masquerade
    }}
}}
"""
    return replaced(FAMILY, config.table) + table + "".join(_elements4("add", config, lease) for lease in leases)


def ruleset6(config: PodNetworkConfig, leases: Iterable[Lease] = ()) -> str:
    """The IPv6 table in place of whatever was there, with the same; ports of the node do not work on ::1.

    The kernel has no way to route packets from there.
    """
    if config.network6 is None:
        return replaced(FAMILY6, config.table)
    table = f"""
table ip6 {config.table} {{
    map host-ports {{ type inet_proto . inet_service : ipv6_addr . inet_service; }}
    map host-address-ports {{ type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }}
    set host-port-pods {{ type ipv6_addr; }}

    chain host-ports-in {{
        ip6 daddr ::1 return
        fib daddr type local dnat ip6 to ip6 daddr . meta l4proto . th dport map @host-address-ports
        fib daddr type local dnat ip6 to meta l4proto . th dport map @host-ports
    }}
    chain prerouting {{ type nat hook prerouting priority dstnat - 1; goto host-ports-in; }}
    chain output {{ type nat hook output priority -101; goto host-ports-in; }}
    chain postrouting {{
        type nat hook postrouting priority srcnat;
        ip6 saddr {config.network6} ip6 daddr != {config.cluster_network6} oifname != "{config.bridge}" masquerade
        ct status dnat ip6 saddr @host-port-pods ip6 daddr @host-port-pods masquerade
    }}
}}
"""
    return replaced(FAMILY6, config.table) + table + "".join(_elements6("add", config, lease) for lease in leases)


def port_elements(verb: str, config: PodNetworkConfig, lease: Lease) -> str:
    """Commands that add or delete (`verb`) the lease's host ports, of all families; empty if it has none."""
    return _elements4(verb, config, lease) + _elements6(verb, config, lease)


def _elements4(verb: str, config: PodNetworkConfig, lease: Lease) -> str:
    return _elements(verb, f"ip {config.table}", lease.address, [p for p in lease.ports if ":" not in p.host_ip])


def _elements6(verb: str, config: PodNetworkConfig, lease: Lease) -> str:
    ports = [p for p in lease.ports if not p.host_ip or ":" in p.host_ip]
    return _elements(verb, f"ip6 {config.table}", config.address6(lease.address), ports)


def _elements(verb: str, table: str, pod: str, ports: Sequence[PortMapping]) -> str:
    if not ports or not pod:
        return ""
    lines = []
    for port in ports:
        name, source = "host-ports", f"{port.protocol} . {port.host_port}"
        if port.host_ip not in _ALL:
            name, source = "host-address-ports", f"{port.host_ip} . {source}"
        lines.append(f"{verb} element {table} {name} {{ {source} : {pod} . {port.container_port} }}\n")
    lines.append(f"{verb} element {table} host-port-pods {{ {pod} }}\n")
    return "".join(lines)
