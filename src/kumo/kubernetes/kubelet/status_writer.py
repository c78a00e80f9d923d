"""Writes pods' statuses: the newest of each pod, in the background, again until the API server has taken it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog

from kumo.api.errors import StatusError
from kumo.api.objects import Object, name_of, namespace_of, uid_of
from kumo.api.resources import PODS
from kumo.kubernetes.kubelet.conditions import EVICTED_BY, OWNED, RESIZE
from kumo.machinery.client import STRATEGIC_MERGE_PATCH, Client

_log = structlog.get_logger("kumo.kubelet")

Status = dict[str, Any]
_MERGED_BY_IP = ("podIPs", "hostIPs")
_OPTIONAL = (
    "reason",
    "message",
    "podIP",
    "podIPs",
    "initContainerStatuses",
    "ephemeralContainerStatuses",
    "allocatedResources",
    "resources",
)


class StatusWriter:
    """One task a pod that has something to write."""

    def __init__(self, client: Client, written: Callable[[Object], None] = lambda pod: None) -> None:
        self._client = client
        self._wanted: dict[str, tuple[Object, Status]] = {}
        self._known: dict[str, tuple[int, Status, Status]] = {}
        """The revision of our last write, what was written, and what the server made of it."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._written = written
        self._since: dict[str, float] = {}
        """When the oldest status that is not written yet was made."""
        self.said: Callable[[Object, Status], None] = lambda pod, status: None
        """Hears of every status that is to be written."""
        self.sent: Callable[[Object, float], None] = lambda pod, seconds: None
        """Hears of every pod whose status was written, and how long after it was made."""

    def set(self, pod: Object, status: Status) -> None:
        """Have the status written soon; a newer one for the same pod replaces it."""
        uid = uid_of(pod)
        self._wanted[uid] = (pod, status)
        self._since.setdefault(uid, time.monotonic())
        self.said(pod, status)
        if uid not in self._tasks:
            self._tasks[uid] = asyncio.create_task(self._write(uid), name="pod status")

    async def flush(self, uid: str) -> None:
        """Return when all that was set has been written (or the pod is gone)."""
        task = self._tasks.get(uid)
        if task is not None:
            await asyncio.shield(task)

    def forget(self, uid: str) -> None:
        """The pod is gone: nothing more to write."""
        self._wanted.pop(uid, None)
        self._known.pop(uid, None)
        self._since.pop(uid, None)
        task = self._tasks.pop(uid, None)
        if task is not None:
            task.cancel()

    def close(self) -> None:
        """Stop writing."""
        for uid in list(self._tasks):
            self.forget(uid)

    def _base(self, uid: str, pod: Object) -> Status:
        """What the pod's status is, as far as we know: what we wrote, unless somebody has changed it since.

        Others do: a node that was not heard of has its pods called unready.
        """
        status: Status = pod.get("status") or {}
        if uid not in self._known:
            return status
        revision, written, made = self._known[uid]
        if _revision(pod) <= revision or _conditions(status) == _conditions(made):
            return written
        return {**written, "conditions": status.get("conditions") or []}

    async def _write(self, uid: str) -> None:
        delay = 0.1
        try:
            while uid in self._wanted:
                pod, status = self._wanted.pop(uid)
                change = difference(self._base(uid, pod), status)
                if not change:
                    self._since.pop(uid, None)
                    continue
                since = self._since.get(uid, time.monotonic())
                body = {"metadata": {"uid": uid}, "status": change}
                try:
                    made = await self._client.patch(
                        PODS, name_of(pod), body, namespace_of(pod), kind=STRATEGIC_MERGE_PATCH, subresource="status"
                    )
                    self._known[uid] = (_revision(made), status, made.get("status") or {})
                    self._written(made)
                    if uid not in self._wanted:
                        self._since.pop(uid, None)
                    self.sent(made, time.monotonic() - since)
                    delay = 0.1
                except StatusError as error:
                    if error.code in (404, 409):  # gone, or another pod of that name
                        return
                    _log.warning("pod status refused", pod=name_of(pod), error=error.message)
                    self._wanted.setdefault(uid, (pod, status))
                except (ConnectionError, OSError, TimeoutError):
                    self._wanted.setdefault(uid, (pod, status))
                if uid in self._wanted:
                    await asyncio.sleep(delay)
                    delay = min(delay * 2, 5.0)
        finally:
            if self._tasks.get(uid) is asyncio.current_task():
                del self._tasks[uid]


def _conditions(status: Status) -> dict[str, str]:
    return {c["type"]: c["status"] for c in status.get("conditions") or () if c.get("type") in OWNED}


def _revision(pod: Object) -> int:
    text = pod["metadata"].get("resourceVersion") or ""
    return int(text) if text.isdecimal() else 0


def _condition(old: Status, new: Status) -> Status | None:
    """The patch of one condition: null for what it no longer has; None if nothing changed."""
    kept = {k: v for k, v in new.items() if v is not None}
    if {k: v for k, v in old.items() if v is not None} == kept:
        return None
    return {k: None for k in old if k not in kept} | kept


def difference(old: Status, new: Status) -> Status:
    """The strategic merge patch that turns the kubelet's part of `old` into `new`; empty if there is nothing to do."""
    patch: Status = {}
    for key, value in new.items():
        if key == "conditions":
            before = {c["type"]: c for c in old.get("conditions") or ()}
            mine = [c for c in value if c["type"] in OWNED + RESIZE or c.get("reason") == EVICTED_BY]
            changed = [_condition(before.get(c["type"]) or {}, c) for c in mine]
            changed = [c for c in changed if c is not None]
            ended = {t for t in RESIZE if t in before} - {c["type"] for c in mine}
            changed += [{"type": t, "$patch": "delete"} for t in sorted(ended)]
            if changed:
                patch[key] = changed
        elif old.get(key) != value:
            # These lists are merged by address otherwise.
            replaced = key in _MERGED_BY_IP and old.get(key)
            patch[key] = [*value, {"$patch": "replace"}] if replaced else value
    for key in _OPTIONAL:
        if old.get(key) and key not in new:
            patch[key] = [{"$patch": "replace"}] if key in _MERGED_BY_IP else None
    return patch
