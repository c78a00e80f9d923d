"""Who may do what in Nova: one table, from the action's name to a rule. Source: Nova's default policies."""

from __future__ import annotations

from collections.abc import Callable

from kumo.openstack.common.caller import Caller
from kumo.openstack.common.errors import ApiError

Rule = Callable[[Caller], bool]


def _admin(caller: Caller) -> bool:
    return caller.is_admin


def _member(caller: Caller) -> bool:
    return caller.may_write


def _reader(caller: Caller) -> bool:
    return bool(caller.roles)


RULES: dict[str, Rule] = {
    "os_compute_api:os-hypervisors:list": _admin,
    "os_compute_api:os-services:list": _admin,
    "os_compute_api:os-availability-zone:detail": _admin,
    "os_compute_api:os-quota-sets:show": _reader,
    "os_compute_api:os-instance-actions:show": _reader,
}
"""What is not in the table changes something of a project, and is for its members."""


def enforce(caller: Caller, action: str) -> None:
    """Raise ApiError 403 unless the caller may do it."""
    if not RULES.get(action, _member)(caller):
        raise ApiError(403, f"Policy doesn't allow {action} to be performed.")
