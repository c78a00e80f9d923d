"""What virt-handler holds of one machine: the launcher's connection, the domain's last state, what the guest said.

All of it can be lost: the launcher tells its state to whoever connects, and the little that nobody could tell again -
how the pod's interface looked before the guest took it over - is kept in a file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from kumo.api.objects import Key
from kumo.host.inotify import Inotify
from kumo.kubevirt.common import launcher_contract as contract
from kumo.kubevirt.virt_handler.launcher_client import LauncherClient, LauncherGone, connect
from kumo.kubevirt.virt_handler.network.plan import PodInterface
from kumo.machinery.files import write_file

_GREETING_TIMEOUT = 10.0
_SETTLE = 0.1
_SOCKET = contract.LAUNCHER_SOCKET.rpartition("/")[2]


class Machine:
    """One VMI on this node. `changed` is called whenever there is something new to reconcile."""

    def __init__(
        self, key: Key, uid: str, pod_uid: str, sockets: Path, record: Path, changed: Callable[[], None]
    ) -> None:
        self.key = key
        self.uid = uid
        self.pod_uid = pod_uid
        self.domain: dict[str, Any] | None = None
        self.agent: dict[str, Any] = {}
        self.agent_asked = 0.0
        self.sizes: dict[str, int] = {}
        """Bytes of the images that were made for its volumes, by name; empty when an earlier virt-handler made them."""
        self.events: set[str] = set()
        """Messages of events that are recorded once."""
        self.failures = 0
        """Attempts to start the domain that failed in a row."""
        self._sockets = sockets
        self._record = record
        self._changed = changed
        self._client: LauncherClient | None = None
        self._greeted = asyncio.Event()
        self._interface: PodInterface | None = None

    # -- the launcher -----------------------------------------------------------------------------------------------

    async def client(self) -> LauncherClient:
        """The connection, made if need be; its state is known then. Raises LauncherGone."""
        if self._client is None or not self._client.is_open:
            self._greeted.clear()
            self._client = await connect(self._sockets, _SOCKET, self._on_event, self._changed)
            try:
                async with asyncio.timeout(_GREETING_TIMEOUT):
                    await self._greeted.wait()
            except TimeoutError:
                await self.close()
                raise LauncherGone("the launcher does not greet") from None
        return self._client

    @property
    def connected(self) -> LauncherClient | None:
        """The open connection, if there is one."""
        return self._client if self._client is not None and self._client.is_open else None

    async def appearance(self, timeout: float) -> None:
        """Wait until the launcher's socket appears, at most `timeout` seconds. Raises OSError without its directory."""
        with Inotify() as notify:
            notify.watch(self._sockets)
            if (self._sockets / _SOCKET).exists():
                # It came this very moment, or nobody listens on it any more: a short time tells.
                timeout = _SETTLE
            await notify.wait(timeout)

    async def close(self) -> None:
        """Let go of the launcher; it and its guest run on."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _on_event(self, event: dict[str, Any]) -> None:
        if event.get("event") == "domain":
            was_connected = bool((self.domain or {}).get("agentConnected"))
            self.domain = event["domain"]
            if not event["domain"].get("agentConnected"):
                self.agent = {}
            elif not was_connected:
                self.agent_asked = 0.0
            self._greeted.set()
            self._changed()

    # -- the record -------------------------------------------------------------------------------------------------

    def interface(self) -> PodInterface | None:
        """How the pod's interface looked before it was changed; None if it has not been. Blocks at the first call."""
        if self._interface is None and self._record.exists():
            body = msgspec.json.decode(self._record.read_bytes())
            body["routes"] = tuple((d, p, g) for d, p, g in body["routes"])
            self._interface = PodInterface(**body)
        return self._interface

    def remember(self, interface: PodInterface) -> None:
        """Keep that; written before anything is changed. Blocks."""
        write_file(self._record, msgspec.json.encode(asdict(interface)))
        self._interface = interface

    def forget(self) -> None:
        """The VMI is gone: remove the record. Blocks."""
        self._record.unlink(missing_ok=True)
