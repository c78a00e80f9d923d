"""Where the source of a copy is, for drivers that serve one node each: the copy has to be made there.

The scheduler does not look at sources: it may have chosen a node that the source is not on.
"""

from __future__ import annotations

from collections.abc import Iterable

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Object, labels_of, name_of
from kumo.api.resources import NODES
from kumo.api.volume_claims import volume_name
from kumo.kubernetes.csi_controllers import topology
from kumo.kubernetes.csi_controllers.provisioner.decision import Failed
from kumo.kubernetes.csi_controllers.provisioner.sources import (
    CLAIMS,
    CONTENTS,
    SNAPSHOTS,
    VOLUMES,
    Source,
    source_of,
)
from kumo.kubernetes.csi_controllers.snapshotter import MANAGED_BY
from kumo.kubernetes.csi_controllers.tools import Tools


def node_of(volume: Object, nodes: Iterable[Object]) -> str:
    """The one node that a volume is to be had on; empty if there are none or several."""
    if not ((volume.get("spec") or {}).get("nodeAffinity") or {}).get("required"):
        return ""
    found = [name_of(n) for n in nodes if topology.is_accessible(volume, labels_of(n) or {"": ""})]
    return found[0] if len(found) == 1 else ""


async def home(tools: Tools, claim: Object) -> str:
    """The node that the claim's volume has to be made on, for the sake of its source; empty if that is not known."""
    if not tools.config.node:
        return ""
    try:
        source = source_of(claim)
        if source is None:
            return ""
        if source.is_snapshot:
            return await _of_snapshot(tools, source)
        return await _of_claim(tools, source) if source.is_claim else ""
    except Failed:
        return ""  # What is wrong is told when the volume is made.
    except StatusError as error:
        if is_not_found(error):
            return ""
        raise


async def _of_snapshot(tools: Tools, source: Source) -> str:
    snapshot = await tools.client.get(SNAPSHOTS, source.name, source.namespace)
    bound = (snapshot.get("status") or {}).get("boundVolumeSnapshotContentName")
    if not bound:
        return ""
    return labels_of(await tools.client.get(CONTENTS, bound)).get(MANAGED_BY, "")


async def _of_claim(tools: Tools, source: Source) -> str:
    origin = await tools.client.get(CLAIMS, source.name, source.namespace)
    if not volume_name(origin):
        return ""
    volume = await tools.client.get(VOLUMES, volume_name(origin))
    return node_of(volume, tools.informers.informer(NODES).objects())
