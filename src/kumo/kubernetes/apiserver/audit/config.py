"""What is audited, and where events go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Batching:
    """How events are collected (upstream's defaults): sizes in events, times in seconds."""

    buffer: int = 10_000
    size: int = 400
    wait: float = 30.0
    rate: float = 10.0
    """The most lists a second."""
    backoff: float = 10.0
    attempts: int = 5


@dataclass(frozen=True, slots=True)
class AuditConfig:
    """What is audited (`policy`, a file) and where events go; sizes in megabytes, ages in days, 0 for no limit."""

    policy: Path
    log_path: str = ""
    log_max_size: int = 0
    log_max_backups: int = 0
    log_max_age: int = 0
    webhook: Path | None = None
    """A kubeconfig that names the webhook."""
    batching: Batching = Batching()
