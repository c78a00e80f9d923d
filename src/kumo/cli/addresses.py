"""Where the machine is reached, whose pod network it has, and how long a node may be silent: options, remembered."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from kumo.api.names import check_subdomain, check_wildcard_subdomain
from kumo.cli.instance import Instance, InstanceError

_Command = TypeVar("_Command", bound=Callable[..., Any])
_SHORTEST_GRACE = 4.0
_CNI_BIN = (Path("/opt/cni/bin"), Path("/usr/lib/cni"))
"""Where the plugins of other pod networks lie: by the CNI project's custom, and by Debian's."""
OWN = "none"
"""What is given instead of a directory to have kumo's own pod network again."""


def options(command: _Command) -> _Command:
    """The options of `kumo up`."""
    added = [
        click.option("--bind-address", default="", metavar="IP", help="Where the API server listens.  [default: all]"),
        click.option(
            "--tls-san",
            multiple=True,
            metavar="NAME",
            help="A further name or address of the API server, e.g. of a load balancer. Repeatable; all given anew.",
        ),
        click.option(
            "--node-monitor-grace-period",
            type=float,
            metavar="SECONDS",
            help="How long a node may be silent before it counts as not ready.  [default: 50]",
        ),
        click.option(
            "--overlay-family",
            type=click.Choice(["ipv4", "ipv6"]),
            help="By which addresses nodes reach each other for pods' packets.  [default: ipv4]",
        ),
    ]
    for option in reversed(added):
        command = option(command)
    return node_options(command)


def node_options(command: _Command) -> _Command:
    """The options that `kumo up` and `kumo join` share."""
    added = [
        click.option(
            "--advertise-address",
            default="",
            metavar="IP",
            help="This machine's address for the others.  [default: that of the default route]",
        ),
        click.option(
            "--cni-conf",
            default="",
            metavar="DIR",
            help="Leave the pod network to the CNI configurations in DIR; none for kumo's own.  [default: kumo's own]",
        ),
    ]
    for option in reversed(added):
        command = option(command)
    return command


def choose(instance: Instance, given: dict[str, Any]) -> Instance:
    """The instance with what was asked for; the rest stays as it was. Raises InstanceError."""
    wanted: dict[str, Any] = {}
    for name in ("bind_address", "advertise_address"):
        if given.get(name):
            wanted[name] = _address(f"--{name.replace('_', '-')}", given[name])
    if given.get("tls_san"):
        wanted["tls_names"] = ",".join(_name(text) for text in given["tls_san"])
    if given.get("cni_conf"):
        wanted["cni_conf"] = "" if given["cni_conf"] == OWN else _conf(Path(given["cni_conf"]))
    grace = given.get("node_monitor_grace_period")
    if grace is not None:
        if grace < _SHORTEST_GRACE:
            raise InstanceError(f"--node-monitor-grace-period {grace:g}: the shortest is {_SHORTEST_GRACE:g} s")
        wanted["monitor_grace"] = grace
    if given.get("overlay_family"):
        wanted["overlay_family"] = _overlay_family(instance, given["overlay_family"])
    return replace(instance, **wanted)


def cni_bin() -> Path:
    """Where the plugins of other pod networks are looked for."""
    return next((path for path in _CNI_BIN if path.is_dir()), _CNI_BIN[0])


def _overlay_family(instance: Instance, family: str) -> str:
    if family == "ipv6" and not instance.service_cidr6:
        raise InstanceError(
            "--overlay-family ipv6: nodes tell IPv6 addresses where Services have both families: add --service-cidr "
            "with an IPv4 and an IPv6 range, by comma"
        )
    return family if family == "ipv6" else ""


def _address(option: str, text: str) -> str:
    try:
        found = ipaddress.IPv4Address(text)
    except ValueError:
        raise InstanceError(f"{option} {text}: give an IPv4 address of this machine") from None
    return "" if found.is_unspecified else str(found)


def _name(text: str) -> str:
    """A DNS name (or one with a wildcard) or an address, as certificates have them."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        if check_subdomain(text) and check_wildcard_subdomain(text):
            raise InstanceError(f"--tls-san {text}: it is neither a DNS name nor an address") from None
        return text


def _conf(path: Path) -> str:
    if not path.is_dir():
        raise InstanceError(f"--cni-conf {path}: there is no such directory")
    return str(path.absolute())
