"""The shell around a reconcile function: a queue of keys fed by informers, workers, retries with back-off.

Level-triggered: reconcile gets a key, looks at the world as the informers show it, and makes it right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Protocol, cast, runtime_checkable

import structlog

from kumo.api.errors import StatusError, is_conflict
from kumo.api.objects import Key, Object, controller_of, key_of, namespace_of
from kumo.machinery.informer import Informer
from kumo.machinery.workqueue import WorkQueue

Reconcile = Callable[[Key], Awaitable[float | None]]
"""Makes one key right. Returns the seconds after which to look again even without a change, or None."""

_log = structlog.get_logger("kumo.controller")


class Component(Protocol):
    """Something that runs until it is cancelled."""

    name: str

    async def run(self) -> None:
        """Run until cancelled; leave nothing behind."""
        ...


@runtime_checkable
class Measured(Protocol):
    """A component with metrics of its own."""

    def measured(self) -> list[str]:
        """Lines of the text format (`machinery.exposition`)."""
        ...


def queues(components: Iterable[object]) -> Iterator[tuple[str, WorkQueue[object]]]:
    """The names and work queues of components: of controllers, and of those that consist of some."""
    for component in components:
        for part in (component, *vars(component).values()):
            if isinstance(part, Controller):
                yield part.name, cast("WorkQueue[object]", part.queue)
            elif isinstance(part, WorkQueue) and not isinstance(component, Controller):
                yield getattr(component, "name", type(component).__name__), part


class Temporary(Exception):
    """The reconcile can't go on now and wants to be called again in `delay` seconds; not worth an error in the log."""

    def __init__(self, message: str, delay: float = 1.0) -> None:
        super().__init__(message)
        self.delay = delay


class Controller:
    """Runs `reconcile` for every key whose objects change, with `workers` of them at a time."""

    def __init__(self, name: str, reconcile: Reconcile, *, workers: int = 4) -> None:
        self.name = name
        self.queue: WorkQueue[Key] = WorkQueue()
        self._reconcile = reconcile
        self._workers = workers
        self._informers: list[Informer] = []

    def watch(self, informer: Informer, keys: Callable[[Object], Iterable[Key]] | None = None) -> None:
        """Queue the object's own key (or the keys that `keys` gives, for its old and new form) on every change."""
        self._informers.append(informer)

        def changed(old: Object | None, new: Object | None) -> None:
            for obj in (old, new):
                if obj is not None:
                    for key in (key_of(obj),) if keys is None else keys(obj):
                        self.queue.add(key)

        informer.on_change(changed)

    def watch_owned(self, informer: Informer, kind: str) -> None:
        """Queue the controlling owner, if it is of that kind, when an owned object changes."""

        def owners(obj: Object) -> Iterable[Key]:
            owner = controller_of(obj)
            if owner is not None and owner.get("kind") == kind:
                yield Key(namespace_of(obj), owner["name"])

        self.watch(informer, owners)

    async def run(self) -> None:
        """Wait for the informers' first lists, then work until cancelled."""
        for informer in self._informers:
            await informer.wait_synced()
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work(), name=self.name)

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                again = await self._reconcile(key)
                self.queue.forget(key)
                if again is not None:
                    self.queue.add_after(key, again)
            except Temporary as wait:
                _log.debug("not yet", controller=self.name, key=str(key), why=str(wait))
                self.queue.add_after(key, wait.delay)
            except (StatusError, ConnectionError, OSError, TimeoutError) as error:
                delay = self.queue.retry(key)
                if not is_conflict(error):
                    _log.warning("will retry", controller=self.name, key=str(key), error=str(error), delay=delay)
            except Exception:
                _log.exception("reconcile failed", controller=self.name, key=str(key))
                self.queue.retry(key)
            except asyncio.CancelledError:
                self.queue.add(key)  # For the next `run`, if there is one: the component may be begun again.
                raise
            finally:
                self.queue.done(key)
