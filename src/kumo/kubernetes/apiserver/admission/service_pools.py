"""Pools of service addresses and node ports: what is taken, what is free, what is promised to writes under way.

A pool knows what stored services hold (told by its user) and remembers for five seconds what it gave out, so that two
writes at the same time never get the same. Nothing is stored: after a restart the services themselves say it all.
"""

from __future__ import annotations

import ipaddress
import random
import time
from collections.abc import Callable, Iterable

PROMISE_SECONDS = 5.0


class Taken(Exception):
    """The asked value is held by somebody else."""


class OutOfRange(Exception):
    """The asked value is not of this pool; the message is the range."""


class Exhausted(Exception):
    """Nothing is free."""


class Pool:
    """Numbers of `[first, last]`; free ones are looked for from `preferred` on first, then below."""

    def __init__(
        self,
        first: int,
        last: int,
        *,
        preferred: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        choose: random.Random | None = None,
    ) -> None:
        self.first, self.last = first, last
        self._preferred = first if preferred is None else preferred
        self._clock = clock
        self._random = choose or random.Random()
        self._held: set[int] = set()
        self._promised: dict[int, float] = {}

    def hold(self, values: Iterable[int]) -> None:
        """Say which numbers stored objects hold, in place of what was said before; their promises are kept."""
        self._held = set(values)
        for value in self._held.intersection(self._promised):
            del self._promised[value]

    def _free(self, value: int) -> bool:
        if value in self._held:
            return False
        promised = self._promised.get(value)
        return promised is None or promised <= self._clock()

    def take(self, value: int) -> None:
        """Promise this number. Raises Taken or OutOfRange."""
        if not self.first <= value <= self.last:
            raise OutOfRange
        if not self._free(value):
            raise Taken
        self._promised[value] = self._clock() + PROMISE_SECONDS

    def next(self) -> int:
        """Promise some free number. Raises Exhausted."""
        for low, high in ((self._preferred, self.last), (self.first, self._preferred - 1)):
            if high < low:
                continue
            for _ in range(16):
                value = self._random.randint(low, high)
                if self._free(value):
                    self.take(value)
                    return value
            for value in range(low, high + 1):
                if self._free(value):
                    self.take(value)
                    return value
        raise Exhausted

    def release(self, value: int) -> None:
        """Take a promise back: its write did not happen."""
        self._promised.pop(value, None)

    def tidy(self) -> None:
        """Forget promises that have run out."""
        now = self._clock()
        self._promised = {v: t for v, t in self._promised.items() if t > now}


class AddressPool:
    """The addresses of a service range (CIDR), without the network's own and the broadcast address."""

    def __init__(self, cidr: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.network = ipaddress.ip_network(cidr)
        base = int(self.network.network_address)
        size = min(self.network.num_addresses, 1 << 20)
        last = base + size - (2 if self.network.version == 4 else 1)
        # The lower part is left to addresses that people choose: min(max(16, size / 16), 256), as upstream.
        static = min(max(16, size // 16), 256) if size > 32 else 0
        self.numbers = Pool(base + 1, last, preferred=base + 1 + static, clock=clock)

    @property
    def family(self) -> str:
        """IPv4 or IPv6."""
        return f"IPv{self.network.version}"

    def number(self, address: str) -> int:
        """The address as a number of the pool. Raises ValueError for no address, OutOfRange for another family."""
        parsed = ipaddress.ip_address(address)
        if parsed.version != self.network.version:
            raise OutOfRange
        return int(parsed)

    def text(self, number: int) -> str:
        """The number as an address."""
        if self.network.version == 4:
            return str(ipaddress.IPv4Address(number))
        return str(ipaddress.IPv6Address(number))
