"""Real processes of containers: who runs twice, though the API says that there is one."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from pathlib import Path

_INTERVAL = 0.05


class Audit:
    """Looks at all processes again and again, in a thread, while it is entered.

    Containers that are to be looked at carry `STORM_NAME` (what there must be one of, e.g. a StatefulSet's pod) and
    `STORM_UID` (the pod's UID and the container's name) in their environment. `twice` are the offences.
    """

    def __init__(self, cgroup: str) -> None:
        """`cgroup` is the one that all pods of the instance are below, e.g. `/kumo-0a1b2c`."""
        self._cgroup = cgroup
        self.twice: list[str] = []
        self.looks = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit")

    def __enter__(self) -> Audit:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_INTERVAL):
            self.looks += 1
            self._look()

    def _look(self) -> None:
        running: dict[str, dict[int, str]] = defaultdict(dict)
        for pid, name, uid in firsts(self._cgroup):
            running[name][pid] = uid
        for name, found in running.items():
            # One may have ended before the other began, amid the look: both must still be there.
            if len(found) > 1 and all(_marks(pid, self._cgroup) for pid in found):
                self.twice.append(f"{name}: {sorted(found.items())}")


def firsts(cgroup: str) -> list[tuple[int, str, str]]:
    """Pid, `STORM_NAME` and `STORM_UID` of each container's first process that has them, below the cgroup."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (marks := _marks(int(entry), cgroup)):
            found.append((int(entry), *marks))
    return found


def _marks(pid: int, cgroup: str) -> tuple[str, str] | None:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        if b"STORM_NAME=" not in environment:
            return None
        status = Path(f"/proc/{pid}/status").read_text()
        if f"{cgroup}/" not in Path(f"/proc/{pid}/cgroup").read_text():
            return None
    except OSError:
        return None
    numbers = next((line for line in status.splitlines() if line.startswith("NSpid:")), "").split()[1:]
    if len(numbers) < 2 or numbers[-1] != "1":
        return None
    values = dict(e.split("=", 1) for e in environment.decode(errors="replace").split("\0") if "=" in e)
    return values["STORM_NAME"], values.get("STORM_UID", "")
