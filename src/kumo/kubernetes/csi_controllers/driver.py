"""The driver, as its controllers see it: who it is, what it can do, where it is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from kumo.host.csi.client import CsiClient, capability_names
from kumo.host.csi.errors import CsiError
from kumo.host.csi.stubs import csi_pb2 as pb

_log = structlog.get_logger("kumo.csi-controllers")


@dataclass(frozen=True, slots=True)
class DriverFacts:
    """A driver's name and what it can do: capabilities of the plugin, its controller and its node, by CSI's names.

    `topology`: where the driver's own node is, known only when the driver serves one node.
    """

    name: str
    plugin: frozenset[str] = frozenset()
    controller: frozenset[str] = frozenset()
    node: frozenset[str] = frozenset()
    topology: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_topology(self) -> bool:
        """Whether its volumes are not to be had everywhere."""
        return "VOLUME_ACCESSIBILITY_CONSTRAINTS" in self.plugin

    @property
    def many_writers(self) -> bool:
        """Whether it tells apart volumes for one pod and volumes for one node."""
        return "SINGLE_NODE_MULTI_WRITER" in self.controller


async def facts_of(client: CsiClient, *, of_node: bool) -> DriverFacts:
    """Ask the driver, as soon as it answers and says that it is ready. Never raises, but may wait for ever."""
    delay = 0.05
    while True:
        try:
            probe = await client.identity.probe(pb.ProbeRequest(), timeout=10.0)
            if not probe.HasField("ready") or probe.ready.value:
                return await _ask(client, of_node=of_node)
        except CsiError as error:
            _log.debug("the driver does not answer yet", socket=client.socket, error=error.wire)
        await asyncio.sleep(delay)
        delay = min(delay * 2, 2.0)


async def _ask(client: CsiClient, *, of_node: bool) -> DriverFacts:
    info = await client.identity.info(pb.GetPluginInfoRequest())
    plugin = capability_names(await client.identity.capabilities(pb.GetPluginCapabilitiesRequest()))
    controller: frozenset[str] = frozenset()
    if "CONTROLLER_SERVICE" in plugin:
        controller = capability_names(await client.controller.capabilities(pb.ControllerGetCapabilitiesRequest()))
    try:
        node = capability_names(await client.node.capabilities(pb.NodeGetCapabilitiesRequest()))
    except CsiError as error:
        if error.code != "UNIMPLEMENTED":
            raise
        node = frozenset()
    topology: dict[str, str] = {}
    if of_node:
        topology = dict((await client.node.info(pb.NodeGetInfoRequest())).accessible_topology.segments)
    return DriverFacts(info.name, plugin, controller, node, topology)
