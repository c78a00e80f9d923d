"""A server's TLS that follows its files: a new connection meets the newest certificate, key and CA."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from kumo.machinery.tls import KeyPair, server_context

_log = structlog.get_logger("kumo.tls")


class RotatingContext(ssl.SSLContext):
    """A context that is made anew when one of its files has changed, which it looks for as connections come.

    Connections that are open keep what they began with. Files that can't be used (half of a pair, say) change nothing
    until they can. Give it to a listener as `tls`.
    """

    _files: tuple[Path, ...]
    _make: Callable[[], ssl.SSLContext]
    _current: ssl.SSLContext
    _state: tuple[tuple[int, int, int], ...]
    """What the files were like when they were looked at last, usable or not."""

    @classmethod
    def of(cls, pair: KeyPair, *client_cas: Path, require_client: bool = False) -> RotatingContext:
        """What `server_context` makes, kept up to date; clients' certificates may be of any of the CAs."""

        def make() -> ssl.SSLContext:
            context = server_context(pair, client_cas[0] if client_cas else None, require_client=require_client)
            for bundle in client_cas[1:]:
                context.load_verify_locations(cafile=str(bundle))
            return context

        found = cls(ssl.PROTOCOL_TLS_SERVER)
        found._files = (pair.cert, pair.key, *client_cas)
        found._make = make
        found._state = found._look()
        found._current = found._make()
        return found

    def _look(self) -> tuple[tuple[int, int, int], ...]:
        states = []
        for path in self._files:
            try:
                found = path.stat()
            except OSError:
                states.append((0, 0, 0))
            else:
                states.append((found.st_ino, found.st_mtime_ns, found.st_size))
        return tuple(states)

    def _refresh(self) -> ssl.SSLContext:
        """The newest context. A look at the files is a thousandth of a handshake: each connection is worth one."""
        state = self._look()
        if state != self._state:
            self._state = state
            try:
                self._current = self._make()
            except (OSError, ssl.SSLError) as error:
                _log.error("the changed certificate is not used", files=str(self._files[0]), error=str(error))
            else:
                _log.info("new connections get the changed certificate", file=str(self._files[0]))
        return self._current

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """The TLS of a new connection (asyncio and uvloop begin each with it)."""
        return self._refresh().wrap_bio(*args, **options)

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        """The TLS of a new connection (our listener begins each with it)."""
        return self._refresh().wrap_socket(*args, **options)
