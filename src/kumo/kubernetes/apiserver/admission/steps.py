"""Which steps a write passes: looked up by operation, resource and subresource, so that no write pays for others'."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from kumo.kubernetes.apiserver.attributes import AdmissionAttributes

Step = Callable[[AdmissionAttributes], Awaitable[None] | None]
Kind = tuple[str, str]
"""Group and plural of a resource."""
CREATE, UPDATE, BOTH = ("CREATE",), ("UPDATE",), ("CREATE", "UPDATE")


class Steps:
    """Steps in the order in which they were added."""

    def __init__(self) -> None:
        self._by: dict[tuple[str, str, str, str], tuple[Step, ...]] = {}

    def add(self, step: Step, kind: Kind, operations: Iterable[str], subresources: Iterable[str] = ("",)) -> None:
        """Let such writes pass `step` after the steps that were added before."""
        for operation in operations:
            for subresource in subresources:
                key = (operation, *kind, subresource)
                self._by[key] = (*self._by.get(key, ()), step)

    async def run(self, attrs: AdmissionAttributes) -> None:
        """Take the write through its steps. Raises the StatusError of the first that refuses."""
        gvr = attrs.gvr
        for step in self._by.get((attrs.operation, gvr.group, gvr.resource, attrs.subresource), ()):
            waiting = step(attrs)
            if waiting is not None:
                await waiting
