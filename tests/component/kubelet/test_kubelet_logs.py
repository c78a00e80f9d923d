"""Reading, following and rotating log files; control groups of both versions, on a directory that stands for them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kumo.host.cgroups import CgroupLimits, Cgroups
from kumo.kubernetes.kubelet.logs import LogOptions, last_lines, read_log, rotate, tail_offset

pytestmark = pytest.mark.component


def line(number: int, tag: str = "F") -> str:
    return f"2026-01-02T03:04:{number % 60:02}.000000000Z stdout {tag} line {number}\n"


async def collect(path: Path, options: LogOptions) -> str:
    return b"".join([chunk async for chunk in read_log(path, options, lambda: False)]).decode()


async def test_the_last_lines_of_a_long_file(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_text("".join(line(i) for i in range(20000)))
    for wanted in (0, 1, 5, 3000, 19999, 20000, 30000):
        text = await collect(path, LogOptions(tail_lines=wanted))
        expected = min(wanted, 20000)
        assert text.splitlines() == [f"line {i}" for i in range(20000 - expected, 20000)]
    assert tail_offset(path, 30000) == 0
    assert last_lines(path, 2, 100) == "line 19998\nline 19999\n"


async def test_a_line_in_parts_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_text(line(1) + line(2, "P") + line(3, "P") + line(4) + line(5))
    assert await collect(path, LogOptions()) == "line 1\nline 2line 3line 4\nline 5\n"
    assert await collect(path, LogOptions(tail_lines=2)) == "line 2line 3line 4\nline 5\n"
    stamped = await collect(path, LogOptions(tail_lines=2, timestamps=True))
    assert stamped.startswith("2026-01-02T03:04:02.000000000Z line 2line 3line 4\n2026")


async def test_since_a_time(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_text("".join(line(i) for i in range(10)))
    since = 1767323047.5  # 2026-01-02T03:04:07.5Z
    assert await collect(path, LogOptions(since=since)) == "line 8\nline 9\n"


async def test_following_goes_on_across_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_text(line(1))
    alive = True
    seen: list[str] = []
    arrived = asyncio.Event()

    async def follow() -> None:
        async for chunk in read_log(path, LogOptions(follow=True), lambda: alive):
            seen.append(chunk.decode())
            arrived.set()

    task = asyncio.create_task(follow())

    async def until(text: str) -> None:
        async with asyncio.timeout(5):
            while text not in "".join(seen):
                arrived.clear()
                await arrived.wait()

    await until("line 1\n")
    with path.open("a") as stream:
        stream.write(line(2))
    await until("line 2\n")
    assert not rotate(path, 3, 10_000)
    assert rotate(path, 3, 10)
    path.write_text(line(3))
    await until("line 3\n")
    alive = False
    async with asyncio.timeout(5):
        await task
    assert "".join(seen) == "line 1\nline 2\nline 3\n"


async def test_rotation_keeps_the_newest_files(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    for name in ("20260101-000001", "20260101-000002", "20260101-000003"):
        (tmp_path / f"0.log.{name}").touch()
    path.write_text("x" * 100)
    assert rotate(path, 3, 10)
    assert len(list(tmp_path.glob("0.log.*"))) == 2


def unified(root: Path, *groups: str) -> None:
    """What version 2's kernel files look like below `root`."""
    for folder in (root, *(root / g for g in groups)):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup.controllers").write_text("cpuset cpu io memory pids")
        (folder / "cgroup.subtree_control").touch()
        for name in ("cpu.weight", "cpu.max", "memory.max"):
            (folder / name).touch()


def test_limits_of_version_2(tmp_path: Path) -> None:
    unified(tmp_path, "kumo-x", "kumo-x/podu")
    groups = Cgroups(tmp_path)
    assert groups.unified
    groups.create("/kumo-x/podu", CgroupLimits(1024, 20000, 100000, 1 << 20))
    pod = tmp_path / "kumo-x" / "podu"
    assert (pod / "cpu.weight").read_text() == "39"
    assert (pod / "cpu.max").read_text() == "20000 100000"
    assert (pod / "memory.max").read_text() == "1048576"
    assert (tmp_path / "kumo-x" / "cgroup.subtree_control").read_text() == "+pids"
    assert groups.groups("/kumo-x") == ["podu"]


def test_usage_of_version_2(tmp_path: Path) -> None:
    unified(tmp_path, "p")
    (tmp_path / "p" / "memory.current").write_text("1000\n")
    (tmp_path / "p" / "memory.stat").write_text("anon 1\ninactive_file 300\n")
    (tmp_path / "p" / "cpu.stat").write_text("usage_usec 7\nuser_usec 1\n")
    (tmp_path / "p" / "pids.current").write_text("4\n")
    assert Cgroups(tmp_path).usage("/p") == {"memory": 1000, "working_set": 700, "cpu": 7000, "pids": 4}
