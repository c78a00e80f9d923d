"""What becomes of the default objects at start and whenever one changes. Pure.

Mandatory objects are always made to say what they must. Suggested ones are kept up to date as long as their annotation
(or, without one, that nobody has changed their spec) says so; an administrator who edits one keeps his edit.
"""

from __future__ import annotations

import copy
from typing import Any

from kumo.api.objects import Object, annotations_of, name_of
from kumo.kubernetes.apiserver.flowcontrol.defaults import AUTOUPDATE, MANDATORY

_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


def revised(found: Object, wanted: Object) -> Object | None:
    """The object to write in place of `found`, or None when it may stay as it is."""
    mandatory = name_of(wanted) in MANDATORY
    value = annotations_of(found).get(AUTOUPDATE, "")
    unchanged = (found["metadata"].get("generation") or 1) == 1
    update = mandatory or value in _TRUE or (value not in _FALSE and unchanged)
    new = copy.deepcopy(found)
    if update and not _equal(found, wanted):
        new["spec"] = copy.deepcopy(wanted["spec"])
        if name_of(wanted) == "exempt" and (found.get("spec") or {}).get("exempt"):
            new["spec"]["exempt"] = found["spec"]["exempt"]
    if (value in _TRUE) != update or value not in _TRUE + _FALSE:
        new["metadata"].setdefault("annotations", {})[AUTOUPDATE] = "true" if update else "false"
    return new if new != found else None


def unwanted(found: Object, names: set[str]) -> bool:
    """Whether the object is a default of another version: kept up to date by the server, but no longer known."""
    return name_of(found) not in names and annotations_of(found).get(AUTOUPDATE) in _TRUE


def _equal(found: Object, wanted: Object) -> bool:
    has, must = dict(found.get("spec") or {}), dict(wanted["spec"])
    if name_of(wanted) == "exempt" and found.get("kind") == "PriorityLevelConfiguration":
        has.pop("exempt", None)
        must.pop("exempt", None)
    return has == must


def dangling(schema: Object, levels: set[str], now: str) -> Object | None:
    """The FlowSchema with its condition put right, or None when it is right."""
    level = schema["spec"]["priorityLevelConfiguration"]["name"]
    there = level in levels
    condition: dict[str, Any] = {
        "type": "Dangling",
        "status": "False" if there else "True",
        "lastTransitionTime": now,
        "reason": "Found" if there else "NotFound",
        "message": f'This FlowSchema references the PriorityLevelConfiguration object named "{level}" '
        + ("and it exists" if there else "but there is no such object"),
    }
    conditions = list((schema.get("status") or {}).get("conditions") or ())
    old = next((c for c in conditions if c.get("type") == "Dangling"), None)
    if old is not None:
        if all(old.get(k) == condition[k] for k in ("status", "reason", "message")):
            return None
        if old.get("status") == condition["status"]:
            condition["lastTransitionTime"] = old.get("lastTransitionTime", now)
    others = [c for c in conditions if c.get("type") != "Dangling"]
    return {**schema, "status": {**(schema.get("status") or {}), "conditions": [*others, condition]}}
