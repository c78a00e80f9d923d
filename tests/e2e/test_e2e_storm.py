"""Daemons killed at random moments amid rollouts, evictions, jobs, volumes: counted once, run once, nothing left.

A short one by default; `KUMO_STORM_SECONDS` makes it so long, with everything in it, `KUMO_STORM_SEED` repeats one.
"""

from __future__ import annotations

import asyncio
import os
import secrets

import pytest

from support.cloud import Cloud
from support.storm import steady, volumes, works
from support.storm.run import Work, storm

pytestmark = pytest.mark.e2e
SECONDS = float(os.environ.get("KUMO_STORM_SECONDS", "0"))
SEED = int(os.environ.get("KUMO_STORM_SEED") or secrets.randbelow(10**6))
SHORT: tuple[Work, ...] = (steady.steady, works.rollouts)
EVERY: tuple[Work, ...] = (
    *(*SHORT, steady.sessions, works.stateful, works.evictions),
    *(works.jobs, works.namespaces, volumes.volumes),
)


def test_a_storm_leaves_no_trace(cloud: Cloud) -> None:
    going = EVERY if SECONDS else SHORT
    outcome = asyncio.run(storm(cloud, going, SEED, SECONDS or 5.0, pause=6.0 if SECONDS else 3.0, after=["steady"]))
    print(f"seed {SEED}: {len(outcome.deaths)} strikes {outcome.deaths}; {outcome.done}; {outcome.events} events")
    wrong = "\n".join(outcome.wrong)
    assert not wrong, f"seed {SEED}, {outcome.deaths}:\n{wrong}"
    assert outcome.deaths and outcome.events and outcome.looks
