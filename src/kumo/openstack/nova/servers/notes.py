"""What Nova knows of a server beyond its VirtualMachine: annotations, read and written here alone. Pure."""

from __future__ import annotations

import json
from typing import Any

from kumo.api.objects import Object, annotations_of, timestamp
from kumo.openstack.common import names
from kumo.openstack.nova.flavors import Flavor

METADATA = f"{names.PREFIX}/metadata"
FLAVOR = f"{names.PREFIX}/flavor"
KEY_NAME = f"{names.PREFIX}/key-name"
USER_ID = f"{names.PREFIX}/user-id"
LOCKED = f"{names.PREFIX}/locked"
ACTIONS = f"{names.PREFIX}/actions"
CONFIG_DRIVE = f"{names.PREFIX}/config-drive"
RESERVATION = f"{names.PREFIX}/reservation-id"
LAUNCH_INDEX = f"{names.PREFIX}/launch-index"
ZONE = f"{names.PREFIX}/availability-zone"
_ACTIONS_KEPT = 20


def read(vm: Object, key: str, default: Any) -> Any:
    """The JSON value of an annotation; the default if there is none of the default's type."""
    try:
        found = json.loads(annotations_of(vm)[key])
    except (KeyError, ValueError):
        return default
    return found if isinstance(found, type(default)) else default


def strings(vm: Object, key: str) -> list[str]:
    """The annotation's list of strings; what is none is left out (with kubectl anything can be written there)."""
    return [item for item in read(vm, key, []) if isinstance(item, str)]


def actions(vm: Object) -> list[dict[str, Any]]:
    """The last actions, newest first."""
    wanted = ("action", "request_id", "user_id", "project_id", "start_time")
    found: list[Any] = read(vm, ACTIONS, [])
    return [a for a in found if isinstance(a, dict) and all(isinstance(a.get(k), str) for k in wanted)]


def flavor(vm: Object) -> Flavor | None:
    """The flavor that the machine was made with, None if it says nothing that makes sense."""
    kept: dict[str, Any] = read(vm, FLAVOR, {})
    numbers = {k: kept.get(k, 0) for k in ("ram", "vcpus", "disk", "ephemeral", "swap")}
    texts = {k: kept.get(k) for k in ("id", "name")}
    specs = kept.get("extra_specs") or {}
    if not all(type(n) is int for n in numbers.values()) or not all(isinstance(t, str) for t in texts.values()):
        return None
    extra = {str(k): str(v) for k, v in specs.items()} if isinstance(specs, dict) else {}
    return Flavor(id=str(texts["id"]), name=str(texts["name"]), extra_specs=extra, **numbers)


def with_action(vm: Object, action: str, request_id: str, user_id: str, project_id: str) -> str:
    """The list of the server's last actions with one more, as the annotation's text."""
    now = timestamp()
    done = [
        {"action": action, "request_id": request_id, "user_id": user_id, "project_id": project_id, "start_time": now},
        *actions(vm),
    ]
    return json.dumps(done[:_ACTIONS_KEPT])
