"""Where one container runs, as CRI takes it."""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """Processors and NUMA nodes of memory as lists (`0-3`), empty for all; whether the processors are its own."""

    cpus: str = ""
    memory: str = ""
    exclusive: bool = False


ANYWHERE = Place()
