"""The kernel tells when memory is waited for: a real control group that is too small for its process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kumo.host.cgroups import CgroupLimits, Cgroups
from kumo.host.memory_stalls import PRESSURE, MemoryStalls

pytestmark = pytest.mark.component
_THRASH = """
import mmap, sys
file = open(sys.argv[1], "wb+")
file.truncate(200 << 20)
pages = mmap.mmap(file.fileno(), 200 << 20)
while True:
    for at in range(0, 200 << 20, 4096):
        pages[at] = 1
"""


@pytest.mark.skipif(not PRESSURE.exists(), reason="this kernel was built without pressure stall information")
async def test_a_stall_is_told_of(tmp_path: Path) -> None:
    cgroups, group = Cgroups(), f"/kumo-test-stalls-{os.getpid()}"
    cgroups.create(group, CgroupLimits(memory=20 << 20))
    folder = cgroups._file("memory", group, "cgroup.procs")
    script = f"echo $$ > {folder}; exec {sys.executable} -c '{_THRASH}' {tmp_path / 'pages'}"
    process = None
    try:
        with MemoryStalls() as stalls:
            assert stalls.works
            process = subprocess.Popen(["sh", "-c", script])
            async with asyncio.timeout(60):
                await stalls.wait()
                await stalls.wait()  # and again
    finally:
        if process is not None:
            process.kill()
            await asyncio.to_thread(process.wait)
        for _ in range(100):
            cgroups.remove(group)
            if not folder.exists():
                break
            await asyncio.sleep(0.05)


async def test_a_kernel_that_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "memory").write_text("")
    for path in (tmp_path / "none", tmp_path / "memory"):
        with MemoryStalls(path) as stalls:
            assert not stalls.works
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await stalls.wait()
                    raise AssertionError("nobody told of anything")
