"""The nftables rules of the pod network, as data. No I/O.

One table an instance: pods leave the node under its address (masquerade), host ports lead into pods, and nobody reaches
the node's 127.0.0.0/8 over the bridge (it is routable there so that node ports work on localhost).
"""

from __future__ import annotations

from typing import Any

from kumo.host.network.config import PodNetworkConfig
from kumo.host.network.leases import Lease
from kumo.host.nftables import Command, replace_table

FAMILY = "ip"
HOST_PORTS = "host-ports"
ADDRESS_PORTS = "host-address-ports"
HAIRPIN = "hairpin"


def _match(left: Any, right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def _meta(key: str) -> dict[str, Any]:
    return {"meta": {"key": key}}


def _payload(protocol: str, name: str) -> dict[str, Any]:
    return {"payload": {"protocol": protocol, "field": name}}


def _prefix(network: Any) -> dict[str, Any]:
    return {"prefix": {"addr": str(network.network_address), "len": network.prefixlen}}


def ruleset(config: PodNetworkConfig, leases: list[Lease]) -> list[Command]:
    """The whole table, in place of whatever was there."""
    table = {"family": FAMILY, "table": config.table}
    commands = replace_table(FAMILY, config.table)
    target = ["ipv4_addr", "inet_service"]
    for name, key in ((HOST_PORTS, []), (ADDRESS_PORTS, ["ipv4_addr"])):
        key = [*key, "inet_proto", "inet_service"]
        commands.append({"add": {"map": {**table, "name": name, "type": key, "map": target}}})
    commands.append({"add": {"set": {**table, "name": HAIRPIN, "type": "ipv4_addr"}}})
    chains = (
        ("guard", "filter", "prerouting", -300, _guard(config)),
        ("prerouting", "nat", "prerouting", -101, [_to_host_port(True), _to_host_port(False)]),
        ("output", "nat", "output", -101, [_to_host_port(True), _to_host_port(False)]),
        ("postrouting", "nat", "postrouting", 100, _masquerade(config)),
    )
    for name, kind, hook, priority, rules in chains:
        chain = {**table, "name": name, "type": kind, "hook": hook, "prio": priority, "policy": "accept"}
        commands.append({"add": {"chain": chain}})
        commands.extend({"add": {"rule": {**table, "chain": name, "expr": expression}}} for expression in rules)
    for lease in leases:
        commands.extend(port_commands("add", config, lease))
    return commands


def _guard(config: PodNetworkConfig) -> list[list[dict[str, Any]]]:
    loopback = {"prefix": {"addr": "127.0.0.0", "len": 8}}
    return [[_match(_meta("iifname"), config.bridge), _match(_payload("ip", "daddr"), loopback), {"drop": None}]]


def _to_host_port(of_one_address: bool) -> list[dict[str, Any]]:
    """Lead a port of the node, or of one of its addresses, into the pod that asked for it."""
    local = _match({"fib": {"result": "type", "flags": ["daddr"]}}, "local")
    address = [_payload("ip", "daddr")] if of_one_address else []
    key = {"concat": [*address, _meta("l4proto"), _payload("th", "dport")]}
    name = ADDRESS_PORTS if of_one_address else HOST_PORTS
    return [local, {"dnat": {"family": "ip", "addr": {"map": {"key": key, "data": f"@{name}"}}}}]


def _masquerade(config: PodNetworkConfig) -> list[list[dict[str, Any]]]:
    pods = _prefix(config.cluster_network)
    dnatted = {"match": {"op": "in", "left": {"ct": {"key": "status"}}, "right": "dnat"}}
    own = _prefix(config.network)
    source, target = _payload("ip", "saddr"), _payload("ip", "daddr")
    return [
        # out of the cluster: under the node's address
        [_match(source, own), _match(target, pods, "!="), _match(_meta("oifname"), config.bridge, "!="), _masq()],
        # a connection to a host port that came from the same pod, or from the node's 127.0.0.1
        [dnatted, _match(source, {"prefix": {"addr": "127.0.0.0", "len": 8}}), _match(target, own), _masq()],
        [dnatted, _match(source, f"@{HAIRPIN}"), _match(target, f"@{HAIRPIN}"), _masq()],
    ]


def _masq() -> dict[str, Any]:
    return {"masquerade": None}


def port_commands(verb: str, config: PodNetworkConfig, lease: Lease) -> list[Command]:
    """Add or delete (`verb`) the lease's host ports."""
    if not lease.ports:
        return []
    table = {"family": FAMILY, "table": config.table}
    commands: list[Command] = []
    for port in lease.ports:
        name = ADDRESS_PORTS if port.host_ip else HOST_PORTS
        key = {"concat": [*([port.host_ip] if port.host_ip else []), port.protocol, port.host_port]}
        element = [key, {"concat": [lease.address, port.container_port]}]
        commands.append({verb: {"element": {**table, "name": name, "elem": [element]}}})
    commands.append({verb: {"element": {**table, "name": HAIRPIN, "elem": [lease.address]}}})
    return commands
