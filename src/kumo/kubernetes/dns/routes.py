"""Whom to ask about which names: the ConfigMap `kube-system/kube-dns`, as upstream's DNS add-on reads it. No I/O.

`stubDomains` is JSON, a domain to its servers; `upstreamNameservers` is a JSON list that takes the place of the
machine's own resolvers. A server is an address, with `:port` behind it if need be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, NamedTuple

import msgspec

from kumo.api.objects import Object

NAMESPACE, NAME = "kube-system", "kube-dns"
_MOST = 3


class Server(NamedTuple):
    """A DNS server; port 0 stands for the usual one."""

    address: str
    port: int = 0


@dataclass(frozen=True, slots=True)
class Routes:
    """Servers by domain (lower case, no dot at its end), and for all other names (none: the machine's own)."""

    stubs: Mapping[str, tuple[Server, ...]] = field(default_factory=dict)
    upstream: tuple[Server, ...] = ()

    def servers(self, name: str) -> tuple[Server, ...]:
        """The servers for the name (lower case): those of the longest domain it lies in."""
        labels = name.split(".")
        for first in range(len(labels)):
            found = self.stubs.get(".".join(labels[first:]))
            if found:
                return found
        return self.upstream


def routes_of(config_map: Object | None) -> Routes:
    """The routes that the ConfigMap says; none without it. Raises ValueError for what can't be understood."""
    data = (config_map or {}).get("data") or {}
    stubs, upstream = _json(data, "stubDomains", dict), _json(data, "upstreamNameservers", list)
    found = {}
    for domain, servers in stubs.items():
        if not isinstance(servers, list):
            raise ValueError(f"stubDomains: the servers of {domain} are not a list")
        found[domain.strip(".").lower()] = _servers(servers)
    return Routes(found, _servers(upstream))


def _json(data: Mapping[str, str], key: str, kind: type) -> Any:
    text = data.get(key) or ""
    if not text.strip():
        return kind()
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ValueError(f"{key} is not JSON: {error}") from error
    if not isinstance(found, kind):
        raise ValueError(f"{key} is not a JSON {'object' if kind is dict else 'array'}")
    return found


def _servers(texts: list[Any]) -> tuple[Server, ...]:
    return tuple(_server(str(text)) for text in texts[:_MOST])


def _server(text: str) -> Server:
    address, port = text, ""
    if text.startswith("["):
        address, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    return Server(str(ip_address(address)), int(port or 0))
