"""Several servers that are one to their clients: which one is asked, and which one when that fails. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable


class Servers:
    """URLs of servers, in the order in which they are tried; `current` is the one that is asked until it fails.

    Shared by the transports of a process, so that all of them turn to another server at once; `turned` is then called
    with the one that failed and the one that is asked from now on.
    """

    def __init__(
        self, first: str, others: Iterable[str] = (), turned: Callable[[str, str], None] | None = None
    ) -> None:
        self._turned = turned
        self._first = first.rstrip("/")
        self._urls = self._ordered(others)
        self.current = self._first

    def _ordered(self, others: Iterable[str]) -> list[str]:
        return list(dict.fromkeys([self._first, *(u.rstrip("/") for u in others)]))

    @property
    def urls(self) -> tuple[str, ...]:
        """All of them; the one that was named first is always among them."""
        return tuple(self._urls)

    def know(self, others: Iterable[str]) -> bool:
        """Take these beside the first for the servers that there are; whether that is new."""
        found = self._ordered(others)
        if found == self._urls:
            return False
        self._urls = found
        if self.current not in found:
            self.current = self._first
        return True

    def failed(self, url: str) -> bool:
        """The server did not answer: the next one is asked from now on, unless that has been turned to already.

        Whether there is another one to ask.
        """
        if url == self.current:
            self.current = self._urls[(self._urls.index(url) + 1) % len(self._urls)]
            if self._turned is not None and self.current != url:
                self._turned(url, self.current)
        return self.current != url
