"""All of CSI on one node, put together: what the kubelet starts and the volume manager uses."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import structlog

from kumo.api.objects import Object, uid_of
from kumo.host import mounts
from kumo.host.csi.errors import CsiError
from kumo.kubernetes.kubelet.csi import calls
from kumo.kubernetes.kubelet.csi.attachment import Attachments
from kumo.kubernetes.kubelet.csi.csi_node import CsiNodeKeeper
from kumo.kubernetes.kubelet.csi.drivers import Drivers
from kumo.kubernetes.kubelet.csi.expansion import PERIOD, Expander
from kumo.kubernetes.kubelet.csi.handler import CsiHandler
from kumo.kubernetes.kubelet.csi.places import Places
from kumo.kubernetes.kubelet.csi.registration import PluginHandler, PluginWatcher
from kumo.kubernetes.kubelet.csi.specs import VolumeKey
from kumo.kubernetes.kubelet.csi.volumes import CSI_DRIVERS, CsiVolumes
from kumo.kubernetes.kubelet.node import NodeKeeper
from kumo.kubernetes.kubelet.references import References
from kumo.machinery.client import Client
from kumo.machinery.events import EventRecorder
from kumo.machinery.informer import Informer, Informers

_USUAL = Path("/var/lib/kubelet")
_RETRY = 5.0
_LOOK_AGAIN = 60.0
_log = structlog.get_logger("kumo.kubelet")


def plugin_root(directory: Path, usual: Path = _USUAL) -> Path:
    """The kubelet's folder as drivers are told it: `/var/lib/kubelet` where that is a link to it. Blocking.

    Published drivers mount `/var/lib/kubelet` of their node and know no other place; a node whose kubelet is elsewhere
    gets them to work by that link.
    """
    if usual.is_symlink() and os.path.realpath(usual) == os.path.realpath(directory):
        return usual
    return directory


class NodeStorage:
    """One node's. `plugins` may be given handlers for plugins of other types before `run`."""

    def __init__(
        self,
        directory: Path,
        node_name: str,
        client: Client,
        informers: Informers,
        nodes: Informer,
        node: NodeKeeper,
        references: References,
        recorder: EventRecorder,
        resync_seconds: float,
    ) -> None:
        """`nodes` holds this node's Node, `node` writes its status."""
        places = Places(plugin_root(directory))
        self._node_name = node_name
        self._node = node
        self._nodes = nodes
        self._drivers = Drivers()
        self.handler = CsiHandler(self._drivers, CsiNodeKeeper(client, node_name), os.path.exists)
        self.plugins: dict[str, PluginHandler] = {"CSIPlugin": self.handler}
        attachments = Attachments(client, node_name, nodes, node.write)
        node.volumes_in_use = attachments.in_use
        objects = informers.informer(CSI_DRIVERS)
        self.volumes = CsiVolumes(places, node_name, self._drivers, objects, attachments, references, recorder.event)
        self._expander = Expander(self.volumes, client, recorder, node_name, min(PERIOD, resync_seconds))
        self._left = self.volumes.load()

    async def run(self) -> None:
        """Run until cancelled. Volumes stay as they are."""
        await asyncio.to_thread(self._prepare)
        await self._node.registered.wait()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow_node(), name="csi node")
                group.create_task(PluginWatcher(self.volumes.places.registry, self.plugins).run(), name="plugins")
                group.create_task(self._expander.run(), name="volume expansion")
                group.create_task(self._ask_for_limits(), name="volume limits")
                for key in self._left:
                    group.create_task(self._unstage(key), name=f"unstage {key[1]}")
        finally:
            await self._drivers.close()

    def _prepare(self) -> None:
        """Drivers in containers stage below `plugins`: what they mount there has to show here."""
        plugins = self.volumes.places.root / "plugins"
        plugins.mkdir(parents=True, exist_ok=True, mode=0o750)
        mounts.make_shared(plugins)

    async def _follow_node(self) -> None:
        """Keep the CSINode, anew for each Node of this name."""
        uids: asyncio.Queue[str] = asyncio.Queue()
        seen = ""

        def changed(old: Object | None, new: Object | None) -> None:
            if new is not None:
                uids.put_nowait(uid_of(new))

        self._nodes.on_change(changed)
        while True:
            uid = await uids.get()
            if uid != seen:
                seen = uid
                await self.handler.tell_again()

    async def _ask_for_limits(self) -> None:
        """Ask drivers anew how many volumes they take, as often as their CSIDrivers say."""
        due: dict[str, float] = {}
        while True:
            now = asyncio.get_running_loop().time()
            periods = {n: calls.limit_period(self.volumes.object_of(n)) for n in self._drivers.names()}
            due = {n: due.get(n, now + p) for n, p in periods.items() if p}
            for name in [n for n, at in due.items() if at <= now]:
                await self.handler.ask_again(name)
                due[name] = now + periods[name]
            await asyncio.sleep(max(1.0, min([_LOOK_AGAIN, *(at - now for at in due.values())])))

    async def _unstage(self, key: VolumeKey) -> None:
        """End what an earlier kubelet began for pods that are gone."""
        while True:
            try:
                await self.volumes.unstage(key)
                return
            except (CsiError, OSError) as error:
                _log.info("a volume of no pod is still staged", driver=key[0], volume=key[1], error=str(error))
                await asyncio.sleep(_RETRY)
