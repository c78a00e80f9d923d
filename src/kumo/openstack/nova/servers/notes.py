"""What Nova knows of a server beyond its VirtualMachine: annotations, read and written here alone. Pure."""

from __future__ import annotations

import json
from typing import Any

from kumo.api.objects import Object, annotations_of, timestamp
from kumo.openstack.common import names

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


def with_action(vm: Object, action: str, request_id: str, user_id: str, project_id: str) -> str:
    """The list of the server's last actions with one more, as the annotation's text."""
    done: list[dict[str, Any]] = read(vm, ACTIONS, [])
    now = timestamp()
    done = [
        {"action": action, "request_id": request_id, "user_id": user_id, "project_id": project_id, "start_time": now},
        *done,
    ]
    return json.dumps(done[:_ACTIONS_KEPT])
