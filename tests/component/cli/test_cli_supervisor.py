"""The supervisor with real children: order, readiness, restarts with longer and longer waits, giving up, ending."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from kumo.cli import instance as instances
from kumo.cli.instance import Instance
from kumo.cli.supervisor import Process, lock_holder

pytestmark = pytest.mark.component
READY = "from kumo.cli.report import Reporter; from pathlib import Path; r = Reporter(Path({socket!r}), {name!r}); "


class Supervised:
    """A supervisor in a process of its own."""

    def __init__(self, directory: Path) -> None:
        self.instance: Instance = instances.choose(directory, port=7000)
        instances.save(self.instance)
        self.instance.run_dir.mkdir()
        self.plan: list[Process] = []
        self.child: subprocess.Popen[str] | None = None

    def add(self, name: str, body: str, *, after: str = "", reports: bool = True, stop: int = signal.SIGTERM) -> None:
        """A child that runs Python; it can say `r.ready()`, `r.error(text)`; its starts are counted in a file."""
        count = f"open({str(self.starts(name))!r}, 'a').write('x'); "
        script = READY.format(socket=str(self.instance.notify_socket), name=name) + "import sys, time; " + count + body
        argv = [sys.executable, "-c", script]
        self.plan.append(Process(name, argv, {}, after=after, reports=reports, stop_signal=stop))

    def starts(self, name: str) -> Path:
        return self.instance.root / f"{name}.starts"

    def started(self, name: str) -> int:
        path = self.starts(name)
        return len(path.read_text()) if path.exists() else 0

    def start(self) -> None:
        self.instance.plan_path.write_text(json.dumps([asdict(p) for p in self.plan]))
        argv = [sys.executable, "-m", "kumo.cli.supervisor", self.instance.data_dir]
        self.child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Signal the supervisor; its exit code and what it said."""
        assert self.child is not None
        self.child.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[int, str, str]:
        assert self.child is not None
        out, errors = self.child.communicate(timeout=20)
        return self.child.returncode, out, errors

    def ready(self) -> bool:
        return (self.instance.run_dir / "ready").exists()


def wait(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return found


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    found = Supervised(tmp_path / "d")
    yield found
    if found.child is not None and found.child.poll() is None:
        found.child.kill()
        found.child.communicate()


def test_one_is_ready_when_all_are(supervised: Supervised) -> None:
    supervised.add("first", "r.step('A deed', 0.25); time.sleep(0.2); r.ready(); time.sleep(60)")
    supervised.add("second", "sys.stdin.read(); r.ready(); time.sleep(60)", after="first")
    supervised.add("third", "time.sleep(60)", reports=False)
    supervised.start()
    wait(supervised.ready)
    assert lock_holder(supervised.instance) == supervised.child.pid if supervised.child else False
    code, out, errors = supervised.end()
    assert (code, errors) == (0, "")
    assert "✓ A deed" in out
    assert "Ready in" in out
    assert not supervised.ready()
    assert not supervised.instance.notify_socket.exists()
    assert lock_holder(supervised.instance) is None


def test_what_dies_is_started_again_after_longer_and_longer_waits(supervised: Supervised) -> None:
    supervised.add("steady", "r.ready(); time.sleep(60)")
    supervised.add("dying", "r.ready(); time.sleep(0.05); sys.exit(9)")
    supervised.start()
    wait(lambda: supervised.started("dying") >= 5)
    assert supervised.started("steady") == 1
    code, _, _ = supervised.end()
    assert code == 0
    log = (supervised.instance.log_dir / "supervisor.log").read_text()
    assert [line.rpartition("again in ")[2] for line in log.splitlines()][:4] == ["0.1 s", "0.2 s", "0.4 s", "0.8 s"]
    assert "dying ended with 9" in log


def test_what_never_becomes_ready_ends_the_start_with_its_last_words(supervised: Supervised) -> None:
    supervised.add("broken", "print('no such engine', file=sys.stderr); sys.exit(1)")
    supervised.add("other", "time.sleep(60)")
    supervised.start()
    code, _, errors = supervised.ended()
    assert code == 1
    assert errors.startswith("kumo: broken keeps ending before it is ready: no such engine (")
    assert supervised.started("broken") == 4


def test_a_fault_that_no_restart_cures_is_told_at_once(supervised: Supervised) -> None:
    supervised.add("broken", "r.error('the database is spoiled: restore it'); sys.exit(78)")
    supervised.start()
    code, _, errors = supervised.ended()
    assert (code, errors) == (1, "kumo: the database is spoiled: restore it\n")
    assert supervised.started("broken") == 1


def test_each_is_ended_by_its_own_signal_in_reverse_order(supervised: Supervised) -> None:
    said = str(supervised.instance.root / "said")
    note = "import signal; signal.signal({number}, lambda *_: (open({said!r}, 'a').write({name!r}), sys.exit(0))); "
    for name, number in (("a", signal.SIGTERM), ("b", signal.SIGUSR1)):
        body = note.format(number=int(number), said=said, name=name)
        supervised.add(name, f"exec({body!r}); r.ready(); time.sleep(60)", stop=number)
    supervised.start()
    wait(supervised.ready)
    assert supervised.end(signal.SIGINT)[0] == 0
    assert Path(said).read_text() == "ba"


def test_children_are_told_to_end_when_the_supervisor_is_killed(supervised: Supervised) -> None:
    pid_file = supervised.instance.root / "pid"
    supervised.add(
        "child", f"import os; open({str(pid_file)!r}, 'w').write(str(os.getpid())); r.ready(); time.sleep(60)"
    )
    supervised.start()
    wait(supervised.ready)
    child = os.pidfd_open(int(pid_file.read_text()))
    try:
        supervised.end(signal.SIGKILL)
        import select

        assert select.select([child], [], [], 10)[0]
    finally:
        os.close(child)
    assert lock_holder(supervised.instance) is None


def test_a_second_supervisor_is_refused(supervised: Supervised) -> None:
    supervised.add("only", "r.ready(); time.sleep(60)")
    supervised.start()
    wait(supervised.ready)
    argv = [sys.executable, "-m", "kumo.cli.supervisor", supervised.instance.data_dir]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "kumo already runs on" in done.stderr
    assert supervised.started("only") == 1
    assert supervised.end()[0] == 0


def test_a_removed_data_directory_ends_the_supervisor(supervised: Supervised) -> None:
    supervised.add("only", "r.ready(); time.sleep(0.5)")
    supervised.start()
    wait(supervised.ready)
    supervised.instance.root.rename(supervised.instance.root.with_name("gone"))
    code, _, errors = supervised.ended()
    assert (code, "was removed while the cloud ran" in errors) == (1, True)
