"""Who may do what in Keystone: one table, from the action's name to a rule. Source: Keystone's default policies."""

from __future__ import annotations

from collections.abc import Callable

from kumo.openstack.common.caller import Caller
from kumo.openstack.common.errors import ApiError

Rule = Callable[[Caller, str], bool]
"""Whether the caller may act on the thing of that id."""


def _admin(caller: Caller, target: str) -> bool:
    return caller.is_admin


def _admin_or_self(caller: Caller, target: str) -> bool:
    return caller.is_admin or caller.user_id == target


def _admin_or_own_project(caller: Caller, target: str) -> bool:
    return caller.is_admin or (caller.project is not None and caller.project.id == target)


def _anybody(caller: Caller, target: str) -> bool:
    return True


RULES: dict[str, Rule] = {
    "identity:get_project": _admin_or_own_project,
    "identity:list_user_projects": _admin_or_self,
    "identity:get_user": _admin_or_self,
    "identity:get_service": _admin,
    "identity:get_region": _anybody,
    "identity:list_regions": _anybody,
}
"""What is not in the table is for administrators."""


def enforce(caller: Caller, action: str, target: str = "") -> None:
    """Raise ApiError 403 unless the caller may do it."""
    if not RULES.get(action, _admin)(caller, target):
        raise ApiError(403, f"You are not authorized to perform the requested action: {action}.")
