"""The driver as a component: serve, register, put in order what a killed one has left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from kumo.host import filesystems, loop, mounts
from kumo.host.csi import server
from kumo.host.csi.server import Handler
from kumo.host.csi.stubs import registration_pb2 as registration
from kumo.kubernetes.local_csi import backing
from kumo.kubernetes.local_csi.config import DRIVER, LocalCsiConfig
from kumo.kubernetes.local_csi.controller import Controller
from kumo.kubernetes.local_csi.identity import identity
from kumo.kubernetes.local_csi.library import Library
from kumo.kubernetes.local_csi.node import Node
from kumo.kubernetes.local_csi.snapshots import Snapshots
from kumo.kubernetes.local_csi.work import Turns

_RETRY_FIRST, _RETRY_LONGEST = 1.0, 60.0
_log = structlog.get_logger("kumo.local-csi")


class LocalCsi:
    """One node's driver. `serving` is set while calls are answered."""

    name = "local-csi"

    def __init__(self, config: LocalCsiConfig) -> None:
        self._config = config
        self._library = Library(config.directory)
        self._turns = Turns()
        self.serving = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled. Volumes that are in use stay so; while there can be no driver, the log says why."""
        delay = _RETRY_FIRST
        while True:
            try:
                await self._serve()
            except OSError as error:
                where = str(self._config.socket)
                _log.error("this node has no volumes of its own", socket=where, error=str(error), again_in=delay)
            await asyncio.sleep(delay)
            delay = min(delay * 2, _RETRY_LONGEST)

    async def _serve(self) -> None:
        config = self._config
        await asyncio.to_thread(self._put_in_order)
        abilities = await asyncio.to_thread(backing.look)
        controller = Controller(config, self._library, self._turns, abilities)
        services: dict[str, Mapping[str, Handler]] = {
            server.IDENTITY: identity(),
            server.CONTROLLER: {
                **controller.methods(),
                **Snapshots(config, self._library, self._turns).methods(),
            },
            server.NODE: Node(config, self._library, self._turns, abilities).methods(),
        }
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(server.serving(config.socket, services))
            if config.registration is not None:
                methods = {server.REGISTRATION: self._registration()}
                await stack.enter_async_context(server.serving(config.registration, methods))
            self.serving.set()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self.serving.clear()
        await self._turns.finish()

    def _put_in_order(self) -> None:
        """Thaw what was frozen, drop what was half made, and let devices go that show nothing any more."""
        self._config.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        devices = loop.attached_below(self._config.directory)
        names = {str(d) for d in devices}
        mounted = [m for m in mounts.mount_points() if m.source in names]
        for point in mounted:
            if filesystems.thaw(Path(point.path)):
                _log.warning("thawed a file system", path=point.path)
        self._library.load()
        known = {str(self._library.volumes.data(r.id)): r for r in self._library.volumes.all()}
        busy = {m.source for m in mounted}
        for device, backing_file in devices.items():
            record = known.get(backing_file)
            # A block volume's device may be a pod's; the others' are held by their mounts, or by nobody.
            if record is None or (not record.block and str(device) not in busy):
                _log.warning("letting a loop device go", device=str(device), file=backing_file)
                with contextlib.suppress(OSError):
                    loop.detach(device)

    def _registration(self) -> Mapping[str, Handler]:
        async def info(_: Any) -> Any:
            return registration.PluginInfo(
                type="CSIPlugin", name=DRIVER, endpoint=str(self._config.socket), supported_versions=["1.0.0"]
            )

        async def notified(request: Any) -> Any:
            if request.plugin_registered:
                _log.info("the kubelet knows the driver")
            else:
                _log.error("the kubelet refused the driver", error=request.error)
            return registration.RegistrationStatusResponse()

        return {"GetInfo": info, "NotifyRegistrationStatus": notified}
