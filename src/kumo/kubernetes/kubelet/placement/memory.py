"""The Memory Manager's policy `Static`: Guaranteed pods get memory and huge pages of as few NUMA nodes as can be.

Nothing here does I/O. Upstream: `pkg/kubelet/cm/memorymanager/policy_static.go`; texts are theirs.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kumo.api import quantities
from kumo.api.objects import Object, uid_of
from kumo.api.pod_resources import is_sidecar, needed
from kumo.kubernetes.kubelet.placement.hints import Hint, Wishes, mask_of, masks, nodes_of, preferred
from kumo.kubernetes.kubelet.placement.topology import Topology
from kumo.kubernetes.kubelet.resources import GUARANTEED, amount, has_own_resources, qos_class
from kumo.kubernetes.kubelet.spec import Container, all_containers, containers, init_containers

MEMORY, PAGES = "memory", "hugepages-"
_UNITS = ((1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki"))


class NoMemory(Exception):
    """A container can't have its memory; the text is upstream's."""


@dataclass(slots=True)
class Table:
    """One kind of memory of one node, in bytes."""

    total: int
    system: int
    allocatable: int
    reserved: int = 0
    free: int = 0


@dataclass(slots=True)
class NodeMemory:
    """One NUMA node: how many blocks are on it, the nodes that it is used together with, its kinds of memory."""

    tables: dict[str, Table]
    group: tuple[int, ...]
    blocks: int = 0


@dataclass(slots=True)
class Block:
    """What a container has of one kind, on these nodes together."""

    nodes: tuple[int, ...]
    kind: str
    size: int


@dataclass(slots=True)
class MemoryBook:
    """All nodes, and what containers have: by pod's uid and container."""

    nodes: dict[int, NodeMemory] = field(default_factory=dict)
    given: dict[str, dict[str, list[Block]]] = field(default_factory=dict)

    def of(self, uid: str, container: str) -> list[Block]:
        """A container's blocks."""
        return self.given.get(uid, {}).get(container, [])


def page_name(size: int) -> str:
    """The resource of huge pages of so many bytes."""
    for unit, suffix in _UNITS:
        if size % unit == 0:
            return f"{PAGES}{size // unit}{suffix}"
    return f"{PAGES}{size}"


def asked(pod: Object, container: Container) -> dict[str, int]:
    """The bytes that a container asks for, by kind; nothing unless its pod is Guaranteed."""
    if qos_class(pod) != GUARANTEED or has_own_resources(pod):
        return {}
    resources = container.get("resources") or {}
    names = {n: None for kind in ("requests", "limits") for n in resources.get(kind) or {}}
    found = {n: amount(container, "requests", n) or amount(container, "limits", n) for n in names}
    return {n: quantities.whole(v or 0) for n, v in found.items() if n == MEMORY or n.startswith(PAGES)}


def check_reservation(
    topology: Topology, reserved: Mapping[int, Mapping[str, int]], kept_back: Mapping[str, int]
) -> None:
    """Raise ValueError unless what is reserved of the nodes is what the whole machine keeps back."""
    totals: dict[str, int] = {}
    for node, limits in reserved.items():
        if node not in topology.nodes:
            raise ValueError(
                f"the reserved memory configuration references a NUMA node {node} that does not exist on this machine"
            )
        for kind, size in limits.items():
            totals[kind] = totals.get(kind, 0) + size
    for kind in sorted(totals.keys() | kept_back.keys()):
        mine, wanted = totals.get(kind, 0), kept_back.get(kind, 0)
        if mine != wanted:
            texts = [quantities.to_text(n, binary=True) for n in (mine, wanted)]
            raise ValueError(
                f'the total amount "{texts[0]}" of type "{kind}" is not equal to the value "{texts[1]}" '
                "determined by Node Allocatable feature"
            )
    if totals.get(MEMORY, 0) <= 0:
        raise ValueError("[memorymanager] you should specify the system reserved memory")


class StaticMemory:
    """The policy on one machine; `reserved` is kept back of each node."""

    def __init__(self, topology: Topology, reserved: Mapping[int, Mapping[str, int]]) -> None:
        self.topology = topology
        self._reserved = reserved
        self._spare: tuple[str, dict[tuple[int, str], int]] = ("", {})
        """What init containers of that pod had, by nodes and kind: containers after them may have it."""

    def begin(self, book: MemoryBook) -> None:
        """Fill an empty book, or check what a former kubelet wrote. Raises ValueError."""
        fresh = self._empty()
        if not book.nodes:
            if book.given:
                raise ValueError("[memorymanager] machine state can not be empty when it has memory assignments")
            book.nodes = fresh
            return
        for uid, holders in book.given.items():
            for name, blocks in holders.items():
                where = f"[memorymanager] (pod: {uid}, container: {name}) the memory assignment uses"
                for block in blocks:
                    if not fresh.keys() >= set(block.nodes):
                        raise ValueError(f"{where} the NUMA that does not exist")
                    if any(block.kind not in fresh[n].tables for n in block.nodes):
                        raise ValueError(f"{where} memory resource that does not exist")
                    _take(fresh, block.nodes, block.kind, block.size)
        if not _alike(book.nodes, fresh):
            raise ValueError("[memorymanager] the expected machine state is different from the real one")

    def allocatable(self) -> list[Block]:
        """What there is for containers."""
        nodes = self._empty().items()
        return [Block((n,), k, t.allocatable) for n, node in nodes for k, t in node.tables.items() if t.allocatable]

    def hints(self, book: MemoryBook, pod: Object, container: Container | None) -> Wishes | None:
        """Where a container's memory (or, without one, all of the pod's) can be."""
        if container is None:
            # As upstream: of a kind that only init containers ask for nothing is said beforehand.
            lasting = {kind for c in containers(pod) for kind in asked(pod, c)}
            wanted = {k: v for k, v in needed(pod["spec"], lambda c: asked(pod, c)).items() if k in lasting}
            members = list(all_containers(pod))
        else:
            wanted, members = asked(pod, container), [container]
        for member in members:
            blocks = book.of(uid_of(pod), member["name"])
            if blocks:
                return _known(blocks, wanted)
        return self._wishes(book.nodes, uid_of(pod), wanted) if wanted else None

    def allocate(self, book: MemoryBook, pod: Object, container: Container, hint: Hint) -> bool:
        """Give a container its memory, on these NUMA nodes or more; whether the book has changed. Raises NoMemory."""
        uid, name, wanted = uid_of(pod), container["name"], asked(pod, container)
        passes_on = container in init_containers(pod) and not is_sidecar(container)
        blocks = book.of(uid, name)
        if blocks or not wanted:
            self._pass_on(uid, blocks, passes_on=passes_on)
            return False
        nodes = copy.deepcopy(book.nodes)
        mask = self._settle(nodes, uid, wanted, hint)
        places = tuple(nodes_of(mask))
        for kind, size in wanted.items():
            blocks.append(Block(places, kind, size))
            _take(nodes, places, kind, max(0, size - self._reusable(uid, mask, kind)))
        self._pass_on(uid, blocks, passes_on=passes_on)
        book.nodes = nodes
        book.given.setdefault(uid, {})[name] = blocks
        for block in blocks:
            _shrink([book.of(uid, c["name"]) for c in _before(pod, name)], block)
        return True

    def started(self, book: MemoryBook, pod: Object, name: str) -> bool:
        """A container runs: the init containers before it need nothing any more; whether the book has changed."""
        uid = uid_of(pod)
        mine = book.given.get(uid, {})
        over = [c["name"] for c in _before(pod, name) if c["name"] in mine]
        for other in over:
            self._give_back(book, mine.pop(other))
        return bool(over)

    def release(self, book: MemoryBook, uid: str) -> bool:
        """The pod has ended; whether it had anything."""
        mine = book.given.pop(uid, None)
        for blocks in (mine or {}).values():
            self._give_back(book, blocks)
        return mine is not None

    def _give_back(self, book: MemoryBook, blocks: Iterable[Block]) -> None:
        for block in blocks:
            left = block.size
            for number in block.nodes:
                node = book.nodes[number]
                node.blocks -= 1
                if not node.blocks:
                    node.group = (number,)
                table = node.tables[block.kind]
                part = min(left, table.reserved)
                table.free += part
                table.reserved -= part
                left -= part

    def _empty(self) -> dict[int, NodeMemory]:
        made = {}
        for number, node in self.topology.nodes.items():
            tables, kept = {}, self._reserved.get(number, {})
            for size, count in node.pages.items():
                kind, total = page_name(size), size * count
                free = max(0, total - kept.get(kind, 0))
                tables[kind] = Table(total, kept.get(kind, 0), free, 0, free)
            paged = sum(size * count for size, count in node.pages.items())
            free = max(0, node.memory - kept.get(MEMORY, 0) - paged)
            tables[MEMORY] = Table(node.memory, kept.get(MEMORY, 0), free, 0, free)
            made[number] = NodeMemory(tables, (number,))
        return made

    def _reusable(self, uid: str, mask: int, kind: str) -> int:
        return self._spare[1].get((mask, kind), 0) if self._spare[0] == uid else 0

    def _pass_on(self, uid: str, blocks: Iterable[Block], *, passes_on: bool) -> None:
        spare = self._spare[1] if self._spare[0] == uid else {}
        for block in blocks:
            key = (mask_of(block.nodes), block.kind)
            known = spare.get(key, 0)
            spare[key] = max(known, block.size) if passes_on else max(0, known - block.size)
        self._spare = (uid, spare)

    def _settle(self, nodes: Mapping[int, NodeMemory], uid: str, wanted: Mapping[str, int], hint: Hint) -> int:
        """The nodes that the memory is taken from."""
        mask, prefer = hint
        if mask is None:
            found = self._wishes(nodes, uid, wanted)
            if not found:
                raise NoMemory(
                    "[memorymanager] failed to get the default NUMA affinity, no NUMA nodes with enough memory is "
                    "available"
                )
            best = _best(found.get(MEMORY) or ())
            if not best.preferred and prefer:
                raise NoMemory("[memorymanager] failed to find the default preferred hint")
            mask, prefer = best.mask or 0, best.preferred
        if any(sum(_free(nodes[n], kind) for n in nodes_of(mask)) < size for kind, size in wanted.items()):
            more = [h for h in self._wishes(nodes, uid, wanted).get(MEMORY) or () if (h.mask or 0) & mask == mask]
            if not more:
                raise NoMemory("[memorymanager] failed to find NUMA nodes to extend the current topology hint")
            best = _best(more)
            if not best.preferred and prefer:
                raise NoMemory("[memorymanager] failed to find the extended preferred hint")
            mask = best.mask or 0
        places = nodes_of(mask)
        used = [nodes[n].group for n in places if nodes[n].blocks]
        if len(places) > 1 and any(len(g) == 1 or sorted(g) != places for g in used):
            raise NoMemory("[memorymanager] preferred hint violates NUMA node allocation")
        return mask

    def _wishes(
        self, nodes: Mapping[int, NodeMemory], uid: str, wanted: Mapping[str, int]
    ) -> dict[str, Sequence[Hint]]:
        smallest, found = len(nodes), []
        for mask in masks(nodes):
            places = nodes_of(mask)
            if any(sum(_allocatable(nodes[n], k) for n in places) < size for k, size in wanted.items()):
                continue
            smallest = min(smallest, len(places))
            if len(places) == 1 and len(nodes[places[0]].group) > 1:
                continue
            used = [nodes[n].group for n in places if nodes[n].blocks]
            if len(places) > 1 and any(len(g) == 1 or sorted(g) != places for g in used):
                continue
            if all(
                sum(_free(nodes[n], k) for n in places) + self._reusable(uid, mask, k) >= size
                for k, size in wanted.items()
            ):
                found.append(mask)
        return dict.fromkeys(wanted, preferred(found, smallest)) if found else {}


def _before(pod: Object, name: str) -> list[Container]:
    """The init containers, no sidecars, that have to end before that container starts."""
    found: list[Container] = []
    for container in init_containers(pod):
        if container["name"] == name:
            break
        if not is_sidecar(container):
            found.append(container)
    return found


def _known(blocks: Sequence[Block], wanted: Mapping[str, int]) -> Wishes | None:
    """The hints that lead to what a container has already."""
    if len(blocks) != len(wanted) or any(wanted.get(b.kind) != b.size for b in blocks):
        return None
    return {b.kind: [Hint(mask_of(b.nodes), True)] for b in blocks}


def _best(hints: Iterable[Hint]) -> Hint:
    """The narrowest of the preferred ones, or of all."""

    def rank(hint: Hint) -> tuple[bool, int, int]:
        mask = hint.mask or 0
        return not hint.preferred, mask.bit_count(), mask

    return min(hints, key=rank, default=Hint(0, False))


def _free(node: NodeMemory, kind: str) -> int:
    return node.tables[kind].free if kind in node.tables else 0


def _allocatable(node: NodeMemory, kind: str) -> int:
    return node.tables[kind].allocatable if kind in node.tables else 0


def _take(nodes: Mapping[int, NodeMemory], places: Sequence[int], kind: str, size: int) -> None:
    for number in places:
        node = nodes[number]
        node.blocks += 1
        node.group = tuple(places)
        table = node.tables[kind]
        part = min(size, table.free)
        table.reserved += part
        table.free -= part
        size -= part


def _shrink(earlier: Iterable[list[Block]], block: Block) -> None:
    """What a container takes over of those before it is no longer theirs."""
    left = block.size
    for blocks in earlier:
        for other in blocks:
            if other.kind == block.kind and mask_of(other.nodes) == mask_of(block.nodes):
                part = min(left, other.size)
                other.size -= part
                left -= part


def _alike(first: Mapping[int, NodeMemory], second: Mapping[int, NodeMemory]) -> bool:
    """Whether both say the same; of nodes that are used together only the sums count."""
    if first.keys() != second.keys():
        return False
    for number, mine in first.items():
        other = second[number]
        if (mine.blocks, sorted(mine.group)) != (other.blocks, sorted(other.group)):
            return False
        if mine.tables.keys() != other.tables.keys():
            return False
        for kind, table in mine.tables.items():
            same = other.tables[kind]
            if (table.total, table.system, table.allocatable) != (same.total, same.system, same.allocatable):
                return False
            for what in ("free", "reserved"):
                sums = [sum(getattr(m[n].tables[kind], what) for n in mine.group) for m in (first, second)]
                if sums[0] != sums[1]:
                    return False
    return True
