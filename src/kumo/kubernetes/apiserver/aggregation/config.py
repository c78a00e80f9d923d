"""What aggregation is told when the API server is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class AggregationConfig:
    """PEM files: how this server proves to aggregated ones that it may name the user (the front proxy's client)."""

    certificate: Path | None = None
    key: Path | None = None
