"""The Controller service: snapshots, which are copies of volumes at one moment (sharing blocks where the disk can)."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from kumo.host.csi.errors import CsiError
from kumo.host.csi.server import Handler
from kumo.host.csi.stubs import csi_pb2 as pb
from kumo.kubernetes.local_csi import backing, requests
from kumo.kubernetes.local_csi.config import LocalCsiConfig
from kumo.kubernetes.local_csi.library import Library
from kumo.kubernetes.local_csi.records import IMAGE, SnapshotRecord
from kumo.kubernetes.local_csi.work import Turns


class Snapshots:
    """Answers for the snapshots of one node's volumes."""

    def __init__(self, config: LocalCsiConfig, library: Library, turns: Turns) -> None:
        self._config = config
        self._library = library
        self._turns = turns

    def methods(self) -> Mapping[str, Handler]:
        """The methods of the service that are about snapshots."""
        return {
            "CreateSnapshot": self._create,
            "DeleteSnapshot": self._delete,
            "ListSnapshots": self._list,
            "GetSnapshot": self._get,
        }

    async def _create(self, request: Any) -> Any:
        name = requests.name_of(request.name, "Name")
        volume = requests.need(request.source_volume_id, "Source volume ID")
        for key in request.parameters:
            if not key.startswith("csi.storage.k8s.io/"):
                raise CsiError("INVALID_ARGUMENT", f'unknown parameter "{key}": snapshots have none')
        return await self._turns.run(
            f"snapshot {name}", lambda: self._turns.run(volume, lambda: self._made(name, volume))
        )

    async def _made(self, name: str, volume: str) -> Any:
        found = self._library.snapshots.named(name)
        if found is not None:
            if found.volume != volume:
                raise CsiError("ALREADY_EXISTS", f"there is a snapshot named {name}, of volume {found.volume}")
            return pb.CreateSnapshotResponse(snapshot=describe(found))
        source = self._library.volumes.get(volume)
        if source is None:
            raise CsiError("NOT_FOUND", f"there is no volume {volume} on node {self._config.node_name}")
        record = SnapshotRecord(
            id=f"{uuid.uuid4().hex}@{self._config.place}",
            name=name,
            volume=volume,
            size=source.capacity,
            created=time.time(),
            block=source.block,
            fs_type=source.fs_type,
            backing=source.backing,
        )
        data = self._library.volumes.data(volume)

        def copy() -> None:
            taken = data.stat().st_blocks * 512 if source.backing == IMAGE else 0
            with self._library.promised(taken) as enough:
                if not enough:
                    free = self._library.available()
                    raise CsiError("RESOURCE_EXHAUSTED", f"{taken} bytes wanted, {free} are free on this node")
                self._library.snapshots.add(record, fill)

        def fill(target: Path) -> None:
            backing.snapshot_of(data, backing.mounted_at(data), target)

        await asyncio.to_thread(copy)
        return pb.CreateSnapshotResponse(snapshot=describe(record))

    async def _delete(self, request: Any) -> Any:
        identity = requests.need(request.snapshot_id, "Snapshot ID")

        async def work() -> Any:
            if self._library.snapshots.get(identity) is not None:
                await asyncio.to_thread(self._library.snapshots.remove, identity)
                return pb.DeleteSnapshotResponse()
            _, mark, place = identity.rpartition("@")
            if mark and place != self._config.place:
                raise CsiError("FAILED_PRECONDITION", f"snapshot {identity} is on node {place}")
            return pb.DeleteSnapshotResponse()

        return await self._turns.run(identity, work)

    async def _list(self, request: Any) -> Any:
        known = {
            r.id: r
            for r in self._library.snapshots.all()
            if request.snapshot_id in ("", r.id) and request.source_volume_id in ("", r.volume)
        }
        ids, token = requests.page(sorted(known), request.max_entries, request.starting_token)
        entries = [pb.ListSnapshotsResponse.Entry(snapshot=describe(known[i])) for i in ids]
        return pb.ListSnapshotsResponse(entries=entries, next_token=token)

    async def _get(self, request: Any) -> Any:
        identity = requests.need(request.snapshot_id, "Snapshot ID")
        found = self._library.snapshots.get(identity)
        if found is None:
            raise CsiError("NOT_FOUND", f"there is no snapshot {identity} on node {self._config.node_name}")
        return pb.GetSnapshotResponse(snapshot=describe(found))


def describe(record: SnapshotRecord) -> Any:
    """The record as CSI's Snapshot."""
    created = Timestamp()
    created.FromNanoseconds(round(record.created * 1e9))
    return pb.Snapshot(
        snapshot_id=record.id,
        source_volume_id=record.volume,
        size_bytes=record.size,
        creation_time=created,
        ready_to_use=True,
    )
