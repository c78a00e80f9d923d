"""virt-controller as one component."""

from __future__ import annotations

import asyncio

from kumo.api.resources import CONTROLLERREVISIONS, VMS
from kumo.kubevirt.common.live_config import LiveConfig
from kumo.kubevirt.virt_controller.instance.controller import InstanceController
from kumo.kubevirt.virt_controller.launcher import LauncherConfig
from kumo.kubevirt.virt_controller.machine.controller import MachineController
from kumo.kubevirt.virt_controller.node import NodeController
from kumo.machinery.client import Client
from kumo.machinery.events import EventRecorder
from kumo.machinery.informer import Informers

NAME = "virt-controller"


class VirtController:
    """Runs the controllers of VMs, VMIs and nodes.

    `client` acts as `system:serviceaccount:kubevirt:kubevirt-controller`; the composition runs `informers`.
    """

    def __init__(self, client: Client, informers: Informers, launcher: LauncherConfig) -> None:
        self.name = NAME
        self._config = LiveConfig(informers)
        self._needed = (self._config.informer, informers.informer(VMS), informers.informer(CONTROLLERREVISIONS))
        machine_events = EventRecorder(client, "virtualmachine-controller")
        instance_events = EventRecorder(client, "virtualmachine-controller")
        node_events = EventRecorder(client, "node-controller")
        self._controllers = (
            MachineController(client, informers, machine_events, self._config).controller,
            InstanceController(client, informers, instance_events, self._config, launcher).controller,
            NodeController(client, informers, node_events).controller,
        )

    async def run(self) -> None:
        """Run until cancelled. Nothing is decided before settings, VMs and revisions are known."""
        for informer in self._needed:
            await informer.wait_synced()
        async with asyncio.TaskGroup() as group:
            for controller in self._controllers:
                group.create_task(controller.run(), name=controller.name)
