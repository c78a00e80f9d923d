"""Fresh events on their way from the engine to the watches, on the event loop.

A watch that reads too slowly is not cut off and does not hold memory: it is told that it lags, and reads what it missed
from the file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from kumo.store.base import Event

MAX_WAITING = 10_000


class Subscription:
    """One watch's waiting events. `lagging` means that some were dropped; `closed` that no more will come."""

    def __init__(self, prefix: str, previous: bool) -> None:
        self.prefix = prefix
        self.previous = previous
        self.lagging = False
        self.closed = False
        self.complete_before = 0
        """All the prefix's changes up to this revision have been taken."""
        self._events: list[Event] = []
        self._wake = asyncio.Event()

    def offer(self, events: Sequence[Event]) -> None:
        """Add a batch's events, those of the prefix."""
        if self.lagging:
            return
        prefix = self.prefix
        fitting = [event for event in events if event.kv.key.startswith(prefix)]
        if not fitting:
            if not self._events:
                self.complete_before = events[-1].kv.mod_revision
            return
        if len(self._events) + len(fitting) > MAX_WAITING or (self.previous and any(map(_lacks_previous, fitting))):
            self.lagging = True
            self._events = []
        else:
            self._events += fitting
        self._wake.set()

    def close(self) -> None:
        """End the watch."""
        self.closed = True
        self._wake.set()

    def restart(self) -> None:
        """Forget what waits and take events from now on."""
        self.lagging = False
        self._events = []

    async def take(self) -> list[Event]:
        """Wait for events and take all; empty when lagging or closed."""
        while not self._events and not self.lagging and not self.closed:
            self._wake.clear()
            await self._wake.wait()
        taken, self._events = self._events, []
        if taken:
            self.complete_before = taken[-1].kv.mod_revision
        return taken


def _lacks_previous(event: Event) -> bool:
    """Whether the earlier state exists but was not read: the batch was made before this watch came."""
    return event.previous is None and (event.type == "delete" or event.kv.create_revision != event.kv.mod_revision)


class Fanout:
    """All the subscriptions, and whether any of them wants previous states."""

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []
        self.wants_previous = False
        self._closed = False

    def subscribe(self, prefix: str, previous: bool) -> Subscription:
        """A new subscription, from now on."""
        subscription = Subscription(prefix, previous)
        subscription.closed = self._closed
        self._subscriptions.append(subscription)
        self._refresh()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget a subscription."""
        self._subscriptions.remove(subscription)
        self._refresh()

    def publish(self, events: Sequence[Event]) -> None:
        """Give a batch's events to all."""
        for subscription in self._subscriptions:
            subscription.offer(events)

    def close(self) -> None:
        """End every watch, present and future."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription.close()

    def _refresh(self) -> None:
        self.wants_previous = any(s.previous for s in self._subscriptions)
