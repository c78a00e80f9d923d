"""What addresses and node ports are given and left, for /metrics, by upstream's names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from kumo.machinery.exposition import family

_ADDRESSES = "kube_apiserver_clusterip_allocator"
_PORTS = "kube_apiserver_nodeport_allocator"


class AllocationCounts:
    """Counts what is given and refused: `dynamic` for what the server chose, `static` for what was asked for.

    Addresses are counted by their range (CIDR).
    """

    def __init__(self) -> None:
        self.addresses: Counter[tuple[str, ...]] = Counter()
        self.address_errors: Counter[tuple[str, ...]] = Counter()
        self.ports: Counter[tuple[str, ...]] = Counter()
        self.port_errors: Counter[tuple[str, ...]] = Counter()

    def lines(self, ranges: Iterable[tuple[str, int, int]], ports: tuple[int, int]) -> list[str]:
        """The families; `ranges` and `ports` tell how many are given and left, the former for each CIDR."""
        known = list(ranges)
        by_range, by_scope = ("cidr", "scope"), ("scope",)
        return [
            *family(
                "gauge",
                f"{_ADDRESSES}_allocated_ips",
                "[ALPHA] Cluster addresses that are held",
                ("cidr",),
                [((cidr,), float(held)) for cidr, held, _ in known],
            ),
            *family(
                "gauge",
                f"{_ADDRESSES}_available_ips",
                "[ALPHA] Cluster addresses that are left",
                ("cidr",),
                [((cidr,), float(left)) for cidr, _, left in known],
            ),
            *_counter(f"{_ADDRESSES}_allocation_total", "Cluster addresses given", by_range, self.addresses),
            *_counter(f"{_ADDRESSES}_allocation_errors_total", "Addresses refused", by_range, self.address_errors),
            *family(
                "gauge", f"{_PORTS}_allocated_ports", "[ALPHA] Node ports that are held", (), [((), float(ports[0]))]
            ),
            *family(
                "gauge", f"{_PORTS}_available_ports", "[ALPHA] Node ports that are left", (), [((), float(ports[1]))]
            ),
            *_counter(f"{_PORTS}_allocation_total", "Node ports given", by_scope, self.ports),
            *_counter(f"{_PORTS}_allocation_errors_total", "Node ports refused", by_scope, self.port_errors),
        ]


def _counter(name: str, text: str, labels: tuple[str, ...], counts: Counter[tuple[str, ...]]) -> list[str]:
    return family("counter", name, f"[ALPHA] {text}", labels, [(k, float(n)) for k, n in sorted(counts.items())])
