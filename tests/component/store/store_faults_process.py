"""A process in which system calls fail under the SQLite store, one after the other; run with faults.c preloaded.

python store_faults_process.py DIRECTORY CALL...

For each call, each error, several moments, once and for ever: clients write and read while the call fails. Prints a
line of JSON a case: what was found wrong (nothing: the case is well), and what happened.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import json
import shutil
import sys
from pathlib import Path

from kumo.store.base import OutcomeUnknown, StoreError
from kumo.store.sqlite import SqliteStore
from support.history import Change, History, Version
from support.store_load import change

ERRORS = ("EIO", "ENOSPC")
MOMENTS = (1, 2, 3, 7, 20)
READING = ("pread", "read", "fstat", "mmap", "open")
"""Calls that reads need as well: when they fail, a read may be refused, but must not be wrong."""
_shim = ctypes.CDLL(None)


def arm(call: str, error: str, when: int, times: int) -> None:
    _shim.fault_arm(call.encode(), getattr(errno, error), when, times)


class Case:
    """Clients of one store, of which `call` fails."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "db"
        self.history = History()
        self.problems: list[str] = []
        self.counts = {"ok": 0, "refused": 0, "unknown": 0, "reads": 0, "unread": 0}

    async def run(self, call: str, error: str, when: int, times: int) -> None:
        store = SqliteStore(self.path)
        await store.start()
        await self.write(store, "before", 3)
        arm(call, error, when, times)
        await asyncio.gather(*(self.clients(store, number, call) for number in range(6)))
        self.counts["hit"] = _shim.fault_hit()
        _shim.fault_disarm()
        crashed = self.path.parent.with_name("crashed")
        shutil.copytree(self.path.parent, crashed)
        await self.check(SqliteStore(crashed / "db"), "after a crash")
        await self.recovers(store)
        try:
            await store.stop()
        except StoreError as failed:
            self.problems.append(f"it can't be stopped: {failed}")
        await self.check(SqliteStore(self.path), "after a restart")

    async def clients(self, store: SqliteStore, number: int, call: str) -> None:
        for turn in range(12):
            await self.write(store, f"{number}.{turn}", 1)
            reading = self.history.list("/")
            try:
                found = await store.range("/")
            except StoreError as refused:
                self.counts["unread"] += 1
                if call not in READING:
                    self.problems.append(f"a read was refused while {call} fails: {refused}")
            else:
                self.counts["reads"] += 1
                reading.ok({kv.key: Version(kv.value.decode(), kv.mod_revision) for kv in found.kvs}, found.revision)

    async def write(self, store: SqliteStore, name: str, count: int) -> None:
        for number in range(count):
            key, value = f"/k{hash(name) % 5}", f"{name}-{number}" + "x" * 700
            call = self.history.write(key, value)
            try:
                call.ok(await store.put(key, value.encode()))
                self.counts["ok"] += 1
            except OutcomeUnknown:
                call.unknown()
                self.counts["unknown"] += 1
            except StoreError:
                call.refused()
                self.counts["refused"] += 1

    async def recovers(self, store: SqliteStore) -> None:
        """Once nothing fails any more, writes are taken again, without a restart."""
        before = self.counts["ok"]
        for attempt in range(50):
            await self.write(store, f"again{attempt}", 1)
            if self.counts["ok"] > before:
                return
            await asyncio.sleep(0.02)
        self.problems.append("writes are still refused when nothing fails any more")

    async def check(self, store: SqliteStore, moment: str) -> None:
        try:
            await store.start()
        except StoreError as refused:
            self.problems.append(f"{moment} it does not start: {refused}")
            return
        try:
            end = await store.current_revision()
            log: list[Change] = []
            if end:
                async for batch in store.watch("/", 0):
                    log += map(change, batch)
                    if log[-1].revision >= end:
                        break
            self.history.check(log)
        except AssertionError as finding:
            self.problems.append(f"{moment}: {finding}")
        finally:
            await store.stop()


async def start_while_failing(directory: Path, call: str, error: str, when: int, counts: dict[str, int]) -> list[str]:
    """A store with data is opened, after a crash, while the call fails: refused in words, and works afterwards."""
    path = directory / "db"
    store = SqliteStore(path)
    await store.start()
    for number in range(20):
        await store.put(f"/{number}", b"x" * 500)
    crashed = directory / "crashed"
    crashed.mkdir()
    for name in ("db", "db-wal"):
        shutil.copyfile(directory / name, crashed / name)
    await store.stop()
    path = crashed / "db"
    again = SqliteStore(path)
    arm(call, error, when, 1)
    try:
        await again.start()
        started = True
    except StoreError:
        started = False
    finally:
        counts["hit"] = _shim.fault_hit()
        counts["refused"] = not started
        _shim.fault_disarm()
    if not started:
        again = SqliteStore(path)
        await again.start()
    found = len((await again.range("/")).kvs)
    await again.stop()
    return [] if found == 20 else [f"{found} of 20 keys are there"]


async def main() -> None:
    root = Path(sys.argv[1])
    _shim.fault_below(str(root / "live").encode())
    for call in sys.argv[2:]:
        for error in ERRORS:
            for when in MOMENTS:
                for times in (1, -1):
                    directory = root / "live"
                    directory.mkdir(parents=True)
                    case = Case(directory)
                    try:
                        async with asyncio.timeout(20):
                            await case.run(call, error, when, times)
                    except Exception as failed:
                        case.problems.append(repr(failed))
                    report(call, error, when, times, case.problems, case.counts, root)
                directory = root / "live"
                directory.mkdir(parents=True)
                counts: dict[str, int] = {}
                try:
                    problems = await start_while_failing(directory, call, error, when, counts)
                except Exception as failed:
                    problems = [repr(failed)]
                report(call, error, when, 0, problems, counts, root)


def report(
    call: str, error: str, when: int, times: int, problems: list[str], counts: dict[str, int], root: Path
) -> None:
    _shim.fault_disarm()
    shutil.rmtree(root)
    root.mkdir()
    print(json.dumps({"case": f"{call} {error} {when} x{times}", "problems": problems, **counts}), flush=True)


asyncio.run(main())
