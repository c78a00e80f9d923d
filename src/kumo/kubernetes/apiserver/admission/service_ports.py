"""Node ports of services, those for load balancers' health checks among them (`service/storage/alloc.go`)."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Any

from kumo.api.errors import Cause, internal, invalid
from kumo.kubernetes.apiserver.admission.service_holdings import ports_of
from kumo.kubernetes.apiserver.admission.service_metrics import AllocationCounts
from kumo.kubernetes.apiserver.admission.service_pools import Exhausted, OutOfRange, Pool, Taken

_WITH_NODE_PORTS = ("NodePort", "LoadBalancer")
_DRY = 32768
"""Dry runs show ports from here on, which nobody has."""

Undo = list[Callable[[], None]]


class PortAllocator:
    """Gives ports of `[first, last]`; `held` has what stored services hold."""

    def __init__(self, ports: tuple[int, int], held: Container[int], counts: AllocationCounts) -> None:
        self._counts = counts
        size = ports[1] - ports[0] + 1
        static = min(max(16, size // 32), 128) if size > 32 else 0
        self.pool = Pool(*ports, preferred=ports[0] + static)
        self.pool.follow(held)
        self._span = f"{ports[0]}-{ports[1]}"

    def give(self, name: str, spec: dict[str, Any], old: dict[str, Any], undo: Undo, *, dry: bool) -> None:
        """Give the service the ports that it lacks, in place. Raises 422, or 500 when there are none."""
        given = _Given(self.pool, self._counts, self._span, name, undo, dry)
        if spec.get("type") in _WITH_NODE_PORTS:
            give = spec["type"] == "NodePort" or bool(spec.get("allocateLoadBalancerNodePorts", True))
            if old:
                _complete(given, spec, give, set(_node_ports(old)))
            else:
                _fill(given, spec, give)
        if _needs_health_port(spec) and not _needs_health_port(old):
            wanted = spec.get("healthCheckNodePort")
            if wanted:
                given.take_health_port(wanted)
            else:
                spec["healthCheckNodePort"] = given.next("failed to allocate a HealthCheck NodePort 0")

    def stored(self, ports: Iterable[int]) -> None:
        """A service with these ports is stored: it says itself what it holds."""
        for port in ports:
            self.pool.release(port)


class _Given:
    """What one write is given."""

    def __init__(self, pool: Pool, counts: AllocationCounts, span: str, name: str, undo: Undo, dry: bool) -> None:
        self._counts = counts
        self._pool, self._span, self._name, self._undo, self._dry = pool, span, name, undo, dry
        self.numbers: set[int] = set()

    def next(self, failed: str) -> int:
        """A free port."""
        if self._dry:
            port = max(self.numbers, default=_DRY) + 1
        else:
            try:
                port = self._pool.next()
            except Exhausted:
                self._counts.port_errors["dynamic",] += 1
                raise internal(f"{failed}: range is full") from None
            self._counts.ports["dynamic",] += 1
            self._undo.append(lambda: self._pool.release(port))
        self.numbers.add(port)
        return port

    def take(self, index: int, wanted: int) -> None:
        """The port that the service names. Raises 422."""
        if (why := self._refusal(wanted)) is not None:
            cause = Cause(f"spec.ports[{index}].nodePort", f"Invalid value: {wanted}: {why}")
            raise invalid("", "Service", self._name, [cause])

    def take_health_port(self, wanted: int) -> None:
        """The port that the service names for health checks. Raises 500, as upstream."""
        if (why := self._refusal(wanted)) is not None:
            raise internal(f"failed to allocate requested HealthCheck NodePort {wanted}: {why}")

    def _refusal(self, wanted: int) -> str | None:
        try:
            if wanted in self.numbers:
                raise Taken
            if self._dry:
                if not self._pool.is_free(wanted):
                    raise Taken
            else:
                self._pool.take(wanted)
                self._counts.ports["static",] += 1
                self._undo.append(lambda: self._pool.release(wanted))
        except OutOfRange:
            if self._dry:
                return None  # Upstream's dry runs do not look at the range.
            self._counts.port_errors["static",] += 1
            return f"provided port is not in the valid range. The range of valid ports is {self._span}"
        except Taken:
            if not self._dry:
                self._counts.port_errors["static",] += 1
            return "provided port is already allocated"
        self.numbers.add(wanted)
        return None


def _fill(given: _Given, spec: dict[str, Any], give: bool) -> None:
    """Ports of a new service: one number serves all protocols of the same port."""
    ports = spec.get("ports") or ()
    of_port: dict[int, int] = {}
    for index, port in enumerate(ports):
        wanted, own = port.get("nodePort") or 0, port.get("port") or 0
        if not wanted and not give:
            continue
        known = of_port.get(own)
        if known is None:
            asked = next((p["nodePort"] for p in ports if p.get("port") == own and p.get("nodePort")), 0)
            if asked:
                given.take(index, asked)
            port["nodePort"] = of_port[own] = asked or given.next("failed to allocate a nodePort")
        elif not wanted:
            port["nodePort"] = known
        elif wanted != known:
            given.take(index, wanted)


def _complete(given: _Given, spec: dict[str, Any], give: bool, kept: set[int]) -> None:
    """Ports of a changed service."""
    for index, port in enumerate(spec.get("ports") or ()):
        wanted = port.get("nodePort") or 0
        if wanted:
            if wanted not in kept and wanted not in given.numbers:
                given.take(index, wanted)
        elif give:
            port["nodePort"] = given.next("failed to allocate a nodePort")


def _node_ports(spec: dict[str, Any]) -> list[int]:
    return list(ports_of({**spec, "healthCheckNodePort": None}))


def _needs_health_port(spec: dict[str, Any]) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"
