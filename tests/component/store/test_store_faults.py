"""Each system call under the SQLite store fails in turn: writes are refused, reads go on, nothing acknowledged is lost.

A table of call x error x moment, once and for ever, each with clients at work, a crash in the middle (a copy of the
files) and a restart; checked by the history. The calls are made to fail by a library that is compiled here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.component
HERE = Path(__file__).parent
CALLS = ("fsync", "pwrite", "ftruncate", "open", "fstat", "mmap", "pread")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("faults") / "faults.so"
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", made, HERE / "faults.c", "-ldl"], check=True)
    return made


@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_fails_loses_nothing(library: Path, tmp_path: Path, call: str) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "store_faults_process.py"), str(tmp_path / "data"), call],
        env=os.environ | {"LD_PRELOAD": str(library), "PYTHONPATH": str(HERE.parents[1]), "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(cases) == 30
    assert sum(case["hit"] for case in cases) > 0, f"{call} was never made to fail"
    assert not [case for case in cases if case["problems"]]
    if call in ("fsync", "pwrite"):
        assert any(case.get("refused") and case.get("reads") for case in cases)
