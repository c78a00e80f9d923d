"""Files of settings that are followed: when one has changed, it is used at once."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from kumo.host.inotify import Inotify

_LOOK = 3600.0


def digest_of(path: Path) -> bytes:
    """What tells one content of the file from another; empty when it can't be read."""
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return b""


async def follow(path: Path, known: bytes, changed: Callable[[], Awaitable[None]]) -> None:
    """Call `changed` whenever the file has another content than before (`known` at first), until cancelled."""
    with Inotify() as inotify:
        inotify.watch(path.parent)
        while True:
            digest = digest_of(path)
            if digest != known:
                known = digest
                await changed()
            await inotify.wait(_LOOK)
            await asyncio.sleep(0)
