"""Node IPAM: every node gets its own part of the cluster's pod network (`spec.podCIDR`, `spec.podCIDRs`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network

from kumo.api.objects import Key, Object, name_of
from kumo.api.pod_ranges import range6
from kumo.api.resources import NODES
from kumo.machinery.client import STRATEGIC_MERGE_PATCH, Client
from kumo.machinery.controller import Controller, Temporary
from kumo.machinery.events import NORMAL, EventRecorder
from kumo.machinery.informer import Informers


@dataclass(frozen=True, slots=True)
class NodeIpamConfig:
    """The cluster's pod network, and the prefix length of a node's part of it.

    With `cluster_cidr6` a node's part of that goes with it: the /64 with the same number.
    """

    cluster_cidr: str = "10.244.0.0/16"
    node_prefix: int = 24
    cluster_cidr6: str = ""

    def ranges(self, part: str) -> list[str]:
        """Both families' ranges of the node with this IPv4 part."""
        if not self.cluster_cidr6:
            return [part]
        return [part, str(range6(part, self.cluster_cidr, self.cluster_cidr6))]


def next_free(config: NodeIpamConfig, taken: Iterable[str]) -> str | None:
    """The lowest part of the cluster's network that overlaps none of `taken`; None when all are given away.

    Raises ValueError for networks that are none.
    """
    whole = _network(config.cluster_cidr)
    prefix = max(config.node_prefix, whole.prefixlen)
    shift = whole.max_prefixlen - prefix
    first, count = int(whole.network_address) >> shift, 1 << (prefix - whole.prefixlen)
    used: set[int] = set()
    for text in taken:
        network = _network(text)
        if network.version == whole.version:
            low = max((int(network.network_address) >> shift) - first, 0)
            high = min((int(network.broadcast_address) >> shift) - first, count - 1)
            used.update(range(low, high + 1))
    for index in range(min(count, len(used) + 1)):
        if index not in used:
            return f"{whole.network_address + (index << shift)}/{prefix}"
    return None


@lru_cache(maxsize=4096)
def _network(text: str) -> IPv4Network | IPv6Network:
    """Networks are looked at again for each node that comes."""
    return ip_network(text)


class NodeIpamController:
    """Gives nodes their networks, one node at a time."""

    name = "node-ipam-controller"

    def __init__(self, client: Client, informers: Informers, config: NodeIpamConfig) -> None:
        self._client = client
        self._config = config
        self._recorder = EventRecorder(client, "cidrAllocator")
        self._nodes = informers.informer(NODES)
        self._given: dict[str, str] = {}
        self._full = False
        """Whether all parts are given away: a thousand nodes without one need not each look at a thousand others."""
        self._nodes.on_change(self._changed)
        self._controller = Controller(self.name, self._reconcile, workers=1)
        self._controller.watch(self._nodes)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    async def _reconcile(self, key: Key) -> float | None:
        node = self._nodes.get_key(key)
        if node is None or (node.get("spec") or {}).get("podCIDR"):
            if self._given.pop(key.name, None) is not None and node is None:
                self._full = False
            return None
        part = self._given.get(key.name)
        if part is None and not self._full:
            part = next_free(self._config, self._taken())
        if part is None:
            self._full = True
            text = f"Node {key.name} status is now: CIDRNotAvailable"
            self._recorder.event(node, NORMAL, "CIDRNotAvailable", text)
            raise Temporary("all pod networks are given away", 30.0)
        self._given[key.name] = part
        patch = {"spec": {"podCIDR": part, "podCIDRs": self._config.ranges(part)}}
        await self._client.patch(NODES, name_of(node), patch, kind=STRATEGIC_MERGE_PATCH)
        return None

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None and _cidrs(old) and (new is None or _cidrs(new) != _cidrs(old)):
            self._full = False

    def _taken(self) -> list[str]:
        return [cidr for node in self._nodes.objects() for cidr in _cidrs(node)] + list(self._given.values())


def _cidrs(node: Object) -> list[str]:
    spec = node.get("spec") or {}
    return list(spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else []))
