"""Why something could not be done now: what becomes the condition Failure of a VM, Synchronized of an instance."""

from __future__ import annotations


class SyncFailure(Exception):
    """`reason` is a word for programs, the message is for people; `retry`: trying again may help."""

    def __init__(self, reason: str, message: str, *, retry: bool = True) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry = retry
