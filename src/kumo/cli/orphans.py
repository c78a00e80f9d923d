"""Shims that containerd had started, and been killed before it gave them a task: they wait for ever.

A containerd that comes back takes them for its own and leaves them alone (1.6; later ones end them). So they are ended
while there is no containerd: nobody else can give them work. Standard library only: the supervisor calls it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

_PATIENCE_MS = 1000
_LOOKS = 5
"""At most: one that was just starting a shim may have done so while it was looked for."""


def named(arguments: Sequence[str]) -> str:
    """The container that a shim with these arguments was started for; empty for one without."""
    return arguments[list(arguments).index("-id") + 1] if "-id" in arguments[:-1] else ""


def orphans(shims: Iterable[tuple[int, Sequence[str]]], has_task: Callable[[str], bool]) -> list[int]:
    """The pids of those shims, given with their arguments, that have no task or are just starting another. Pure."""
    found = []
    for pid, arguments in shims:
        name = named(arguments)
        if name and (arguments[-1] == "start" or not has_task(name)):
            found.append(pid)
    return found


def end_orphans(directory: Path) -> list[int]:
    """End the orphans of the containerd of this directory, which must not run; their pids. Never raises OSError."""
    tasks = directory / "state" / "io.containerd.runtime.v2.task" / "k8s.io"

    ended: list[int] = []

    def has_task(name: str) -> bool:
        # The runtime writes the file when the task is made. Without a directory there is nothing to judge by.
        return (tasks / name / "init.pid").exists() or not (tasks / name).is_dir()

    try:
        for _ in range(_LOOKS):
            found = orphans(shims(directory), has_task)
            if not found:
                break
            ended += found
            for pid in found:
                end_shim(pid)
    except OSError:
        pass
    return ended


def end_shim(pid: int) -> None:
    """Kill a shim, and what it had begun: a runtime whose caller is gone is killed half-way."""
    for each in (pid, *_descendants(pid)):
        _end(each)


def shims(directory: Path) -> list[tuple[int, list[str]]]:
    """The shims of the containerd of this directory: their pids and arguments."""
    found, socket = [], str(directory / "c.sock")
    for entry in os.listdir("/proc"):  # noqa: PTH208 - two thousand names
        if entry.isdigit():
            with contextlib.suppress(OSError):
                words = os.fsdecode(Path("/proc", entry, "cmdline").read_bytes()).split("\0")[:-1]
                if words and Path(words[0]).name.startswith("containerd-shim") and socket in words:
                    found.append((int(entry), words))
    return found


def left_behind(directory: Path, data_dir: str, verb: str) -> str:
    """What is to be said of pods that go on without a supervisor, whose containerd has this directory; else empty."""
    count = len(shims(directory))
    if not count:
        return ""
    pods = "1 pod still runs" if count == 1 else f"{count} pods still run"
    return (
        f"Its supervisor was killed and {pods}: 'kumo {verb} --detach --data-dir {data_dir}' takes over, "
        f"'kumo reset --data-dir {data_dir}' ends and removes everything"
    )


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                found += [int(child), *_descendants(int(child))]
    return found


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            waiting = select.poll()
            waiting.register(descriptor, select.POLLIN)
            waiting.poll(_PATIENCE_MS)
        finally:
            os.close(descriptor)
