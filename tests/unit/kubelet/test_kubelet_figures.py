"""The kubelet's figures: control groups of both versions, rates, interfaces, pages, and who may ask for them."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.api.resources import GVR
from kumo.api.users import MASTERS_GROUP, UserInfo
from kumo.host.cgroup_usage import CgroupReader, CpuUse, DiskTraffic, Pressure
from kumo.kubernetes.kubelet.config import KubeletConfig
from kumo.kubernetes.kubelet.podstate import RUNNING, ContainerState, PodState, SandboxState
from kumo.kubernetes.kubelet.server import access
from kumo.kubernetes.kubelet.server.guard import NodeGuard
from kumo.kubernetes.kubelet.stats import network, process
from kumo.kubernetes.kubelet.stats.cadvisor import cadvisor_metrics
from kumo.kubernetes.kubelet.stats.filesystems import walked
from kumo.kubernetes.kubelet.stats.pod_files import PodFiles
from kumo.kubernetes.kubelet.stats.probe_metrics import FAILED, SUCCESSFUL, ProbeCounts
from kumo.kubernetes.kubelet.stats.rates import Rates
from kumo.kubernetes.kubelet.stats.resource_metrics import resource_metrics
from kumo.kubernetes.kubelet.stats.summary import SummaryMaker, Writable
from kumo.kubernetes.kubelet.stats.usage import NodeUse, UsageReader
from kumo.machinery.http import Request, Response

pytestmark = pytest.mark.unit

V1 = {
    "cpuacct/{}/cpuacct.usage": "5000000000\n",
    "cpuacct/{}/cpuacct.stat": "user 300\nsystem 200\n",
    "cpu/{}/cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 7000\n",
    "memory/{}/memory.usage_in_bytes": "1000000\n",
    "memory/{}/memory.limit_in_bytes": "9223372036854771712\n",
    "memory/{}/memory.max_usage_in_bytes": "2000000\n",
    "memory/{}/memory.failcnt": "3\n",
    "memory/{}/memory.stat": "total_rss 600000\ntotal_cache 300000\ntotal_swap 0\ntotal_inactive_file 250000\n"
    "total_pgfault 12\ntotal_pgmajfault 1\ntotal_mapped_file 9\n",
    "memory/{}/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    "memory/{}/cgroup.procs": "",
    "blkio/{}/blkio.throttle.io_service_bytes_recursive": "9999:0 Read 4096\n9999:0 Write 512\nTotal 4608\n",
    "blkio/{}/blkio.throttle.io_serviced_recursive": "9999:0 Read 2\n9999:0 Write 1\nTotal 3\n",
    "pids/{}/pids.current": "7\n",
    "pids/{}/pids.max": "max\n",
}
V2 = {
    "{}/cpu.stat": "usage_usec 5000000\nuser_usec 3000000\nsystem_usec 2000000\nnr_periods 10\nnr_throttled 4\n"
    "throttled_usec 7\n",
    "{}/memory.current": "1000000\n",
    "{}/memory.max": "4000000\n",
    "{}/memory.peak": "2000000\n",
    "{}/memory.swap.current": "0\n",
    "{}/memory.events": "low 0\nhigh 0\nmax 3\noom 2\noom_kill 2\n",
    "{}/memory.stat": "anon 600000\nfile 300000\nfile_mapped 9\ninactive_file 250000\npgfault 12\npgmajfault 1\n",
    "{}/cgroup.procs": "",
    "{}/io.stat": "9999:0 rbytes=4096 wbytes=512 rios=2 wios=1 dbytes=0 dios=0\n",
    "{}/pids.current": "7\n",
    "{}/pids.max": "max\n",
    "{}/cpu.pressure": "some avg10=1.50 avg60=0.20 avg300=0.00 total=42\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
}


def tree(root: Path, files: Mapping[str, str], *groups: str) -> CgroupReader:
    for group in groups:
        for name, text in files.items():
            path = root / name.format(group.strip("/")).lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    if files is V2:
        (root / "cgroup.controllers").write_text("cpu memory\n")
    meminfo = root / "meminfo"
    meminfo.write_text("MemTotal: 4000 kB\nMemFree: 1000 kB\nInactive(file): 500 kB\n")
    return CgroupReader(root, meminfo)


@pytest.mark.parametrize("files", [V1, V2], ids=["v1", "v2"])
def test_both_versions_tell_the_same(tmp_path: Path, files: Mapping[str, str]) -> None:
    reader = tree(tmp_path, files, "/pods/a")
    throttled = 7000
    assert reader.cpu("/pods/a") == CpuUse(5 * 10**9, 3 * 10**9, 2 * 10**9, 10, 4, throttled)
    memory = reader.memory("/pods/a")
    assert memory is not None
    assert (memory.usage, memory.working_set, memory.rss, memory.faults) == (1000000, 750000, 600000, 12)
    assert (memory.limit, memory.failures, memory.peak, memory.swap) == (
        None if files is V1 else 4000000,
        3,
        2000000,
        0,
    )
    assert reader.oom_kills("/pods/a") == 2 and reader.threads("/pods/a") == (7, None)
    assert reader.traffic("/pods/a") == [DiskTraffic("9999:0", 4096, 2, 512, 1)]
    assert reader.cpu("/gone") is None and reader.memory("/gone") is None and reader.processes("/gone") == []


def test_the_root_of_version_2_is_the_machine(tmp_path: Path) -> None:
    reader = tree(tmp_path, V2, "/pods/a")
    assert reader.working_set("/") == 2500 * 1024
    assert reader.pressure("/pods/a", "cpu")["some"] == Pressure(1.5, 0.2, 0.0, 42000)
    assert reader.pressure("/pods/a", "io") == {}


def test_rates() -> None:
    rates = Rates()
    assert rates.rate("a", 100.0, 10**9) is None
    assert rates.rate("a", 110.0, 3 * 10**9) == 2 * 10**8
    assert rates.rate("a", 110.5, 9 * 10**9) == 2 * 10**8  # too soon to say anything new
    assert rates.rate("a", 120.0, 10**9) is None  # another container: its counter began anew
    rates.keep(set())
    assert rates.rate("a", 130.0, 2 * 10**9) is None
    assert rates.rate("b", 130.0, None) is None


def test_interfaces() -> None:
    lines = ["Inter-|   Receive", " face |bytes", "    lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0"]
    lines += ["  eth0: 10 1 2 3 0 0 0 0 20 4 5 6 0 0 0 0", " bad: 1 2", ""]
    found = network.parse("\n".join(lines))
    assert found == [network.InterfaceUse("eth0", 10, 1, 2, 3, 20, 4, 5, 6)]
    assert network.default_of(found) == found[0] and network.default_of([]) is None


def test_who_listens_on_a_socket(tmp_path: Path) -> None:
    assert process.listener_of(tmp_path / "none") is None
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        assert process.listener_of(tmp_path / "s") == os.getpid()
    spent, memory = process.usage(os.getpid()) or (0, 0)
    assert spent > 0 and memory > 1 << 20 and process.usage(1 << 30) is None


def test_directories_count_each_file_once(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a").write_bytes(b"x" * 100_000)
    os.link(tmp_path / "inner" / "a", tmp_path / "b")
    os.symlink("/", tmp_path / "root")
    used, inodes = walked([tmp_path, tmp_path / "gone"])
    assert 100_000 <= used < 140_000 and inodes == 4


class View:
    """A pod with one running container."""

    def __init__(self) -> None:
        self.pod: Object = {
            "metadata": {"name": "web", "namespace": "default", "uid": "u1"},
            "spec": {"containers": [{"name": "main"}], "volumes": [{"name": "scratch", "emptyDir": {}}]},
            "status": {"startTime": "2026-01-01T00:00:00Z"},
        }
        ran = ContainerState("c1", "main", RUNNING, started_at=1000.5)
        self.state = PodState([SandboxState("s1", True, 1000.0, 0)], [ran, ContainerState("c0", "main", "exited")])


def use_of(tmp_path: Path, files: Mapping[str, str]) -> tuple[CgroupReader, NodeUse]:
    reader = tree(tmp_path / "groups", files, "/", "/kumo-1", "/kumo-1/podu1", "/kumo-1/podu1/c1", "/kumo-1/podu1/s1")
    usage = UsageReader(reader, "/kumo-1", lambda: [View()])
    return reader, usage.read(usage.listed())


def test_the_page_of_resources(tmp_path: Path) -> None:
    _, use = use_of(tmp_path, V1)
    text = resource_metrics(use)
    when = int(use.at * 1000)
    whose = 'container="main",pod="web",namespace="default"'
    assert f"container_cpu_usage_seconds_total{{{whose}}} 5 {when}" in text
    assert f"container_memory_working_set_bytes{{{whose}}} 750000 {when}" in text
    assert f"container_start_time_seconds{{{whose}}} 1000.5\n" in text
    assert f'pod_memory_working_set_bytes{{pod="web",namespace="default"}} 750000 {when}' in text
    assert f"node_cpu_usage_seconds_total 5 {when}" in text and "resource_scrape_error 0" in text


@pytest.mark.parametrize("files", [V1, V2], ids=["v1", "v2"])
def test_the_summary(tmp_path: Path, files: Mapping[str, str]) -> None:
    reader, use = use_of(tmp_path, files)
    config = KubeletConfig("n1", "192.0.2.1", tmp_path, "/kumo-1")
    scratch = config.pods_directory / "u1" / "volumes" / "kubernetes.io~empty-dir" / "scratch"
    scratch.mkdir(parents=True)
    (scratch / "file").write_bytes(b"x" * 50_000)
    maker = SummaryMaker(config, reader, PodFiles(config), 10.0, tmp_path / "no-engine")
    found = maker.make(use, {"c1": Writable(4096, 2)}, None, only_cpu_and_memory=False)
    assert [c["name"] for c in found["node"]["systemContainers"]] == ["kubelet", "pods"]
    assert found["node"]["nodeName"] == "n1" and found["node"]["cpu"]["usageCoreNanoSeconds"] == 5 * 10**9
    (pod,) = found["pods"]
    assert pod["podRef"] == {"name": "web", "namespace": "default", "uid": "u1"}
    assert pod["containers"][0]["rootfs"]["usedBytes"] == 4096
    assert pod["memory"]["workingSetBytes"] == 750000
    assert ("availableBytes" in pod["memory"]) == (files is V2)
    assert ("psi" in pod["cpu"]) == (files is V2)
    assert pod["volume"][0]["name"] == "scratch" and pod["volume"][0]["usedBytes"] >= 50_000
    assert pod["ephemeral-storage"]["usedBytes"] >= 54_000
    few = maker.make(use, {}, None, only_cpu_and_memory=True)
    assert set(few["pods"][0]["containers"][0]) <= {"name", "startTime", "cpu", "memory", "swap"}


def test_the_page_of_cadvisor(tmp_path: Path) -> None:
    from kumo.kubernetes.kubelet.machine import look

    reader, use = use_of(tmp_path, V2)
    text = cadvisor_metrics(use, reader, look(tmp_path))
    labels = 'container="main",id="/kumo-1/podu1/c1",image="",name="c1",namespace="default",pod="web"'
    assert f'container_cpu_usage_seconds_total{{{labels},cpu="total"}} 5 ' in text
    assert f"container_memory_rss{{{labels}}} 600000 " in text and "machine_cpu_cores{" in text
    disk = labels.replace('main",', 'main",device="9999:0",')
    assert f"container_fs_reads_bytes_total{{{disk}}} 4096 " in text
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))


def test_probes_are_counted_while_their_pods_are_there() -> None:
    counts = ProbeCounts()
    pod = View().pod
    counts.count(pod, "main", "Liveness", SUCCESSFUL, 0.02)
    counts.count(pod, "main", "Liveness", FAILED, 2.0)
    labels = 'container="main",pod="web",namespace="default"'
    text = counts.text(5.0)
    assert f'prober_probe_total{{probe_type="Liveness",result="failed",{labels},pod_uid="u1"}} 1' in text
    assert f'prober_probe_duration_seconds_count{{probe_type="Liveness",{labels}}} 2' in text
    counts.forget(lambda uid: False)
    assert "prober_" not in counts.text(5.0)


# -- who may ask ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/stats/summary", ["stats"]),
        ("/metrics", ["metrics"]),
        ("/metrics/resource", ["metrics"]),
        ("/metricsx", ["proxy"]),
        ("/pods", ["pods", "proxy"]),
        ("/runningpods/", ["pods", "proxy"]),
        ("/healthz/ping", ["healthz", "proxy"]),
        ("/configz", ["configz", "proxy"]),
        ("/logs/x", ["log"]),
        ("/exec/a/b/c", ["proxy"]),
        ("/", ["proxy"]),
    ],
)
def test_rights_that_paths_need(path: str, wanted: list[str]) -> None:
    assert access.subresources(path) == wanted


class Api:
    """An API server that knows one token and grants one subresource; it counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.down = False

    async def create(self, gvr: GVR, body: Any, *_: Any, **__: Any) -> Any:
        self.asked.append(gvr.resource)
        if self.down:
            raise StatusError(503, "", "down")
        spec = body["spec"]
        if gvr.resource == "tokenreviews":
            good = spec["token"] == "good"
            return {"status": {"authenticated": good, **({"user": {"username": "scraper"}} if good else {})}}
        assert spec["resourceAttributes"]["name"] == "n1" and spec["resourceAttributes"]["resource"] == "nodes"
        return {"status": {"allowed": spec["resourceAttributes"]["subresource"] == "metrics"}}


async def check(guard: NodeGuard, path: str, token: str = "", user: UserInfo | None = None) -> Response | None:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return await guard.check(Request("GET", path, "", headers, b"", user))


async def test_the_guard() -> None:
    api = Api()
    guard = NodeGuard(api, "n1")  # type: ignore[arg-type]
    refused = await check(guard, "/metrics")
    assert refused is not None and (refused.status, refused.body) == (401, b"Unauthorized") and not api.asked
    bad = await check(guard, "/metrics", "bad")
    assert bad is not None and bad.status == 401
    for _ in range(3):
        assert await check(guard, "/metrics/resource", "good") is None
    assert api.asked == ["tokenreviews", "tokenreviews", "subjectaccessreviews"]  # each answer is kept
    denied = await check(guard, "/pods", "good")
    assert denied is not None and denied.status == 403
    assert denied.body == b"Forbidden (user=scraper, verb=get, resource=nodes, subresource(s)=[pods proxy])\n"
    assert await check(guard, "/exec/a/b/c", user=UserInfo("kube-apiserver", (MASTERS_GROUP,))) is None


async def test_the_guard_without_an_api_server() -> None:
    api = Api()
    api.down = True
    guard = NodeGuard(api, "n1")  # type: ignore[arg-type]
    unknown = await check(guard, "/metrics", "good")
    assert unknown is not None and unknown.status == 401
    error = await check(guard, "/metrics", user=UserInfo("someone"))
    assert error is not None and error.status == 500
    assert isinstance(error.body, bytes) and error.body.startswith(b"Authorization error (user=someone")
