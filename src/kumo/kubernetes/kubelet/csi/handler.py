"""Takes in CSI drivers: asks what they say of this node, tells the cluster, and lets the volume manager have them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from kumo.api.errors import StatusError
from kumo.host.csi.errors import CsiError
from kumo.host.csi.stubs import csi_pb2 as pb
from kumo.kubernetes.kubelet.csi.csi_node import Collision, CsiNodeKeeper, DriverInfo
from kumo.kubernetes.kubelet.csi.drivers import Driver, Drivers
from kumo.kubernetes.kubelet.csi.registration import Refused, highest_version

_RETRY_FIRST, _RETRY_LAST = 0.5, 120.0
_log = structlog.get_logger("kumo.kubelet")


class CsiHandler:
    """The handler of plugins of type CSIPlugin."""

    def __init__(self, drivers: Drivers, keeper: CsiNodeKeeper, exists: Callable[[str], bool]) -> None:
        """`exists` says whether a path is there still: a driver's own registrar may have been replaced meanwhile."""
        self._drivers = drivers
        self._keeper = keeper
        self._exists = exists
        self._infos: dict[str, DriverInfo] = {}
        self._telling: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """Who tells the cluster of a driver, that it has come or gone, does so alone."""

    async def register(self, name: str, endpoint: str, versions: Sequence[str]) -> None:
        """Take in a driver. Raises Refused."""
        if not name:
            raise Refused("the plugin has no name")
        version = highest_version(versions)
        if version is None:
            listed = " ".join(f'"{v}"' for v in versions)
            raise Refused(f"{_failed(name)} None of the versions specified [{listed}] are supported")
        known = self._drivers.get(name)
        if known and known.version >= version and known.endpoint != endpoint and self._exists(known.endpoint):
            other = ".".join(map(str, known.version))
            raise Refused(
                f"{_failed(name)} Another driver with the same name is already registered "
                f'with a higher supported version: "{other}"'
            )
        driver = Driver(name, endpoint, version)
        try:
            info = await _asked(driver)
            if not info.node_id:
                raise Refused("error adding CSI driver node info: driverNodeID must not be empty")
            async with self._telling[name]:
                await self._keeper.install(info)
                self._infos[name] = info
                await self._drivers.add(driver)
        except CsiError as error:
            await driver.client.close()
            raise Refused(error.wire) from error
        except (StatusError, Collision, ConnectionError, OSError, TimeoutError) as error:
            await driver.client.close()
            raise Refused(f"error updating CSINode object with CSI driver node info: {error}") from error
        except Refused:
            await driver.client.close()
            raise

    async def unregister(self, name: str, endpoint: str) -> None:
        """A driver has gone. Returns once the cluster knows that, or the driver has come back."""
        found = self._drivers.get(name)
        if found is None or found.endpoint != endpoint:
            return
        await self._drivers.remove(name, endpoint)
        self._infos.pop(name, None)
        delay = _RETRY_FIRST
        while self._drivers.get(name) is None:
            try:
                async with self._telling[name]:
                    if self._drivers.get(name) is None:
                        await self._keeper.uninstall(name)
                return
            except (StatusError, ConnectionError, OSError, TimeoutError) as error:
                _log.warning("the CSINode still names a driver that has gone", driver=name, error=str(error))
            await asyncio.sleep(delay)
            delay = min(delay * 2, _RETRY_LAST)

    async def ask_again(self, name: str) -> None:
        """Ask a driver anew what it says of this node: how many volumes it takes may have changed."""
        driver, known = self._drivers.get(name), self._infos.get(name)
        if driver is None or known is None:
            return
        try:
            info = await _asked(driver)
            if info.max_volumes != known.max_volumes:
                self._infos[name] = replace(known, max_volumes=info.max_volumes)
                await self._keeper.install(self._infos[name])
        except (CsiError, StatusError, Collision, ConnectionError, OSError, TimeoutError) as error:
            _log.info("the driver's limit is not known anew", driver=name, error=str(error))

    async def tell_again(self) -> None:
        """The Node was made anew: so are its CSINode and labels. Tries until it is done."""
        while True:
            try:
                await self._keeper.begin()
                for info in list(self._infos.values()):
                    await self._keeper.install(info)
                return
            except (StatusError, Collision, ConnectionError, OSError, TimeoutError) as error:
                _log.info("CSINode not written", error=str(error))
                await asyncio.sleep(0.5)


async def _asked(driver: Driver) -> DriverInfo:
    answer = await driver.client.node.info(pb.NodeGetInfoRequest())
    topology = dict(answer.accessible_topology.segments)
    return DriverInfo(driver.name, answer.node_id, answer.max_volumes_per_node, topology)


def _failed(name: str) -> str:
    return f'RegisterPlugin for CSI driver "{name}" failed.'
