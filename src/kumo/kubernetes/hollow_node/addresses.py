"""Addresses for the pods of hollow nodes: of the node's own range where it has one, else of a range for all. No I/O."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from itertools import cycle

_COMMON = "100.64.0.0/10"
"""RFC 6598, for nodes without a podCIDR: a cluster's range has room for some nodes only."""


class PodAddresses:
    """Gives out addresses that no pod has. What pods have already is told by `keep` and `release`."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._ranges: dict[str, Iterator[int]] = {}

    def take(self, pod_cidr: str = "") -> str:
        """A free address of the range; one of the common range when that has none."""
        for text in filter(None, (pod_cidr, _COMMON)):
            found = self._next(text)
            if found:
                self._taken.add(found)
                return found
        raise RuntimeError("no address is left for another pod")

    def keep(self, address: str) -> None:
        """A pod has this address."""
        self._taken.add(address)

    def release(self, address: str) -> None:
        """Its pod is gone."""
        self._taken.discard(address)

    def _next(self, text: str) -> str:
        network = ipaddress.ip_network(text)
        first, count = int(network.network_address), network.num_addresses
        if text not in self._ranges:
            self._ranges[text] = cycle(range(2, count - 1))
        for _ in range(min(count - 3, 1 << 16)):
            found = str(ipaddress.ip_address(first + next(self._ranges[text])))
            if found not in self._taken:
                return found
        return ""
