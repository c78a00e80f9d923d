"""How the virtual CPUs of an instance type become sockets, cores and threads."""

from __future__ import annotations

from typing import Any, NamedTuple

_NAMES = {
    "preferSockets": "sockets",
    "preferCores": "cores",
    "preferThreads": "threads",
    "preferSpread": "spread",
    "preferAny": "any",
}
THREADS_PER_CORE = 2


class Spread(NamedTuple):
    """How `spread` divides the CPUs: the ratio, and which parts it goes across."""

    ratio: int
    across: str


def preferred_topology(preference: dict[str, Any] | None) -> str:
    """sockets (the default), cores, threads, spread or any; the deprecated names count as their successors."""
    wanted = ((preference or {}).get("cpu") or {}).get("preferredCPUTopology") or "sockets"
    return _NAMES.get(wanted, wanted)


def spread_options(preference: dict[str, Any] | None) -> Spread:
    """How a preference wants CPUs to be spread."""
    options = ((preference or {}).get("cpu") or {}).get("spreadOptions") or {}
    ratio = options.get("ratio") or (preference or {}).get("preferSpreadSocketToCoreRatio") or 2
    return Spread(int(ratio), options.get("across") or "SocketsCores")


def topology(count: int, preference: dict[str, Any] | None) -> dict[str, int]:
    """Sockets, cores and threads for that many virtual CPUs."""
    found = {"sockets": 1, "cores": 1, "threads": 1}
    if count == 1:
        return found
    wanted = preferred_topology(preference)
    if wanted in ("cores", "threads"):
        found[wanted] = count
    elif wanted in ("sockets", "any"):
        found["sockets"] = count
    elif wanted == "spread":
        ratio, across = spread_options(preference)
        if across == "SocketsCores":
            found.update(cores=ratio, sockets=count // ratio)
        elif across == "CoresThreads":
            found.update(threads=ratio, cores=count // ratio)
        elif across == "SocketsCoresThreads":
            found.update(threads=THREADS_PER_CORE, cores=ratio, sockets=count // THREADS_PER_CORE // ratio)
    return found
