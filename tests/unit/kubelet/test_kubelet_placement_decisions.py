"""Which processors and memory containers get, what the Topology Manager says: tables, as upstream decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kumo.kubernetes.kubelet.devices.affinity import device_hints, sorted_by_nearness
from kumo.kubernetes.kubelet.devices.ledger import Device
from kumo.kubernetes.kubelet.placement import cpuset, state, topology
from kumo.kubernetes.kubelet.placement.cpus import CpuBook, Misaligned, StaticCpus
from kumo.kubernetes.kubelet.placement.hints import ANYWHERE, Hint, Merger, TopologyOptions
from kumo.kubernetes.kubelet.placement.memory import MemoryBook, NoMemory, StaticMemory, check_reservation, page_name
from kumo.kubernetes.kubelet.placement.opening import open_cpus, open_memory, open_merger
from kumo.kubernetes.kubelet.placement.options import (
    CpuOptions,
    PlacementSettings,
    check_policies,
    cpu_options,
    topology_options,
)
from kumo.kubernetes.kubelet.placement.picking import TooFew, packed, spread
from kumo.kubernetes.kubelet.placement.topology import Cpu, Node, Topology

pytestmark = pytest.mark.unit
G = 1 << 30


def machine(sockets: int = 2, cores: int = 4, threads: int = 2, memory: int = 4 * G) -> Topology:
    """Threads of a core are as far apart as the machine has cores; each socket is a NUMA node."""
    total = sockets * cores
    cpus = {
        c: Cpu(c % total // cores, c % total // cores, c % total, c % total // cores) for c in range(total * threads)
    }
    return Topology(dict(sorted(cpus.items())), {n: Node(memory) for n in range(sockets)})


def pod(name: str, *cpus: str, init: tuple[str, ...] = (), memory: str = "1Gi") -> dict[str, Any]:
    def container(i: int, kind: str, cpu: str) -> dict[str, Any]:
        amounts = {"cpu": cpu, "memory": memory}
        return {"name": f"{kind}{i}", "resources": {"limits": amounts, "requests": amounts}}

    return {
        "metadata": {"uid": name},
        "spec": {
            "containers": [container(i, "c", c) for i, c in enumerate(cpus)],
            "initContainers": [container(i, "i", c) for i, c in enumerate(init)],
        },
    }


@pytest.mark.parametrize(
    ("text", "expected"), [("", set()), ("0-2,5", {0, 1, 2, 5}), ("7", {7}), (" 1, 3-4\n", {1, 3, 4})]
)
def test_cpuset_texts(text: str, expected: set[int]) -> None:
    assert cpuset.parse(text) == expected
    assert cpuset.parse(cpuset.text(expected)) == expected


@pytest.mark.parametrize("text", ["a", "3-1", "-1", "1-", "0-99999999", "1,,2"])
def test_cpuset_refuses_nonsense(text: str) -> None:
    with pytest.raises(ValueError, match="is no range of processors"):
        cpuset.parse(text)


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / "devices/system" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_topology_of_a_sysfs_tree(tmp_path: Path) -> None:
    files = {"cpu/online": "0-2\n"}
    for cpu, (socket, core) in enumerate([("0", "0,2"), ("1", "1"), ("0", "0,2")]):
        files |= {
            f"cpu/cpu{cpu}/topology/physical_package_id": socket,
            f"cpu/cpu{cpu}/topology/thread_siblings_list": core,
            f"cpu/cpu{cpu}/cache/index3/level": "3",
            f"cpu/cpu{cpu}/cache/index3/id": str(int(socket) + 7),
        }
    for node, cpus in (("0", "0,2"), ("1", "1")):
        files |= {
            f"node/node{node}/cpulist": cpus,
            f"node/node{node}/meminfo": f"Node {node} MemTotal:       2048 kB\n",
            f"node/node{node}/distance": "10 21",
            f"node/node{node}/hugepages/hugepages-2048kB/nr_hugepages": "3",
        }
    found = topology.read(tree(tmp_path, files))
    assert found.cpus == {0: Cpu(0, 0, 0, 7), 1: Cpu(1, 1, 1, 8), 2: Cpu(0, 0, 0, 7)}
    assert found.nodes[1] == Node(2048 * 1024, {2 << 20: 3}, (10, 21))


def test_topology_of_a_machine_that_says_little(tmp_path: Path) -> None:
    found = topology.read(tree(tmp_path, {"cpu/cpu0/uevent": "", "cpu/cpu1/uevent": "", "cpu/cpuidle/x": ""}), 5)
    assert found == Topology({0: Cpu(0, 0, 0, 0), 1: Cpu(0, 0, 1, 0)}, {0: Node(5)})


@pytest.mark.parametrize(
    ("free", "count", "expected"),
    [
        ("0-15", 8, "0-3,8-11"),
        ("0-15", 2, "0,8"),
        ("0-15", 3, "0-1,8"),
        ("0-7,9-15", 2, "1,9"),
        ("0-7", 4, "0-3"),
        ("0,4-7,12-15", 1, "0"),
        ("0-15", 16, "0-15"),
        ("0-15", 0, ""),
    ],
)
def test_processors_that_are_packed(free: str, count: int, expected: str) -> None:
    assert cpuset.text(packed(machine(), cpuset.parse(free), count)) == expected


def test_too_few_processors() -> None:
    with pytest.raises(TooFew, match="not enough cpus available to satisfy request: requested=3, available=2"):
        packed(machine(), {0, 1}, 3)


@pytest.mark.parametrize(
    ("free", "count", "group", "expected"),
    [
        ("0-15", 4, 1, "0,2,8,10"),
        ("0-15", 10, 1, "0-2,4-6,8-9,12-13"),
        ("0-15", 12, 2, "0-2,4-6,8-10,12-14"),
        ("0-15", 3, 2, "0-1,8"),
        ("0-3,8-12", 8, 1, "0-3,8-11"),
    ],
)
def test_processors_that_are_spread(free: str, count: int, group: int, expected: str) -> None:
    found = spread(machine(), cpuset.parse(free), count, group)
    assert len(found) == count
    if count > 8:
        nodes = [sum(machine().cpus[c].node == n for c in found) for n in (0, 1)]
        assert nodes[0] == nodes[1]
    else:
        assert len({machine().cpus[c].node for c in found}) == 1


def test_processors_of_one_cache() -> None:
    cpus = {c: Cpu(0, 0, c, c // 2) for c in range(8)}
    whole = Topology(cpus, {0: Node(0)})
    assert packed(whole, {0, 2, 3, 4, 5, 6, 7}, 2, by_cache=True) == {2, 3}
    assert packed(whole, {0, 2, 3}, 1, by_cache=True) == {0}


A, B, BOTH = Hint(1, True), Hint(2, True), Hint(3, False)


@pytest.mark.parametrize(
    ("policy", "wishes", "expected"),
    [
        ("best-effort", [], (Hint(3, True), True)),
        ("best-effort", [{"cpu": [A, B, BOTH]}, {"gpu": [B]}], (B, True)),
        ("best-effort", [{"cpu": [A]}, {"gpu": [B]}], (Hint(3, False), True)),
        ("restricted", [{"cpu": [A]}, {"gpu": [B]}], (Hint(3, False), False)),
        ("restricted", [{"cpu": [A, BOTH]}, {"gpu": [B, BOTH]}], (Hint(1, False), False)),
        ("restricted", [{"cpu": []}], (Hint(3, False), False)),
        ("restricted", [{"cpu": None}, None, {}], (Hint(3, True), True)),
        ("restricted", [{"cpu": [Hint(3, True)]}], (Hint(3, True), True)),
        ("single-numa-node", [{"cpu": [Hint(3, True)]}], (Hint(None, False), False)),
        ("single-numa-node", [{"cpu": [A, B, BOTH]}], (A, True)),
        ("single-numa-node", [{"cpu": None}], (ANYWHERE, True)),
    ],
)
def test_merged_hints(policy: str, wishes: Any, expected: Any) -> None:
    assert Merger(policy, (0, 1)).merge(wishes) == expected


def test_closest_nodes() -> None:
    far = {0: (10, 30, 11), 1: (30, 10, 30), 2: (11, 30, 10)}
    wishes = [{"cpu": [Hint(3, True), Hint(5, True)]}]
    assert Merger("best-effort", (0, 1, 2)).merge(wishes)[0].mask == 3
    assert Merger("best-effort", (0, 1, 2), TopologyOptions(True), far).merge(wishes)[0].mask == 5


def test_many_nodes_are_merged_in_no_time() -> None:
    every = [Hint(mask, mask.bit_count() == 1) for mask in range(1, 256)]
    wishes = [{f"r{i}": every} for i in range(6)]
    assert Merger("restricted", tuple(range(8))).merge(wishes) == (Hint(1, True), True)


def test_static_processors_of_a_pod() -> None:
    policy, book = StaticCpus(machine(), 1, frozenset(), CpuOptions()), CpuBook()
    policy.begin(book)
    assert policy.reserved == {0}
    mine = pod("u", "2", "500m", init=("3",))
    containers = [*mine["spec"]["initContainers"], *mine["spec"]["containers"]]
    given = []
    for container in containers:
        policy.allocate(book, mine, container, 2)
        given.append(cpuset.text(book.of("u", container["name"]) or ()))
    # The first container has what the init container had; half a cpu is nobody's own.
    assert given == ["4-5,12", "4,12", ""]
    assert book.shared == policy.topology.all - {4, 5, 12}
    assert not policy.allocate(book, mine, containers[1], 1)
    assert policy.hints(book, mine, containers[1]) == {"cpu": [Hint(2, True), Hint(3, False)]}
    assert policy.release(book, "u") and book.shared == policy.topology.all
    assert not policy.release(book, "u")


def test_full_cores_only() -> None:
    policy, book = StaticCpus(machine(), 2, frozenset(), CpuOptions(full_cores=True)), CpuBook()
    policy.begin(book)
    for wanted, text in (
        ("3", "SMT Alignment Error: requested 3 cpus not multiple cpus per core = 2"),
        (
            "16",
            "SMT Alignment Error: not enough free physical CPUs: available physical CPUs = 14, requested CPUs = 16, "
            "CPUs per core = 2",
        ),
    ):
        with pytest.raises(Misaligned) as error:
            policy.allocate(book, pod("u", wanted), pod("u", wanted)["spec"]["containers"][0], None)
        assert str(error.value) == text


@pytest.mark.parametrize(
    ("strict", "shared", "given", "text"),
    [
        (False, "1-15", {}, 'not all reserved cpus: "0" are present in defaultCpuSet: "1-15"'),
        (True, "0-15", {}, 'some of strictly reserved cpus: "0" are present in defaultCpuSet: "0-15"'),
        (False, "", {"u": {"c": {1}}}, "default cpuset cannot be empty"),
        (False, "0-15", {"u": {"c": {1}}}, 'pod: u, container: c cpuset: "1" overlaps with default cpuset "0-15"'),
        (
            False,
            "0-14",
            {},
            'current set of available CPUs "0-15" doesn\'t match with CPUs in state "0-14"',
        ),
    ],
)
def test_books_that_do_not_fit_the_machine(strict: bool, shared: str, given: Any, text: str) -> None:
    policy = StaticCpus(machine(), 1, frozenset(), CpuOptions(strict=strict))
    found = {uid: {n: frozenset(c) for n, c in of.items()} for uid, of in given.items()}
    with pytest.raises(ValueError) as error:
        policy.begin(CpuBook(cpuset.parse(shared), found))
    assert str(error.value) == text


def test_static_memory_of_pods() -> None:
    policy, book = StaticMemory(machine(), {0: {"memory": G}}), MemoryBook()
    policy.begin(book)
    first, second, third = pod("a", "1", memory="3Gi"), pod("b", "1", memory="4Gi"), pod("c", "1", memory="1Gi")
    place = [p["spec"]["containers"][0] for p in (first, second, third)]
    assert policy.hints(book, first, place[0]) == {"memory": [Hint(1, True), Hint(2, True), Hint(3, False)]}
    policy.allocate(book, first, place[0], Hint(None, False))
    assert book.of("a", "c0")[0].nodes == (0,)
    policy.allocate(book, second, place[1], Hint(None, False))
    assert book.of("b", "c0")[0].nodes == (1,)
    with pytest.raises(NoMemory, match="no NUMA nodes with enough memory is available"):
        policy.allocate(book, third, place[2], Hint(None, False))
    assert policy.release(book, "a") and policy.allocate(book, third, place[2], Hint(1, True))
    assert policy.release(book, "b") and policy.release(book, "c")
    fresh = MemoryBook()
    policy.begin(fresh)
    assert book == fresh


def test_memory_of_two_nodes_is_a_group() -> None:
    policy, book = StaticMemory(machine(), {0: {"memory": G}}), MemoryBook()
    policy.begin(book)
    big = pod("a", "1", memory="6Gi")
    policy.allocate(book, big, big["spec"]["containers"][0], Hint(None, False))
    assert book.of("a", "c0")[0].nodes == (0, 1) and book.nodes[1].group == (0, 1)
    small = pod("b", "1", memory="512Mi")
    assert policy.hints(book, small, small["spec"]["containers"][0]) == {"memory": [Hint(3, False)]}


def test_memory_of_init_containers_is_used_again() -> None:
    policy, book = StaticMemory(machine(), {0: {"memory": G}}), MemoryBook()
    policy.begin(book)
    mine = pod("a", "1", init=("1",), memory="2Gi")
    for container in (*mine["spec"]["initContainers"], *mine["spec"]["containers"]):
        policy.allocate(book, mine, container, Hint(1, True))
    assert book.nodes[0].tables["memory"].reserved == 2 * G
    assert policy.started(book, mine, "c0") and not book.of("a", "i0")
    assert book.nodes[0].tables["memory"].reserved == 2 * G
    policy.release(book, "a")
    assert book.nodes[0].tables["memory"].reserved == 0


@pytest.mark.parametrize(
    ("reserved", "kept", "text"),
    [
        ({7: {}}, {}, "the reserved memory configuration references a NUMA node 7 that does not exist on this machine"),
        (
            {0: {"memory": G}},
            {"memory": 2 * G},
            'the total amount "1Gi" of type "memory" is not equal to the value "2Gi" determined by Node Allocatable '
            "feature",
        ),
        ({}, {}, "[memorymanager] you should specify the system reserved memory"),
    ],
)
def test_reservations_that_can_not_be(reserved: Any, kept: Any, text: str) -> None:
    with pytest.raises(ValueError) as error:
        check_reservation(machine(), reserved, kept)
    assert str(error.value) == text


def test_names_of_huge_pages() -> None:
    assert [page_name(s) for s in (2 << 20, 1 << 30, 64 << 10)] == ["hugepages-2Mi", "hugepages-1Gi", "hugepages-64Ki"]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"x": "1"}, 'unknown CPU Manager Policy option: "x"'),
        (
            {"align-by-socket": "true"},
            'CPU Manager Policy Alpha-level Options not enabled, but option "align-by-socket" provided',
        ),
        (
            {"full-pcpus-only": "yes"},
            'bad value for option "full-pcpus-only": strconv.ParseBool: parsing "yes": invalid syntax',
        ),
        (
            {"prefer-align-cpus-by-uncorecache": "true", "distribute-cpus-across-numa": "true"},
            "static policy options prefer-align-cpus-by-uncorecache and distribute-cpus-across-numa can not be used at "
            "the same time",
        ),
    ],
)
def test_cpu_options_that_can_not_be(given: Any, text: str) -> None:
    with pytest.raises(ValueError) as error:
        cpu_options(given)
    assert str(error.value) == text


def test_topology_options() -> None:
    assert topology_options({"prefer-closest-numa-nodes": "t"}) == TopologyOptions(True)
    for given, text in (
        ({"x": "1"}, 'unknown Topology Manager Policy option: "x"'),
        (
            {"max-allowable-numa-nodes": "4"},
            'the minimum value of "max-allowable-numa-nodes" should not be less than 8',
        ),
    ):
        with pytest.raises(ValueError) as error:
            topology_options(given)
        assert str(error.value) == text


@pytest.mark.parametrize(
    "settings",
    [
        PlacementSettings(cpu_policy="x"),
        PlacementSettings(cpu_options={"full-pcpus-only": "true"}),
        PlacementSettings(memory_policy="BestEffort"),
        PlacementSettings(topology_policy="x"),
        PlacementSettings(topology_scope="x"),
    ],
)
def test_policies_that_there_are_not(settings: PlacementSettings) -> None:
    with pytest.raises(ValueError):
        check_policies(settings)


def test_files_survive_and_refuse(tmp_path: Path) -> None:
    settings = PlacementSettings(
        cpu_policy="static",
        reserved_milli=1500,
        memory_policy="Static",
        reserved_memory={0: {"memory": G}},
        kept_back={"memory": G},
    )
    policy, book = open_cpus(settings, machine(), tmp_path)
    keeper, memory = open_memory(settings, machine(), tmp_path)
    assert policy is not None and keeper is not None and policy.reserved == {0, 8}
    mine = pod("u", "2")
    policy.allocate(book, mine, mine["spec"]["containers"][0], 1)
    keeper.allocate(memory, mine, mine["spec"]["containers"][0], Hint(1, True))
    state.save(tmp_path, state.CPU_FILE, state.cpu_data(book, "static"))
    state.save(tmp_path, state.MEMORY_FILE, state.memory_data(memory, "Static"))
    assert open_cpus(settings, machine(), tmp_path)[1] == book
    assert open_memory(settings, machine(), tmp_path)[1] == memory
    advice = "please drain this node and delete the CPU manager checkpoint file"
    with pytest.raises(ValueError, match=f'configured policy "none" differs from .* "static", {advice}'):
        open_cpus(PlacementSettings(), machine(), tmp_path)
    with pytest.raises(ValueError, match=f"doesn't match with CPUs in state .*, {advice}"):
        open_cpus(settings, machine(cores=2), tmp_path)
    for content in (b"", b"[]", b"{}", (tmp_path / state.CPU_FILE).read_bytes().replace(b"static", b"statik")):
        (tmp_path / state.CPU_FILE).write_bytes(content)
        with pytest.raises(ValueError, match=advice):
            open_cpus(settings, machine(), tmp_path)


def test_static_policy_needs_a_reservation(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"requires systemreserved.cpu \+ kubereserved.cpu to be greater than zero"):
        open_cpus(PlacementSettings(cpu_policy="static"), machine(), tmp_path)


def test_machines_with_too_many_nodes() -> None:
    nine = Topology({}, {n: Node(0) for n in range(9)})
    with pytest.raises(ValueError, match="unsupported on machines with more than 8 NUMA Nodes"):
        open_merger(PlacementSettings(topology_policy="restricted"), nine)
    more = PlacementSettings(topology_policy="restricted", topology_options={"max-allowable-numa-nodes": "9"})
    assert open_merger(more, nine) is not None
    assert open_merger(PlacementSettings(), nine) is None


def test_devices_near_nodes() -> None:
    known = {"a": Device(True, (0,)), "b": Device(True, (1,)), "c": Device(True), "d": Device(True, (0, 1))}
    assert device_hints(known, {"a", "b"}, (), 1, [0, 1]) == [Hint(1, True), Hint(2, True), Hint(3, False)]
    assert device_hints(known, {"a", "b"}, (), 2, [0, 1]) == [Hint(3, False)]
    assert device_hints(known, {"b"}, {"a"}, 1, [0, 1]) == [Hint(1, True), Hint(3, False)]
    assert sorted_by_nearness(known, known, 2) == (["b", "d"], ["a"], ["c"])
    assert sorted_by_nearness(known, known, None) == ([], [], ["a", "b", "c", "d"])
