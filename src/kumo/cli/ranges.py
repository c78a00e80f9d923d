"""The ranges of services' addresses, `kumo up --service-cidr`: chosen at first start; a family may be added later."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import click

from kumo.cli.instance import Instance, InstanceError

_Command = TypeVar("_Command", bound=Callable[..., Any])
_FEWEST_BITS, _MOST_BITS = {4: 12, 6: 64}, {4: 28, 6: 124}
"""The prefix lengths that a range may have: the largest range that upstream takes, and room for a few services."""


def options(command: _Command) -> _Command:
    """The option of `kumo up` about services' addresses."""
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


def _parsed(block: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        found = ipaddress.ip_network(block)
    except ValueError as error:
        raise InstanceError(f"--service-cidr: {error}") from None
    few, most = _FEWEST_BITS[found.version], _MOST_BITS[found.version]
    if not few <= found.prefixlen <= most:
        raise InstanceError(f"--service-cidr {found}: it must be of /{few} to /{most}")
    return found
