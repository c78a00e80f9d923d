"""Pools of service addresses and node ports: what is taken, what is free, what is promised to writes under way.

A pool sees what stored objects hold (in its user's books) and remembers what it gave out until that is stored or given
back, or a minute at most, which is longer than a request may take: so two writes at the same time never get the same.
Nothing is stored: after a restart the objects themselves say it all.
"""

from __future__ import annotations

import ipaddress
import random
import time
from collections.abc import Callable, Container

PROMISE_SECONDS = 60.0


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
        self._held: Container[int] = ()
        self._promised: dict[int, float] = {}

    def follow(self, held: Container[int]) -> None:
        """Look from now on in `held` for what stored objects hold."""
        self._held = held

    def _free(self, value: int) -> bool:
        if value in self._held:
            return False
        promised = self._promised.get(value)
        return promised is None or promised <= self._clock()

    def is_free(self, value: int) -> bool:
        """Whether the number can be had. Raises OutOfRange."""
        if not self.first <= value <= self.last:
            raise OutOfRange
        return self._free(value)

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
        size = self.network.num_addresses
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
