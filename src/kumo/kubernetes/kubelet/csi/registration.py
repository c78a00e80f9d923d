"""Plugins that make themselves known: each puts a socket into the folder `plugins_registry` and is asked who it is.

A socket that goes takes its plugin with it; one that is made anew is asked anew. Only CSI drivers are known here.
Upstream: `pkg/kubelet/pluginmanager`, `RegistrationHandler` of `pkg/volume/csi`.
"""

from __future__ import annotations

import asyncio
import contextlib
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import structlog

from kumo.host.csi.client import RegistrationClient
from kumo.host.csi.errors import CsiError
from kumo.host.csi.stubs import registration_pb2 as registration
from kumo.host.inotify import Inotify

_log = structlog.get_logger("kumo.kubelet")
_TIMEOUT = 10.0
_LOOK_AGAIN = 30.0
"""Seconds until the folder is looked at although nothing was told."""
_RETRY_FIRST, _RETRY_LAST = 0.5, 120.0


class Refused(Exception):
    """A plugin can't be registered; it is told why."""


class PluginHandler(Protocol):
    """Takes in plugins of one type."""

    async def register(self, name: str, endpoint: str, versions: Sequence[str]) -> None:
        """Take it in. Raises Refused."""

    async def unregister(self, name: str, endpoint: str) -> None:
        """It has gone."""


class _Socket(NamedTuple):
    path: Path
    inode: int
    made: int


@dataclass(slots=True)
class _Plugin:
    kind: str = ""
    name: str = ""
    endpoint: str = ""
    registered: bool = False
    attempts: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Its socket has gone."""
    replaced: bool = False
    """Another socket of that name has come for it."""


class PluginWatcher:
    """Watches the folder. `handlers`: plugin type -> who takes it in."""

    def __init__(self, folder: Path, handlers: Mapping[str, PluginHandler]) -> None:
        self._folder = folder
        self._handlers = handlers
        self._plugins: dict[_Socket, _Plugin] = {}

    async def run(self) -> None:
        """Watch until cancelled."""
        await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True, mode=0o750)
        async with asyncio.TaskGroup() as group:
            await self._watch(group)

    async def _watch(self, group: asyncio.TaskGroup) -> None:
        with Inotify() as notes:
            watched: set[Path] = set()
            while True:
                folders, found = await asyncio.to_thread(look, self._folder)
                while folders - watched:
                    for folder in folders - watched:
                        with contextlib.suppress(OSError):
                            notes.watch(folder, removals=True)
                    watched = folders
                    # What came before the watch did.
                    folders, found = await asyncio.to_thread(look, self._folder)
                watched = folders
                for socket in [s for s in self._plugins if s not in found]:
                    plugin = self._plugins.pop(socket)
                    # Made anew under the same name: registering replaces it.
                    plugin.replaced = any(s.path == socket.path for s in found)
                    plugin.gone.set()
                for socket in found - self._plugins.keys():
                    plugin = self._plugins[socket] = _Plugin()
                    group.create_task(self._keep(socket, plugin), name=f"plugin {socket.path.name}")
                await notes.wait(_LOOK_AGAIN)

    async def _keep(self, socket: _Socket, plugin: _Plugin) -> None:
        """Take a plugin in, again until that works, and let go of it when its socket has gone."""
        while not plugin.gone.is_set():
            delay = await self._register(socket, plugin)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await plugin.gone.wait()
        if plugin.registered and not plugin.replaced:
            _log.info("plugin has gone", plugin=plugin.name, socket=str(socket.path))
            await self._handlers[plugin.kind].unregister(plugin.name, plugin.endpoint)

    async def _register(self, socket: _Socket, plugin: _Plugin) -> float | None:
        """Seconds until it is to be tried again, None if it worked."""
        try:
            async with RegistrationClient(str(socket.path)) as client:
                info = await client.info(registration.InfoRequest(), timeout=_TIMEOUT)
                error = await self._take_in(socket, plugin, info)
                status = registration.RegistrationStatus(plugin_registered=not error, error=error)
                with contextlib.suppress(CsiError):
                    await client.notify(status, timeout=_TIMEOUT)
        except CsiError as failed:
            error = failed.wire
        plugin.registered = not error
        if not error:
            _log.info("plugin registered", plugin=plugin.name, kind=plugin.kind, endpoint=plugin.endpoint)
            return None
        delay: float = min(_RETRY_FIRST * 2 ** min(plugin.attempts, 30), _RETRY_LAST)
        plugin.attempts += 1
        _log.info("plugin not registered", socket=str(socket.path), error=error, retry=delay)
        return delay

    async def _take_in(self, socket: _Socket, plugin: _Plugin, info: Any) -> str:
        """Why it can't be taken in; empty if it was."""
        handler = self._handlers.get(info.type)
        if handler is None:
            return f"RegisterPlugin error -- no handler registered for plugin type: {info.type} at socket {socket.path}"
        plugin.kind, plugin.name, plugin.endpoint = info.type, info.name, info.endpoint or str(socket.path)
        try:
            await handler.register(plugin.name, plugin.endpoint, list(info.supported_versions))
        except Refused as error:
            return f"RegisterPlugin error -- plugin registration failed with err: {error}"
        return ""


def look(folder: Path) -> tuple[set[Path], set[_Socket]]:
    """The folders at and below `folder`, and the sockets in them; names that begin with a dot are skipped. Blocking."""
    folders, sockets = {folder}, set()
    todo = [folder]
    while todo:
        here = todo.pop()
        try:
            entries = list(here.iterdir())
        except OSError:
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            with contextlib.suppress(OSError):
                shape = entry.lstat()
                if stat.S_ISDIR(shape.st_mode):
                    folders.add(entry)
                    todo.append(entry)
                elif stat.S_ISSOCK(shape.st_mode):
                    sockets.add(_Socket(entry, shape.st_ino, shape.st_ctime_ns))
    return folders, sockets


def highest_version(versions: Sequence[str]) -> tuple[int, ...] | None:
    """The highest of the versions (`1.0.0`, `v1`) that is supported: those of CSI 1; None if there is none."""
    found = []
    for text in versions:
        try:
            numbers = tuple(int(p) for p in text.strip().removeprefix("v").split("."))
        except ValueError:
            continue
        if numbers and numbers[0] == 1:
            found.append((*numbers, 0, 0)[:3])
    return max(found, default=None)
