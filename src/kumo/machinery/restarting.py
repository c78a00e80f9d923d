"""A component that fails is begun again, without the other components of its process.

Only so often: what fails again and again, or does so at once, needs a process that begins anew, so that its failure is
passed on then.
"""

from __future__ import annotations

import asyncio

import structlog

from kumo.machinery.controller import Component

_FIRST, _LONGEST = 0.5, 30.0
_TRIES = 5
_CALM = 300.0
"""Seconds after which earlier failures are forgotten."""
_log = structlog.get_logger("kumo.components")


class Restarted:
    """Runs `component`; when it ends or raises, tells it with a traceback, waits a while, and runs it again.

    `run` of the component must be one that may be called again after it has ended. `fatal` are the exceptions that are
    for the whole process: these are raised, also from within groups, and so is the failure that follows `tries` others
    within five minutes. Delays double, from `first` to 30 seconds.
    """

    def __init__(
        self, component: Component, *fatal: type[BaseException], tries: int = _TRIES, first: float = _FIRST
    ) -> None:
        self.name = component.name
        self.component = component
        self._fatal = fatal
        self._tries = tries
        self._first = first

    async def run(self) -> None:
        """Run until cancelled. Raises what is fatal, and the last failure of too many."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            began = loop.time()
            try:
                await self.component.run()
                raise RuntimeError(f"{self.name} ended")
            except Exception as error:
                if loop.time() - began > _CALM:
                    failures = 0
                if failures >= self._tries or _holds(error, self._fatal):
                    raise
                delay = min(self._first * 2.0**failures, _LONGEST)
                failures += 1
                _log.exception("a component failed and is begun again", component=self.name, again_in=delay)
            await asyncio.sleep(delay)


def _holds(error: BaseException, kinds: tuple[type[BaseException], ...]) -> bool:
    """Whether the error is of the kinds, or a group with one that is."""
    if isinstance(error, BaseExceptionGroup):
        return any(_holds(e, kinds) for e in error.exceptions)
    return isinstance(error, kinds)
