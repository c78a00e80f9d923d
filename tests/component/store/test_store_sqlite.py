"""What the SQLite engine promises beyond the contract: durability, a full disk, a broken file, a second process."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kumo.store.base import Corrupted, Locked, NoSpace, Unavailable
from kumo.store.sqlite import SqliteStore

pytestmark = pytest.mark.component
WRITER = Path(__file__).with_name("store_writer_process.py")


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "db"
    store = SqliteStore(path)
    await store.start()
    lease = await store.grant(0.2)
    await store.put("/a", b"1")
    first = await store.put("/a", b"2")
    await store.put("/leased", b"1", lease=lease)
    await store.delete("/leased")
    await store.put("/leased", b"2", lease=lease)
    last = await store.current_revision()
    await store.stop()
    again = SqliteStore(path)
    await again.start()
    try:
        assert await again.current_revision() == last
        found = await again.get("/a")
        assert found is not None and (found.value, found.mod_revision) == (b"2", first)
        old = await again.get("/a", revision=first - 1)
        assert old is not None and old.value == b"1"
        async with asyncio.timeout(5):
            async for batch in again.watch("/leased", last):
                assert [e.type for e in batch] == ["delete"]
                break
    finally:
        await again.stop()


def _kill_while_writing(path: Path, round_: int) -> list[tuple[int, str, str]]:
    """Run the writer, kill it at a random moment; the acknowledged writes."""
    process = subprocess.Popen(
        [sys.executable, str(WRITER), str(path), "16", str(round_)], stdout=subprocess.PIPE, text=True
    )
    lines: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()))
    reader.start()
    deadline = time.monotonic() + 10
    while len(lines) < 50 and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(random.uniform(0, 0.15))
    process.send_signal(signal.SIGKILL)
    process.wait()
    reader.join()
    process.stdout.close()
    whole = [line.rstrip("\n").split(" ", 2) for line in lines if line.endswith("\n")]
    return [(int(revision), key, value) for revision, key, value in whole]


async def test_kill_loses_nothing_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "db"
    acknowledged: dict[int, tuple[str, str]] = {}
    for round_ in range(8):
        for revision, key, value in await asyncio.to_thread(_kill_while_writing, path, round_):
            if revision:
                assert revision not in acknowledged, "a revision was given twice"
                acknowledged[revision] = (key, value)
    assert len(acknowledged) > 1000
    store = SqliteStore(path)
    await store.start()
    try:
        assert await store.current_revision() >= max(acknowledged)
        seen: dict[int, tuple[str, str]] = {}
        last = await store.current_revision()
        async with asyncio.timeout(30):
            async for batch in store.watch("/", 0):
                for event in batch:
                    seen[event.kv.mod_revision] = (event.kv.key, event.kv.value.decode())
                if batch[-1].kv.mod_revision >= last:
                    break
        lost = {r: v for r, v in acknowledged.items() if seen.get(r) != v}
        assert not lost
    finally:
        await store.stop()


async def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "db")
    await store.start()
    other = SqliteStore(tmp_path / "db")
    with pytest.raises(Locked, match="in use by another process"):
        await other.start()
    await store.stop()
    await other.start()
    await other.stop()


@pytest.mark.parametrize("damage", ["garbage", "page"])
async def test_a_corrupted_file_is_one_clear_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "db"
    store = SqliteStore(path)
    await store.start()
    for i in range(200):
        await store.put(f"/p/{i}", os.urandom(600))
    await store.stop()
    data = bytearray(path.read_bytes())
    if damage == "garbage":
        data[:4096] = os.urandom(4096)
    else:
        for page in range(4, len(data) // 4096, 3):
            data[page * 4096 : page * 4096 + 64] = os.urandom(64)
    path.write_bytes(bytes(data))
    broken = SqliteStore(path)
    with pytest.raises(Corrupted) as refused:
        await broken.start()
    assert str(path) in str(refused.value)
    assert "restore it from a backup" in str(refused.value)


async def test_a_database_of_the_future_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(Unavailable, match="newer version of kumo"):
        await SqliteStore(path).start()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    where = tmp_path / "disk"
    where.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(where)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting needs root")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


async def test_a_full_disk_refuses_writes_and_keeps_reads(small_disk: Path) -> None:
    store = SqliteStore(small_disk / "db")
    await store.start()
    written: dict[str, int] = {}
    try:
        with pytest.raises(NoSpace, match="free some disk space"):
            for i in range(10_000):
                written[f"/p/{i}"] = await store.put(f"/p/{i}", os.urandom(4000))
        assert len(written) > 50
        for _ in range(3):
            with pytest.raises(NoSpace):
                await store.put("/more", os.urandom(4000), expect=0)
        found = await store.range("/p/")
        assert {kv.key: kv.mod_revision for kv in found.kvs} == written
        revision = await store.current_revision()
        assert revision == max(written.values())
        subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
        assert await store.put("/more", b"x", expect=0) == revision + 1
    finally:
        await store.stop()
    again = SqliteStore(small_disk / "db")
    await again.start()
    assert len((await again.range("/")).kvs) == len(written) + 1
    await again.stop()


async def test_compaction_shrinks_history(tmp_path: Path) -> None:
    path = tmp_path / "db"
    store = SqliteStore(path)
    await store.start()
    for i in range(1000):
        await store.put("/a", str(i).encode())
    await store.compact(await store.current_revision())
    await store.stop()
    again = SqliteStore(path)
    await again.start()
    connection = sqlite3.connect(path)
    try:
        async with asyncio.timeout(5):
            while connection.execute("SELECT count(*) FROM history").fetchone()[0]:
                await asyncio.sleep(0.01)
    finally:
        connection.close()
        await again.stop()


async def test_the_file_shrinks_after_a_great_deletion(tmp_path: Path) -> None:
    path = tmp_path / "db"
    store = SqliteStore(path)
    await store.start()
    for start in range(0, 4000, 500):
        await asyncio.gather(*(store.put(f"/{n}", bytes(4000)) for n in range(start, start + 500)))
    await asyncio.gather(*(store.delete(f"/{n}") for n in range(4000)))
    await store.compact(await store.current_revision())

    def pages() -> int:
        with closing(sqlite3.connect(path)) as connection:
            found: int = connection.execute("PRAGMA page_count").fetchone()[0]
            return found

    async with asyncio.timeout(10):
        while pages() > 2000:
            await asyncio.sleep(0.02)
    await store.put("/more", b"x")
    await store.stop()
    assert path.stat().st_size < 2000 * 4096


async def test_one_poisoned_write_spoils_no_other(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "db")
    await store.start()
    try:
        writes = [store.put(f"/k{number}", b"v") for number in range(20)]
        bad = [store.put("/\ud800", b"v"), store.put("/a\0b", b"v")]
        done = await asyncio.gather(*writes, *bad, return_exceptions=True)
        assert sorted(done[:20]) == list(range(1, 21))  # type: ignore[type-var]
        assert all(isinstance(found, ValueError) for found in done[20:])
    finally:
        await store.stop()


async def test_a_refusal_that_cannot_be_explained_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state in memory follows the disk, whatever fails after the commit."""
    store = SqliteStore(tmp_path / "db")
    await store.start()
    try:
        first = await store.put("/a", b"1")

        def unreadable(*_: object) -> Unavailable:
            return Unavailable("the disk can't be read")

        with monkeypatch.context() as broken:
            broken.setattr("kumo.store.sqlite_writer.Writer._mismatch", unreadable)
            done = await asyncio.gather(
                store.put("/b", b"2"), store.put("/a", b"3", expect=first + 7), return_exceptions=True
            )
        assert done[0] == first + 1
        assert isinstance(done[1], Unavailable)
        assert await store.put("/b", b"4", expect=first + 1) == first + 2
    finally:
        await store.stop()


async def test_writes_larger_than_a_batch_may_be(tmp_path: Path) -> None:
    """Many large values at once: several transactions, none too large for the engine."""
    store = SqliteStore(tmp_path / "db")
    await store.start()
    try:
        value = bytes(3 << 20)
        done = await asyncio.gather(*(store.put(f"/{number}", value) for number in range(30)))
        assert sorted(done) == list(range(1, 31))
        assert len((await store.range("/", limit=40)).kvs) == 30
    finally:
        await store.stop()
