"""The ranges that cluster addresses come from: the cluster's own, and those of ready ServiceCIDRs of its family."""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Iterable, Sequence

from kumo.api import conditions
from kumo.api.objects import Object, is_deleting
from kumo.api.resources import GVR
from kumo.kubernetes.apiserver.admission.service_pools import AddressPool, Exhausted, OutOfRange, Taken
from kumo.kubernetes.apiserver.attributes import Reader

RANGES = GVR("networking.k8s.io", "v1", "servicecidrs", False)
_ATTEMPTS = 16


def more_blocks(own: str, objects: Iterable[Object]) -> list[str]:
    """The CIDRs beyond `own`, of its family, of the ServiceCIDRs that are ready and stay."""
    version = ipaddress.ip_network(own).version
    found: dict[str, None] = {}
    for obj in objects:
        if is_deleting(obj) or not conditions.is_true(obj, "Ready"):
            continue
        for block in (obj.get("spec") or {}).get("cidrs") or ():
            if block != own and ipaddress.ip_network(block).version == version:
                found[block] = None
    return list(found)


class ServiceRanges:
    """Addresses of one family out of several ranges, which may overlap: what one gives is taken in all."""

    def __init__(self, reader: Reader, cidr: str) -> None:
        self._reader = reader
        self._cidr = cidr
        self.own = AddressPool(cidr)
        self._pools: dict[str, AddressPool] = {cidr: self.own}
        self._revision = -1
        self._held: Container[int] = ()

    def refresh(self) -> bool:
        """Look whether the ServiceCIDRs changed; whether the ranges did."""
        revision = self._reader.revision(RANGES)
        if revision == self._revision:
            return False
        self._revision = revision
        blocks = [self._cidr, *more_blocks(self._cidr, self._reader.objects(RANGES))]
        if blocks == list(self._pools):
            return False
        self._pools = {block: self._pools.get(block) or AddressPool(block) for block in blocks}
        self.follow(self._held)
        return True

    def blocks(self) -> Sequence[str]:
        """The ranges, the cluster's own first."""
        return list(self._pools)

    def follow(self, held: Container[int]) -> None:
        """Look from now on in `held` for the addresses that stored objects hold."""
        self._held = held
        for pool in self._pools.values():
            pool.numbers.follow(held)

    def check(self, number: int) -> None:
        """Raise OutOfRange for an address of no range."""
        if not any(pool.numbers.first <= number <= pool.numbers.last for pool in self._pools.values()):
            raise OutOfRange

    def block_of(self, number: int) -> str:
        """The first range that has the address; the cluster's own if none has."""
        for block, pool in self._pools.items():
            if pool.numbers.first <= number <= pool.numbers.last:
                return block
        return self._cidr

    def usage(self, held: Iterable[int]) -> list[tuple[str, int, int]]:
        """How many addresses of each range are held and left."""
        numbers, found = list(held), []
        for block, pool in self._pools.items():
            first, last = pool.numbers.first, pool.numbers.last
            count = sum(1 for number in numbers if first <= number <= last)
            found.append((block, count, last - first + 1 - count))
        return found

    def take(self, number: int) -> None:
        """Promise this address in every range that has it. Raises Taken, OutOfRange."""
        done: list[AddressPool] = []
        for pool in self._pools.values():
            try:
                pool.numbers.take(number)
            except OutOfRange:
                continue
            except Taken:
                for other in done:
                    other.numbers.release(number)
                raise
            done.append(pool)
        if not done:
            raise OutOfRange

    def next(self) -> int:
        """Promise some free address, of the first range that has one. Raises Exhausted."""
        for pool in self._pools.values():
            for _ in range(_ATTEMPTS):
                try:
                    number = pool.numbers.next()
                except Exhausted:
                    break
                if len(self._pools) == 1:
                    return number
                pool.numbers.release(number)
                try:
                    self.take(number)
                except Taken:
                    continue
                return number
        raise Exhausted

    def release(self, number: int) -> None:
        """Take a promise back."""
        for pool in self._pools.values():
            pool.numbers.release(number)

    def tidy(self) -> None:
        """Forget promises that have run out."""
        for pool in self._pools.values():
            pool.numbers.tidy()
