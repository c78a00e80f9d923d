"""All the controllers of one driver as one component."""

from __future__ import annotations

import asyncio
import uuid

import structlog

from kumo.host.csi.client import CsiClient
from kumo.kubernetes.csi_controllers.adoption import SnapshotAdoption
from kumo.kubernetes.csi_controllers.attacher import Attacher
from kumo.kubernetes.csi_controllers.capacity import CapacityPublisher
from kumo.kubernetes.csi_controllers.config import CsiControllersConfig
from kumo.kubernetes.csi_controllers.driver import facts_of
from kumo.kubernetes.csi_controllers.modifier import Modifier
from kumo.kubernetes.csi_controllers.provisioner.claims import ClaimProvisioner
from kumo.kubernetes.csi_controllers.provisioner.deletions import VolumeDeleter
from kumo.kubernetes.csi_controllers.provisioner.protection import CloneProtection
from kumo.kubernetes.csi_controllers.resizer.controller import Resizer
from kumo.kubernetes.csi_controllers.snapshotter import Snapshotter
from kumo.kubernetes.csi_controllers.tools import Tools
from kumo.machinery.client import Client
from kumo.machinery.controller import Component
from kumo.machinery.events import EventRecorder
from kumo.machinery.informer import Informers

_log = structlog.get_logger("kumo.csi-controllers")


class CsiControllers:
    """Waits for the driver, asks it what it can do, and runs the controllers that this calls for.

    `client` needs the rights that `rights.RULES` lists.
    """

    name = "csi-controllers"

    def __init__(self, config: CsiControllersConfig, client: Client) -> None:
        self._config = config
        self._client = client

    async def run(self) -> None:
        """Run until cancelled; it may be called again, and then asks the driver again."""
        async with CsiClient(self._config.socket) as csi:
            facts = await facts_of(csi, of_node=bool(self._config.node))
            _log.info("driver found", driver=facts.name, controller=sorted(facts.controller), node=self._config.node)
            # New ones: those of an earlier run would go on telling its controllers of every change.
            informers = Informers(self._client)
            tools = Tools(self._config, facts, csi, self._client, informers)
            async with asyncio.TaskGroup() as group:
                group.create_task(informers.run(), name="csi-informers")
                for component in self._components(tools):
                    group.create_task(component.run(), name=component.name)

    def _components(self, tools: Tools) -> list[Component]:
        able, driver = tools.facts.controller, tools.facts.name
        made: list[Component] = []
        if "CREATE_DELETE_VOLUME" in able:
            where = self._config.node or "controller"
            recorder = EventRecorder(self._client, f"{driver}_{where}_{uuid.uuid4()}")
            made += [ClaimProvisioner(tools, recorder), VolumeDeleter(tools, recorder)]
        if "CLONE_VOLUME" in able:
            made.append(CloneProtection(tools))
        if "GET_CAPACITY" in able:
            made.append(CapacityPublisher(tools))
        resizing = EventRecorder(self._client, f"external-resizer {driver}")
        if "EXPAND_VOLUME" in able or "EXPAND_VOLUME" in tools.facts.node:
            made.append(Resizer(tools, resizing))
        if "MODIFY_VOLUME" in able:
            made.append(Modifier(tools, resizing))
        if "CREATE_DELETE_SNAPSHOT" in able:
            made.append(Snapshotter(tools, EventRecorder(self._client, f"csi-snapshotter {driver}")))
        if self._config.node and "LIST_SNAPSHOTS" in able:
            made.append(SnapshotAdoption(tools))
        if not self._config.node or "PUBLISH_UNPUBLISH_VOLUME" in able:
            made.append(Attacher(tools))
        return made
