"""Whether a running instance differs from its VM, so that only a restart brings the two together."""

from __future__ import annotations

import copy
from typing import Any

from kumo.api.objects import Object
from kumo.kubevirt.virt_controller.conditions import Condition, remove, update

MESSAGE = "a non-live-updatable field was changed in the template spec"


def differs(started_from: dict[str, Any], vm: Object) -> bool:
    """Whether the VM's template or its instance type is another than that which the instance was started from.

    `started_from` is the spec in the revision of the start. Nothing can be changed in a running instance yet; a UUID
    that was merely filled in later does not count.
    """
    before, now = _comparable(started_from), _comparable(vm.get("spec") or {})
    was, is_ = (part["template"].get("domain", {}).get("firmware", {}) for part in (before, now))
    if not was.get("uuid"):
        is_.pop("uuid", None)
        was.pop("uuid", None)
    return before != now


def _comparable(spec: dict[str, Any]) -> dict[str, Any]:
    template = copy.deepcopy((spec.get("template") or {}).get("spec") or {})
    return {"template": template, "instancetype": spec.get("instancetype"), "preference": spec.get("preference")}


def set_restart_required(conditions: list[Condition], wanted: bool, now: str) -> None:
    """Put the condition RestartRequired into the list, or take it out."""
    if not wanted:
        remove(conditions, "RestartRequired")
        return
    made = {"type": "RestartRequired", "status": "True", "message": MESSAGE}
    update(conditions, {**made, "lastProbeTime": None, "lastTransitionTime": now})
