"""One request on its way through the server: what the server's operation (not its answer) has to know of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.attributes import RequestInfo
from kumo.machinery.http import Request

if TYPE_CHECKING:
    from kumo.kubernetes.apiserver.audit.auditor import Record
    from kumo.kubernetes.apiserver.flowcontrol import Flow, Place

_LONG_VERBS = frozenset(("watch", "proxy"))
_LONG_SUBRESOURCES = frozenset(("attach", "exec", "log", "portforward", "proxy"))


class Visit:
    """A request, when it `began` (`time.perf_counter`), and what has become of it so far.

    `audit_annotations` is where admission leaves what auditors should know; None while nobody has left anything.
    """

    __slots__ = (
        "__weakref__",
        "audit_annotations",
        "audit_id",
        "began",
        "counted",
        "flow",
        "info",
        "place",
        "record",
        "request",
        "task",
        "timed_out",
        "timer",
        "user",
    )

    def __init__(self, request: Request, info: RequestInfo, began: float, audit_id: str) -> None:
        self.request = request
        self.info = info
        self.began = began
        self.audit_id = audit_id
        self.user: UserInfo | None = None
        self.flow: Flow | None = None
        self.place: Place | None = None
        self.counted: bool | None = None
        self.record: Record | None = None
        self.audit_annotations: dict[str, str] | None = None
        self.task: asyncio.Task[object] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.timed_out = False

    def annotate(self, key: str, value: str) -> None:
        """Tell auditors; the first value of a key stays (as upstream)."""
        if self.audit_annotations is None:
            self.audit_annotations = {}
        self.audit_annotations.setdefault(key, value)


def is_long_running(info: RequestInfo) -> bool:
    """Whether the request may take as long as it likes (upstream's rule)."""
    return info.verb in _LONG_VERBS or info.subresource in _LONG_SUBRESOURCES
