"""What is kept of a volume and of a snapshot: values, and their JSON."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, TypeVar

IMAGE, DIRECTORY = "image", "directory"
"""What a volume's bytes are in."""
THIN, THICK = "thin", "thick"
"""Whether blocks are taken from the disk as they are written, or all at once."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a volume was copied from: a `snapshot` or a `volume`, by id; empty: nothing."""

    kind: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class VolumeRecord:
    """A volume. Sizes in bytes."""

    id: str
    name: str
    capacity: int
    block: bool = False
    fs_type: str = ""
    backing: str = IMAGE
    allocation: str = THIN
    source: Source = field(default_factory=Source)
    ephemeral: bool = False
    """It lives as long as it is published (an inline volume of a pod)."""


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """A snapshot. `size` is that of the volume then, `created` seconds since the epoch."""

    id: str
    name: str
    volume: str
    size: int
    created: float
    block: bool = False
    fs_type: str = ""
    backing: str = IMAGE


Record = TypeVar("Record", VolumeRecord, SnapshotRecord)


def encode(record: VolumeRecord | SnapshotRecord) -> bytes:
    """The record as JSON."""
    return json.dumps(dataclasses.asdict(record), indent=1).encode()


def decode(kind: type[Record], text: bytes) -> Record:
    """The record that the JSON is of; unknown fields are left out. Raises ValueError."""
    try:
        found: dict[str, Any] = json.loads(text)
        names = {f.name for f in dataclasses.fields(kind)}
        known = {k: v for k, v in found.items() if k in names}
        if isinstance(known.get("source"), dict):
            known["source"] = Source(**known["source"])
        return kind(**known)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"not a record of the driver: {error}") from error
