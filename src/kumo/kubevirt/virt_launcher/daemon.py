"""libvirtd as a child process, and the connection to it; both are made again when the daemon dies.

A guest outlives its libvirtd: the next one finds the running QEMU by the files in its runtime directory.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import libvirt

from kumo.host import libvirt_guest
from kumo.kubevirt.virt_launcher.children import Children
from kumo.kubevirt.virt_launcher.log import say

_CONNECT_TIMEOUT = 60.0
_CONNECT_INTERVAL = 0.01
_RESTART_DELAY = 1.0
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class DaemonFailed(Exception):
    """libvirtd does not come up; its own words are in the pod's log."""


class Daemon:
    """Runs libvirtd and holds the connection. `on_connect` is called with every new connection."""

    def __init__(
        self, children: Children, paths: libvirt_guest.SessionPaths, on_connect: Callable[[Any], None]
    ) -> None:
        self._children = children
        self._paths = paths
        self._on_connect = on_connect
        self._ready = threading.Event()
        self._connection: Any = None
        self._running = False

    def start(self) -> None:
        """Start libvirtd and connect, in a thread. `connection` waits for it."""
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=_run_events, name="libvirt events", daemon=True).start()
        self._spawn()
        threading.Thread(target=self._connect, name="libvirt connect", daemon=True).start()

    @property
    def connection(self) -> Any:
        """The open connection. Raises DaemonFailed when there is none after a minute."""
        if not self._ready.wait(_CONNECT_TIMEOUT):
            raise DaemonFailed("libvirtd did not become ready within a minute")
        return self._connection

    def _spawn(self) -> None:
        self._running = True
        environment = {**self._paths.environment, "PATH": _PATH, "LC_ALL": "C.UTF-8"}
        pid = self._children.start(libvirt_guest.argv(self._paths), environment, self._exited, own_session=True)
        say("started libvirtd", pid=pid)

    def _exited(self, code: int) -> None:
        self._running = False
        self._ready.clear()
        say("libvirtd ended, starting it again", code=code)
        threading.Thread(target=self._restart, name="libvirt restart", daemon=True).start()

    def _restart(self) -> None:
        time.sleep(_RESTART_DELAY)
        self._spawn()
        self._connect()

    def _connect(self) -> None:
        # The daemon has no means to tell that its socket is open (it is not started by systemd): ask until it answers.
        deadline = time.monotonic() + _CONNECT_TIMEOUT
        while self._running and time.monotonic() < deadline:
            try:
                self._connection = libvirt.open(self._paths.uri)
            except libvirt.libvirtError:
                time.sleep(_CONNECT_INTERVAL)
                continue
            self._on_connect(self._connection)
            self._ready.set()
            return


def _run_events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()
