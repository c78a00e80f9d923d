from __future__ import annotations

from typing import Any

import pytest

from kumo.kubevirt.virt_handler.decisions import Step, decide, next_phase

pytestmark = pytest.mark.unit

DELETED_AT = "2026-01-01T00:00:00Z"
DELETED = 1767225600.0


def vmi(phase: str, *, deleting: bool = False, acpi: bool = True, grace: int | None = 30) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": "vm", "namespace": "default"}
    if deleting:
        meta["deletionTimestamp"] = DELETED_AT
    spec: dict[str, Any] = {"domain": {"features": {"acpi": {"enabled": acpi}}}}
    if grace is not None:
        spec["terminationGracePeriodSeconds"] = grace
    return {"metadata": meta, "spec": spec, "status": {"phase": phase}}


def domain(status: str, reason: str = "Unknown") -> dict[str, Any]:
    return {"status": status, "reason": reason}


@pytest.mark.parametrize(
    ("machine", "state", "elapsed", "step", "again"),
    [
        (vmi("Scheduled"), domain("NoState"), 0, Step.START, None),
        (vmi("Scheduled"), None, 0, Step.START, None),
        (vmi("Running"), domain("NoState"), 0, Step.NOTHING, None),
        (vmi("Running"), domain("Running"), 0, Step.NOTHING, None),
        (vmi("Running"), domain("Shutoff", "Shutdown"), 0, Step.NOTHING, None),
        (vmi("Running", deleting=True), domain("Running"), 0, Step.SHUT_DOWN, 5.0),
        (vmi("Running", deleting=True), domain("Paused", "User"), 28, Step.SHUT_DOWN, 2.0),
        (vmi("Running", deleting=True), domain("Running"), 30, Step.KILL, 5.0),
        (vmi("Running", deleting=True, grace=0), domain("Running"), 0, Step.KILL, 5.0),
        (vmi("Running", deleting=True, grace=None), domain("Running"), 29, Step.SHUT_DOWN, 1.0),
        (vmi("Running", deleting=True, acpi=False), domain("Running"), 0, Step.KILL, 5.0),
        (vmi("Running", deleting=True), domain("Shutoff", "Shutdown"), 0, Step.NOTHING, None),
        (vmi("Scheduled", deleting=True), domain("NoState"), 0, Step.FORGET, None),
        (vmi("Succeeded"), domain("Shutoff", "Shutdown"), 0, Step.FORGET, None),
        (vmi("Failed"), domain("Running"), 0, Step.KILL, 1.0),
        (vmi("Failed"), None, 0, Step.FORGET, None),
    ],
)
def test_the_next_step(
    machine: dict[str, Any], state: dict[str, Any] | None, elapsed: float, step: Step, again: float | None
) -> None:
    found = decide(machine, state, DELETED + elapsed)
    assert (found.step, found.again) == (step, again)


@pytest.mark.parametrize(
    ("machine", "state", "phase"),
    [
        (vmi("Scheduled"), None, "Scheduled"),
        (vmi("Scheduled"), domain("NoState"), "Scheduled"),
        (vmi("Scheduled"), domain("Paused", "StartingUp"), "Scheduled"),
        (vmi("Scheduled"), domain("Running"), "Running"),
        (vmi("Scheduled"), domain("Paused", "User"), "Running"),
        (vmi("Running"), domain("Blocked"), "Running"),
        (vmi("Running"), domain("PMSuspended"), "Running"),
        (vmi("Running"), domain("Shutdown", "User"), "Running"),
        (vmi("Running"), domain("Shutoff", "Shutdown"), "Succeeded"),
        (vmi("Running"), domain("Shutoff", "Saved"), "Succeeded"),
        (vmi("Running"), domain("Shutoff", "Crashed"), "Failed"),
        (vmi("Running"), domain("Crashed", "Panicked"), "Failed"),
        (vmi("Running"), domain("Shutoff", "Destroyed"), "Failed"),
        (vmi("Running", acpi=False), domain("Shutoff", "Destroyed"), "Succeeded"),
        (vmi("Running"), domain("Shutoff", "Migrated"), "Running"),
        (vmi("Running"), domain("Paused", "PostcopyFailed"), "Failed"),
        (vmi("Failed"), domain("Running"), "Failed"),
    ],
)
def test_the_phase(machine: dict[str, Any], state: dict[str, Any] | None, phase: str) -> None:
    assert next_phase(machine, state) == phase
