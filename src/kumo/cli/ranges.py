"""The ranges of services' addresses, `kumo up --service-cidr`: chosen at first start; a family may be added later.

And where services are reached from outside: the load balancers' ranges and the addresses of node ports, which may be
chosen anew at each start.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import click

from kumo.cli.instance import Instance, InstanceError

_Command = TypeVar("_Command", bound=Callable[..., Any])
PRIMARY = "primary"
"""Node ports on the node's own addresses only, as `nodePortAddresses: [primary]` of a KubeProxyConfiguration."""
_FEWEST_BITS, _MOST_BITS = {4: 12, 6: 64}, {4: 28, 6: 124}
"""The prefix lengths that a range may have: the largest range that upstream takes, and room for a few services."""


def options(command: _Command) -> _Command:
    """The options of `kumo up` about services' addresses."""
    command = click.option(
        "--node-port-addresses",
        default=None,
        metavar="CIDR[,CIDR]",
        help="Serve node ports on the node's addresses within these ranges; 'primary': on its own address of each "
        "family only; empty: on all.  [default: all]",
    )(command)
    command = click.option(
        "--load-balancer-range",
        default=None,
        metavar="CIDR[,CIDR]",
        help="Addresses for services of type LoadBalancer; 'none': another controller gives them.  "
        "[default: by directory]",
    )(command)
    return click.option(
        "--service-cidr",
        default="",
        metavar="CIDR[,CIDR]",
        help="Addresses of services: an IPv4 range, and an IPv6 range too for two families.  [default: by directory]",
    )(command)


def choose(instance: Instance, given: dict[str, Any]) -> Instance:
    """The instance with the ranges that were asked for. Raises InstanceError for what can't be, or not any more."""
    text = given["service_cidr"]
    if not text:
        return instance
    blocks = [_parsed(block.strip()) for block in text.split(",")]
    if len(blocks) > 2 or [block.version for block in blocks] != [4, 6][: len(blocks)]:
        raise InstanceError(f"--service-cidr {text}: give one IPv4 range, and at most one IPv6 range behind it")
    pods = ipaddress.ip_network(instance.pod_cidr)
    if blocks[0].overlaps(pods):
        raise InstanceError(f"--service-cidr {text}: it overlaps the pods' range {pods}")
    wanted = ",".join(map(str, blocks))
    begun = (instance.root / "instance.json").exists()
    if begun and wanted != instance.service_cidr and not wanted.startswith(f"{instance.service_cidr},"):
        raise InstanceError(
            f"the services of {instance.data_dir} have addresses of {instance.service_cidr} since its first start. An "
            f"IPv6 range can be added ({instance.service_cidr.partition(',')[0]},fd00:...::/112), nothing else changed"
        )
    return replace(instance, service_cidr=wanted)


def choose_outside(instance: Instance, given: dict[str, Any]) -> Instance:
    """The instance with the load balancers' ranges and node ports' addresses asked for. Raises InstanceError."""
    balancers, ports = given.get("load_balancer_range"), given.get("node_port_addresses")
    if balancers is not None:
        instance = replace(instance, load_balancer_range=_balancers(instance, balancers))
    if ports is not None and ports.strip() == PRIMARY:
        instance = replace(instance, node_port_addresses=PRIMARY)
    elif ports is not None:
        blocks = [_network("--node-port-addresses", block) for block in ports.split(",") if block.strip()]
        instance = replace(instance, node_port_addresses=",".join(map(str, blocks)))
    return instance


def _balancers(instance: Instance, text: str) -> str:
    if text.strip() == "none":
        return "none"
    blocks = [_network("--load-balancer-range", block) for block in text.split(",")]
    others = [ipaddress.ip_network(c) for c in (instance.pod_cidr, *instance.service_cidr.split(","))]
    for number, block in enumerate(blocks):
        for other in (*others, *blocks[:number]):
            if block.version == other.version and block.overlaps(other):
                raise InstanceError(f"--load-balancer-range {block}: it overlaps {other}, which is in use")
    return ",".join(map(str, blocks))


def _network(option: str, block: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(block.strip())
    except ValueError as error:
        raise InstanceError(f"{option}: {error}") from None


def _parsed(block: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    found = _network("--service-cidr", block)
    few, most = _FEWEST_BITS[found.version], _MOST_BITS[found.version]
    if not few <= found.prefixlen <= most:
        raise InstanceError(f"--service-cidr {found}: it must be of /{few} to /{most}")
    return found


def node_port_ranges(instance: Instance, address: str, address6: str) -> tuple[str, ...]:
    """The ranges on which a node with these addresses (the second may be empty) serves node ports; none: on all."""
    if instance.node_port_addresses == PRIMARY:
        return tuple(f"{a}/{128 if ':' in a else 32}" for a in (address, address6) if a)
    return tuple(instance.node_port_addresses.split(",")) if instance.node_port_addresses else ()
