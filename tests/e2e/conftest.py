"""One cloud for all end-to-end tests of a run, started by the real command and removed by it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cloud import Cloud, fresh

DATA_DIR = Path(os.environ.get("KUMO_E2E_DIR", "/var/tmp/kumo-e2e"))
PORT = int(os.environ.get("KUMO_E2E_PORT", "16443"))
"""Two runs on one machine need a directory and a port each."""


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    """A running cloud with the demo images."""
    found = fresh(DATA_DIR, PORT)
    found.up("--metric-resolution=1", "--horizontal-pod-autoscaler-sync-period=1")  # tests are not as patient as users
    try:
        found.demo_images()
        yield found
    finally:
        found.reset()
