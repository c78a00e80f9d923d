"""`GET /containerLogs/...`: which container's log is meant, and the parameters of PodLogOptions."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from kumo.api.objects import Object, name_of, parse_timestamp
from kumo.kubernetes.kubelet.logs import LogOptions
from kumo.kubernetes.kubelet.podstate import ContainerState, PodState


class NoLog(Exception):
    """There is no log to show; the text says why, as upstream words it (a 400)."""


_WAITING = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
}


def choose(pod: Object, state: PodState, status: Mapping[str, Any], container: str, previous: bool) -> ContainerState:
    """The container whose log is wanted. `status` is the pod's newest. Raises NoLog."""
    history = [c for c in state.history(container) if c.log_path and c.state != "created"]
    if previous:
        ended = [c for c in history[1:] if c.exited] if history and history[0].running else history
        waiting = _status(status, container).get("state", {}).get("waiting")
        if history and history[0].exited and not waiting:
            ended = history[1:]
        if not ended:
            raise NoLog(f'previous terminated container "{container}" in pod "{name_of(pod)}" not found')
        return ended[0]
    if history:
        return history[0]
    reason = _status(status, container).get("state", {}).get("waiting", {}).get("reason") or "ContainerCreating"
    raise NoLog(f'container "{container}" in pod "{name_of(pod)}" is waiting to start: {_WAITING.get(reason, reason)}')


def _status(status: Mapping[str, Any], container: str) -> dict[str, Any]:
    for kind in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        for entry in status.get(kind) or ():
            if entry["name"] == container:
                return dict(entry)
    return {}


def options(query: Mapping[str, str]) -> LogOptions:
    """The options of a query. Raises ValueError."""
    since = None
    if query.get("sinceSeconds"):
        since = time.time() - int(query["sinceSeconds"])
    elif query.get("sinceTime"):
        since = parse_timestamp(query["sinceTime"])
    stream = (query.get("stream") or "All").lower()
    return LogOptions(
        follow=truth(query, "follow"),
        tail_lines=int(query["tailLines"]) if query.get("tailLines") else None,
        since=since,
        timestamps=truth(query, "timestamps"),
        limit_bytes=int(query["limitBytes"]) if query.get("limitBytes") else None,
        stream="" if stream == "all" else stream,
    )


def truth(query: Mapping[str, str], name: str) -> bool:
    """Whether a boolean parameter is set."""
    return query.get(name, "").lower() in ("1", "true", "t")
