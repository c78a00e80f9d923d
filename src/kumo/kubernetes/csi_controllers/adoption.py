"""Snapshots that were there before their VolumeSnapshotContent, where each node has a driver of its own.

Such a content does not say on which node its snapshot is. The node whose driver knows the snapshot says it is there.
"""

from __future__ import annotations

import structlog

from kumo.api.errors import StatusError, is_conflict, is_not_found
from kumo.api.objects import Key, Object, is_deleting, name_of
from kumo.host.csi.errors import CsiError
from kumo.host.csi.stubs import csi_pb2 as pb
from kumo.kubernetes.csi_controllers.snapshotter import CONTENTS, MANAGED_BY
from kumo.kubernetes.csi_controllers.tools import Tools
from kumo.machinery.controller import Controller

_AGAIN = 60.0
"""Seconds after which the driver is asked again for a snapshot that it does not know."""
_log = structlog.get_logger("kumo.csi-snapshotter")


def is_homeless(content: Object, driver: str) -> bool:
    """Whether the content stands for a snapshot of the driver that was given, for whoever has it."""
    spec = content.get("spec") or {}
    given = (spec.get("source") or {}).get("snapshotHandle")
    return bool(given) and spec.get("driver") == driver and not is_deleting(content)


class SnapshotAdoption:
    """Marks contents whose snapshots this node's driver has as this node's."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self.name = f"{tools.facts.name}-snapshot-adoption"
        self._contents = tools.informers.informer(CONTENTS, label_selector=f"!{MANAGED_BY}")
        self._controller = Controller(self.name, self._reconcile, workers=1)
        self._controller.watch(self._contents)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    async def _reconcile(self, key: Key) -> float | None:
        content = self._contents.get_key(key)
        if content is None or not is_homeless(content, self._tools.facts.name):
            return None
        request = pb.ListSnapshotsRequest(snapshot_id=content["spec"]["source"]["snapshotHandle"])
        try:
            answer = await self._tools.csi.controller.list_snapshots(request, self._tools.config.timeout)
        except CsiError as error:
            _log.info("the driver does not say whether it has a snapshot", content=key.name, why=error.wire)
            return _AGAIN
        if not answer.entries:
            return _AGAIN
        labels = {MANAGED_BY: self._tools.config.node}
        meta = {"labels": labels, "resourceVersion": content["metadata"]["resourceVersion"]}
        try:
            await self._tools.client.patch(CONTENTS, name_of(content), {"metadata": meta})
        except StatusError as error:
            if not (is_conflict(error) or is_not_found(error)):
                raise
        return None
