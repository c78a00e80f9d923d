"""Lines to stdout, which is the pod's log; `logging` would cost two megabytes in every virtual machine."""

from __future__ import annotations

import json
import time


def say(message: str, **fields: object) -> None:
    """Write one JSON line with the time, the message and the fields."""
    now = time.time()
    stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03d}Z"
    print(json.dumps({"timestamp": stamp, "component": "virt-launcher", "msg": message, **fields}, default=str))
