"""Which addresses load balancers get. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


class PoolError(Exception):
    """There is no such address to be had; the message is for the Service's owner."""


class Pools:
    """Ranges by family. Of an IPv4 range wider than /31 the first and the last address are left out."""

    def __init__(self, ranges: Iterable[str]) -> None:
        self._networks = [ip_network(r) for r in ranges]

    @property
    def families(self) -> frozenset[str]:
        """The families that there are addresses of: `IPv4`, `IPv6`."""
        return frozenset(f"IPv{n.version}" for n in self._networks)

    def holds(self, address: str) -> bool:
        """Whether the address may be given to a load balancer."""
        try:
            found = ip_address(address)
        except ValueError:
            return False
        return any(found in n and _usable(n, found) for n in self._networks)

    def wanted(self, families: Sequence[str], policy: str) -> list[str]:
        """The families a Service gets addresses of. Raises PoolError if it must have one that there is none of."""
        found = [f for f in families or ("IPv4",) if f in self.families]
        if not found or (policy == "RequireDualStack" and len(found) < len(families)):
            missing = next(f for f in families or ("IPv4",) if f not in self.families)
            raise PoolError(f"there is no pool of {missing} addresses for load balancers")
        return found

    def choose(
        self, families: Sequence[str], held: Sequence[str], requested: str, taken: Collection[str]
    ) -> tuple[str, ...]:
        """One address of each family: the requested one, else the one that is held already, else the lowest free one.

        `taken` are the addresses of other Services. Raises PoolError.
        """
        return tuple(self._one(family, held, requested, taken) for family in families)

    def _one(self, family: str, held: Sequence[str], requested: str, taken: Collection[str]) -> str:
        if requested and _family(requested) == family:
            if not self.holds(requested):
                raise PoolError(f"the requested address {requested} is in no pool of this cloud")
            if requested in taken:
                # Not whose it is: that may be another tenant's affair.
                raise PoolError(f"the requested address {requested} is in use")
            return requested
        for address in held:
            if _family(address) == family and self.holds(address) and address not in taken:
                return address
        free = self._free(family, lambda address: address in taken)
        if free is None:
            count = sum(1 for address in taken if _family(address) == family and self.holds(address))
            raise PoolError(f"no {family} address is left for load balancers: all {count} are in use")
        return free

    def _free(self, family: str, is_taken: Callable[[str], bool]) -> str | None:
        for network in self._networks:
            if f"IPv{network.version}" != family:
                continue
            for address in network:
                text = str(address)
                if _usable(network, address) and not is_taken(text):
                    return text
        return None


def _usable(network: Network, address: Address) -> bool:
    if network.version == 6:
        return network.prefixlen >= 127 or address != network.network_address
    return network.prefixlen >= 31 or address not in (network.network_address, network.broadcast_address)


def _family(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"
