"""What this process may do: its capabilities."""

from __future__ import annotations

from pathlib import Path

CAP_SYS_RESOURCE = 24


def has_capability(number: int) -> bool:
    """Whether this process holds the capability (its number of `linux/capability.h`) in its effective set."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False
