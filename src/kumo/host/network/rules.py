"""The nftables rules of the pod network, as text in nft's own language. No I/O.

One table an instance: pods leave the node under its address (masquerade), host ports lead into pods, and nobody reaches
the node's 127.0.0.0/8 over the bridge (it is routable there so that ports of the node work on localhost).
"""

from __future__ import annotations

from collections.abc import Iterable

from kumo.host.network.config import PodNetworkConfig
from kumo.host.network.leases import Lease
from kumo.host.nftables import replaced

FAMILY, FAMILY6 = "ip", "ip6"


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
    return replaced(FAMILY, config.table) + table + "".join(port_elements("add", config, lease) for lease in leases)


def ruleset6(config: PodNetworkConfig) -> str:
    """The IPv6 table in place of whatever was there: pods leave under the node's address. Host ports are IPv4's."""
    if config.network6 is None:
        return replaced(FAMILY6, config.table)
    rule = f'ip6 saddr {config.network6} ip6 daddr != {config.cluster_network6} oifname != "{config.bridge}" masquerade'
    chain = f"chain postrouting {{ type nat hook postrouting priority srcnat; {rule}\n }}"
    return f"{replaced(FAMILY6, config.table)}table {FAMILY6} {config.table} {{ {chain}\n }}\n"


def port_elements(verb: str, config: PodNetworkConfig, lease: Lease) -> str:
    """Commands that add or delete (`verb`) the lease's host ports; empty if it has none."""
    if not lease.ports:
        return ""
    lines = []
    for port in lease.ports:
        target = f"{lease.address} . {port.container_port}"
        source = f"{port.protocol} . {port.host_port}"
        name = "host-ports"
        if port.host_ip:
            name, source = "host-address-ports", f"{port.host_ip} . {source}"
        lines.append(f"{verb} element ip {config.table} {name} {{ {source} : {target} }}\n")
    lines.append(f"{verb} element ip {config.table} host-port-pods {{ {lease.address} }}\n")
    return "".join(lines)
