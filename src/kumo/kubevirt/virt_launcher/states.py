"""libvirt's numbers as the words of upstream's status (`pkg/virt-launcher/virtwrap/api`, LifeCycle and reasons)."""

from __future__ import annotations

NO_STATE, RUNNING, BLOCKED, PAUSED, SHUTDOWN, SHUTOFF, CRASHED, SUSPENDED = (
    "NoState", "Running", "Blocked", "Paused", "Shutdown", "Shutoff", "Crashed", "PMSuspended",
)  # fmt: skip
_STATES = (NO_STATE, RUNNING, BLOCKED, PAUSED, SHUTDOWN, SHUTOFF, CRASHED, SUSPENDED)
_REASONS = {
    PAUSED: (
        "Unknown", "User", "Migration", "Save", "Dump", "IOError", "Watchdog", "FromSnapshot", "ShuttingDown",
        "Snapshot", "Crashed", "StartingUp", "PostcopyMigration", "PostcopyFailed",
    ),
    SHUTDOWN: ("Unknown", "User"),
    SHUTOFF: ("Unknown", "Shutdown", "Destroyed", "Crashed", "Migrated", "Saved", "Failed", "FromSnapshot"),
    CRASHED: ("Unknown", "Panicked"),
}  # fmt: skip
STOPPED = frozenset((SHUTOFF, CRASHED))
ABNORMAL = frozenset(("Crashed", "Failed", "Panicked"))


def describe(state: int, reason: int) -> tuple[str, str]:
    """The status and its reason for what `virDomainGetState` gives."""
    status = _STATES[state] if 0 <= state < len(_STATES) else NO_STATE
    reasons = _REASONS.get(status, ())
    return status, reasons[reason] if 0 <= reason < len(reasons) else "Unknown"
