"""Which node makes a volume that no pod waits for (Immediate binding): the first that offers itself and has room."""

from __future__ import annotations

import asyncio
import random

from kumo.api.errors import StatusError, is_conflict, is_not_found
from kumo.api.objects import Object, name_of, namespace_of
from kumo.api.resources import core
from kumo.api.volume_claims import SELECTED_NODE
from kumo.host.csi.errors import CsiError
from kumo.host.csi.stubs import csi_pb2 as pb
from kumo.kubernetes.csi_controllers import secrets, topology, volumes
from kumo.kubernetes.csi_controllers.provisioner.decision import Failed
from kumo.kubernetes.csi_controllers.tools import Tools

CLAIMS = core("persistentvolumeclaims")
_HESITATION = 0.2
"""The most seconds that a node waits before it offers itself, so that not all write at once."""


def may_be_here(tools: Tools, storage_class: Object) -> bool:
    """Whether the class's `allowedTopologies` let its volumes be on the driver's node."""
    allowed = topology.flatten(storage_class.get("allowedTopologies") or ())
    if not allowed or not tools.facts.has_topology:
        return True
    return any(place.items() <= dict(tools.facts.topology).items() for place in allowed)


async def has_room(tools: Tools, claim: Object, storage_class: Object) -> bool:
    """Whether the driver says that it has room for the claim here; a driver that can't say is taken to have."""
    if "GET_CAPACITY" not in tools.facts.controller:
        return True
    try:
        parameters = secrets.driver_parameters(storage_class.get("parameters") or {})
    except secrets.SecretError:
        return True  # Let it be tried, so that the trouble is told.
    request = pb.GetCapacityRequest(parameters=parameters)
    if tools.facts.topology:
        request.accessible_topology.CopyFrom(volumes.topology(tools.facts.topology))
    try:
        answer = await tools.csi.controller.capacity(request, tools.config.timeout)
    except CsiError:
        return True
    return answer.available_capacity >= volumes.size(claim, "spec", "resources", "requests")


async def offer(tools: Tools, claim: Object, storage_class: Object, home: str) -> None:
    """Choose this node for the claim unless another was faster. Raises Failed when there is no room now.

    `home`: the node that its source is on, if it has one.
    """
    if home not in ("", tools.config.node) or not may_be_here(tools, storage_class):
        return
    if not await has_room(tools, claim, storage_class):
        raise Failed(f"not enough free storage on node {tools.config.node}")
    await asyncio.sleep(random.uniform(0.0, _HESITATION))
    await select(tools, claim, tools.config.node)


async def select(tools: Tools, claim: Object, node: str) -> None:
    """Choose a node for the claim as it was seen; nothing happens if somebody has changed it since."""
    meta = {"annotations": {SELECTED_NODE: node}, "resourceVersion": claim["metadata"]["resourceVersion"]}
    try:
        await tools.client.patch(CLAIMS, name_of(claim), {"metadata": meta}, namespace_of(claim))
    except StatusError as error:
        if not (is_conflict(error) or is_not_found(error)):
            raise
