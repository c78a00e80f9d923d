"""The node's own driver over its socket: every call with what is missing or wrong, then what it is for, and a kill."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from kumo.host import filesystems, loop, mounts
from kumo.host.csi.client import CsiClient, Method, RegistrationClient, capability_names
from kumo.host.csi.errors import CsiError
from kumo.host.csi.stubs import csi_pb2 as pb
from kumo.host.csi.stubs import registration_pb2 as registration
from kumo.kubernetes.local_csi.component import LocalCsi
from kumo.kubernetes.local_csi.config import DRIVER, TOPOLOGY, LocalCsiConfig
from kumo.kubernetes.local_csi.library import Library, discard
from kumo.kubernetes.local_csi.records import VolumeRecord

pytestmark = pytest.mark.component
MIB = 1 << 20


def use(mode: str = "SINGLE_NODE_WRITER", *, block: bool = False, fs_type: str = "") -> Any:
    made = pb.VolumeCapability()
    made.access_mode.mode = pb.VolumeCapability.AccessMode.Mode.Value(mode)
    if block:
        made.block.SetInParent()
    else:
        made.mount.fs_type = fs_type
    return made


def range_of(required: int, limit: int = 0) -> Any:
    return pb.CapacityRange(required_bytes=required, limit_bytes=limit)


class Driver:
    """A driver that serves, and whoever asks it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = LocalCsiConfig("n1", root / "volumes", root / "csi.sock", root / "reg.sock")
        self.csi = CsiClient(str(self.config.socket))

    async def volume(self, name: str, size: int = 8 * MIB, capability: Any = None, **fields: Any) -> Any:
        request = pb.CreateVolumeRequest(
            name=name, capacity_range=range_of(size), volume_capabilities=[capability or use()], **fields
        )
        return (await self.csi.controller.create_volume(request)).volume

    async def stage(self, identity: str, at: str = "stage", capability: Any = None) -> Path:
        path = self.root / at
        request = pb.NodeStageVolumeRequest(
            volume_id=identity, staging_target_path=str(path), volume_capability=capability or use()
        )
        await self.csi.node.stage(request)
        return path

    async def publish(self, identity: str, at: str = "pod", capability: Any = None, **fields: Any) -> Path:
        path = self.root / at
        request = pb.NodePublishVolumeRequest(
            volume_id=identity,
            staging_target_path=fields.pop("stage", str(self.root / "stage")),
            target_path=str(path),
            volume_capability=capability or use(),
            **fields,
        )
        await self.csi.node.publish(request)
        return path

    async def unpublish(self, identity: str, at: str = "pod") -> None:
        await self.csi.node.unpublish(
            pb.NodeUnpublishVolumeRequest(volume_id=identity, target_path=str(self.root / at))
        )

    async def unstage(self, identity: str, at: str = "stage") -> None:
        await self.csi.node.unstage(
            pb.NodeUnstageVolumeRequest(volume_id=identity, staging_target_path=str(self.root / at))
        )

    async def delete(self, identity: str) -> None:
        await self.csi.controller.delete_volume(pb.DeleteVolumeRequest(volume_id=identity))

    async def grow(self, identity: str, size: int) -> Any:
        request = pb.ControllerExpandVolumeRequest(volume_id=identity, capacity_range=range_of(size))
        return await self.csi.controller.expand(request)


@asynccontextmanager
async def running(driver: Driver) -> AsyncIterator[Driver]:
    component = LocalCsi(driver.config)
    task = asyncio.create_task(component.run())
    try:
        async with asyncio.timeout(30):
            await component.serving.wait()
        yield driver
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[Driver]:
    made = Driver(tmp_path)
    try:
        async with running(made):
            yield made
    finally:
        await made.csi.close()
        await asyncio.to_thread(discard, tmp_path)


async def test_it_begins_again_once_the_disk_lets_it(tmp_path: Path) -> None:
    made = Driver(tmp_path)
    made.config.directory.parent.mkdir(parents=True, exist_ok=True)
    made.config.directory.write_text("in the way")
    component = LocalCsi(made.config)
    task = asyncio.create_task(component.run())
    try:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(component.serving.wait(), 0.3)
        made.config.directory.unlink()
        await asyncio.wait_for(component.serving.wait(), 30)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await made.csi.close()
        await asyncio.to_thread(discard, tmp_path)


async def until_free(driver: Driver) -> None:
    """Return once no loop device shows anything: a process that just began holds a copy of a mount for a moment."""
    async with asyncio.timeout(60):
        while loop.attached_below(driver.root):
            await asyncio.sleep(0.02)


def code_of(error: Any) -> str:
    return str(error.value.code)


async def refused(method: Method[Any, Any], request: Any) -> str:
    with pytest.raises(CsiError) as error:
        await method(request)
    assert error.value.message and "Traceback" not in error.value.message
    return code_of(error)


async def test_local_csi_says_what_it_is(driver: Driver) -> None:
    identity = driver.csi.identity
    assert (await identity.info(pb.GetPluginInfoRequest())).name == DRIVER
    assert (await identity.probe(pb.ProbeRequest())).ready.value
    assert capability_names(await identity.capabilities(pb.GetPluginCapabilitiesRequest())) == {
        "CONTROLLER_SERVICE",
        "VOLUME_ACCESSIBILITY_CONSTRAINTS",
        "volume_expansion.ONLINE",
    }
    info = await driver.csi.node.info(pb.NodeGetInfoRequest())
    assert (info.node_id, dict(info.accessible_topology.segments)) == ("n1", {TOPOLOGY: "n1"})
    async with RegistrationClient(str(driver.config.registration)) as client:
        plugin = await client.info(registration.InfoRequest())
        assert (plugin.type, plugin.name, plugin.endpoint) == ("CSIPlugin", DRIVER, str(driver.config.socket))
        await client.notify(registration.RegistrationStatus(plugin_registered=True))
    assert await refused(driver.csi.controller.publish, pb.ControllerPublishVolumeRequest()) == "UNIMPLEMENTED"


async def test_local_csi_refuses_what_is_missing_or_wrong(driver: Driver) -> None:
    controller, node = driver.csi.controller, driver.csi.node
    elsewhere = pb.TopologyRequirement(requisite=[pb.Topology(segments={TOPOLOGY: "n2"})])
    no_snapshot = pb.VolumeContentSource(snapshot=pb.VolumeContentSource.SnapshotSource(snapshot_id="none"))
    whole: dict[str, Any] = {"name": "v", "volume_capabilities": [use()]}
    stage: dict[str, Any] = {"volume_id": "none", "staging_target_path": "/none", "volume_capability": use()}
    cases: list[tuple[Method[Any, Any], Any, str]] = [
        (controller.create_volume, pb.CreateVolumeRequest(volume_capabilities=[use()]), "INVALID_ARGUMENT"),
        (controller.create_volume, pb.CreateVolumeRequest(name="v"), "INVALID_ARGUMENT"),
        (controller.create_volume, pb.CreateVolumeRequest(**{**whole, "name": "v" * 200}), "INVALID_ARGUMENT"),
        (controller.create_volume, pb.CreateVolumeRequest(**whole, parameters={"x": "y"}), "INVALID_ARGUMENT"),
        (controller.create_volume, pb.CreateVolumeRequest(**whole, capacity_range=range_of(2, 1)), "INVALID_ARGUMENT"),
        (controller.create_volume, pb.CreateVolumeRequest(**whole, capacity_range=range_of(1 << 62)), "OUT_OF_RANGE"),
        (
            controller.create_volume,
            pb.CreateVolumeRequest(**whole, capacity_range=range_of(1 << 49)),
            "RESOURCE_EXHAUSTED",
        ),
        (
            controller.create_volume,
            pb.CreateVolumeRequest(**whole, accessibility_requirements=elsewhere),
            "RESOURCE_EXHAUSTED",
        ),
        (controller.create_volume, pb.CreateVolumeRequest(**whole, volume_content_source=no_snapshot), "NOT_FOUND"),
        (
            controller.create_volume,
            pb.CreateVolumeRequest(**whole, volume_content_source=pb.VolumeContentSource()),
            "INVALID_ARGUMENT",
        ),
        (controller.delete_volume, pb.DeleteVolumeRequest(), "INVALID_ARGUMENT"),
        (controller.delete_volume, pb.DeleteVolumeRequest(volume_id="x@n2"), "FAILED_PRECONDITION"),
        (controller.validate, pb.ValidateVolumeCapabilitiesRequest(), "INVALID_ARGUMENT"),
        (
            controller.validate,
            pb.ValidateVolumeCapabilitiesRequest(volume_id="none", volume_capabilities=[use()]),
            "NOT_FOUND",
        ),
        (controller.list_volumes, pb.ListVolumesRequest(starting_token="what"), "ABORTED"),
        (controller.list_volumes, pb.ListVolumesRequest(max_entries=-1), "INVALID_ARGUMENT"),
        (controller.get_volume, pb.ControllerGetVolumeRequest(volume_id="none"), "NOT_FOUND"),
        (controller.expand, pb.ControllerExpandVolumeRequest(), "INVALID_ARGUMENT"),
        (controller.expand, pb.ControllerExpandVolumeRequest(volume_id="none"), "INVALID_ARGUMENT"),
        (
            controller.expand,
            pb.ControllerExpandVolumeRequest(volume_id="none", capacity_range=range_of(1)),
            "NOT_FOUND",
        ),
        (controller.modify, pb.ControllerModifyVolumeRequest(), "INVALID_ARGUMENT"),
        (controller.modify, pb.ControllerModifyVolumeRequest(volume_id="none"), "NOT_FOUND"),
        (controller.create_snapshot, pb.CreateSnapshotRequest(source_volume_id="none"), "INVALID_ARGUMENT"),
        (controller.create_snapshot, pb.CreateSnapshotRequest(name="s"), "INVALID_ARGUMENT"),
        (controller.create_snapshot, pb.CreateSnapshotRequest(name="s", source_volume_id="none"), "NOT_FOUND"),
        (controller.delete_snapshot, pb.DeleteSnapshotRequest(), "INVALID_ARGUMENT"),
        (controller.list_snapshots, pb.ListSnapshotsRequest(starting_token="what"), "ABORTED"),
        (controller.get_snapshot, pb.GetSnapshotRequest(snapshot_id="none"), "NOT_FOUND"),
        (node.stage, pb.NodeStageVolumeRequest(**{**stage, "volume_id": ""}), "INVALID_ARGUMENT"),
        (node.stage, pb.NodeStageVolumeRequest(**{**stage, "staging_target_path": ""}), "INVALID_ARGUMENT"),
        (node.stage, pb.NodeStageVolumeRequest(volume_id="v", staging_target_path="/none"), "INVALID_ARGUMENT"),
        (node.stage, pb.NodeStageVolumeRequest(**stage), "NOT_FOUND"),
        (node.unstage, pb.NodeUnstageVolumeRequest(volume_id="v"), "INVALID_ARGUMENT"),
        (node.unstage, pb.NodeUnstageVolumeRequest(staging_target_path="/none"), "INVALID_ARGUMENT"),
        (node.publish, pb.NodePublishVolumeRequest(), "INVALID_ARGUMENT"),
        (node.publish, pb.NodePublishVolumeRequest(volume_id="v", target_path="/none"), "INVALID_ARGUMENT"),
        (
            node.publish,
            pb.NodePublishVolumeRequest(volume_id="v", target_path="/none", volume_capability=use()),
            "INVALID_ARGUMENT",
        ),
        (node.unpublish, pb.NodeUnpublishVolumeRequest(volume_id="v"), "INVALID_ARGUMENT"),
        (node.expand, pb.NodeExpandVolumeRequest(volume_id="none"), "INVALID_ARGUMENT"),
        (node.expand, pb.NodeExpandVolumeRequest(volume_id="none", volume_path="/none"), "NOT_FOUND"),
        (node.stats, pb.NodeGetVolumeStatsRequest(volume_id="none"), "INVALID_ARGUMENT"),
        (node.stats, pb.NodeGetVolumeStatsRequest(volume_id="none", volume_path="/none"), "NOT_FOUND"),
    ]
    for method, request, code in cases:
        assert await refused(method, request) == code, request
    assert not (await controller.list_volumes(pb.ListVolumesRequest())).entries


async def test_local_csi_asks_nothing_of_what_is_gone(driver: Driver) -> None:
    await driver.delete("none")
    await driver.csi.controller.delete_snapshot(pb.DeleteSnapshotRequest(snapshot_id="none"))
    await driver.unpublish("none")
    await driver.unstage("none")


async def test_local_csi_makes_a_volume_once(driver: Driver) -> None:
    made = await asyncio.gather(*(driver.volume("v") for _ in range(5)))
    assert len({v.volume_id for v in made}) == 1
    assert await refused(
        driver.csi.controller.create_volume,
        pb.CreateVolumeRequest(name="v", capacity_range=range_of(9 * MIB), volume_capabilities=[use()]),
    ) == ("ALREADY_EXISTS")
    assert await refused(
        driver.csi.controller.create_volume,
        pb.CreateVolumeRequest(name="v", capacity_range=range_of(MIB), volume_capabilities=[use(block=True)]),
    ) == ("ALREADY_EXISTS")
    others = [await driver.volume(f"w{i}", 4 * MIB) for i in range(3)]
    found: list[str] = []
    token = ""
    while True:
        page = await driver.csi.controller.list_volumes(pb.ListVolumesRequest(max_entries=3, starting_token=token))
        found += [e.volume.volume_id for e in page.entries]
        token = page.next_token
        if not token:
            break
    assert sorted(found) == sorted([made[0].volume_id, *(o.volume_id for o in others)])


async def test_local_csi_volume_holds_its_size_and_its_files(driver: Driver) -> None:
    made = await driver.volume("v", 8 * MIB)
    stage = await driver.stage(made.volume_id)
    assert stage == await driver.stage(made.volume_id)
    pod = await driver.publish(made.volume_id)
    await driver.publish(made.volume_id)
    (pod / "f").write_text("kept")
    with pytest.raises(OSError, match="No space left"):
        (pod / "big").write_bytes(bytes(9 * MIB))
    (pod / "big").unlink()
    usage = await driver.csi.node.stats(pb.NodeGetVolumeStatsRequest(volume_id=made.volume_id, volume_path=str(pod)))
    assert [u.unit for u in usage.usage] == [pb.VolumeUsage.BYTES, pb.VolumeUsage.INODES]
    assert 5 * MIB < usage.usage[0].total < 9 * MIB
    reader = await driver.publish(made.volume_id, "reader", readonly=True)
    with pytest.raises(OSError, match="Read-only"):
        (reader / "f").write_text("x")
    assert await refused(driver.csi.controller.delete_volume, pb.DeleteVolumeRequest(volume_id=made.volume_id)) == (
        "FAILED_PRECONDITION"
    )
    for name in ("pod", "reader"):
        await driver.unpublish(made.volume_id, name)
        await driver.unpublish(made.volume_id, name)
        assert not (driver.root / name).exists()
    await driver.unstage(made.volume_id)
    await until_free(driver)
    # Grown while nobody uses it, it is as large as its image when it is mounted next.
    grown = await driver.grow(made.volume_id, 16 * MIB)
    assert (grown.capacity_bytes, grown.node_expansion_required) == (16 * MIB, True)
    await driver.stage(made.volume_id)
    assert filesystems.usage(stage).total > 12 * MIB
    assert (stage / "f").read_text() == "kept"
    await driver.unstage(made.volume_id)
    await until_free(driver)
    await driver.delete(made.volume_id)
    assert not list((driver.config.directory / "volumes").iterdir())


@pytest.mark.skipif(not filesystems.can_make("xfs"), reason="mkfs.xfs is not installed")
async def test_local_csi_grows_while_in_use(driver: Driver) -> None:
    made = await driver.volume("v", 300 * MIB, use(fs_type="xfs"))
    stage = await driver.stage(made.volume_id, capability=use(fs_type="xfs"))
    before = filesystems.usage(stage).total
    request = pb.NodeExpandVolumeRequest(volume_id=made.volume_id, volume_path=str(stage))
    request.capacity_range.required_bytes = 400 * MIB
    assert await refused(driver.csi.node.expand, request) == "OUT_OF_RANGE"
    await driver.grow(made.volume_id, 400 * MIB)
    for _ in range(2):
        assert (await driver.csi.node.expand(request)).capacity_bytes == 400 * MIB
    assert filesystems.usage(stage).total > before + 90 * MIB
    await driver.unstage(made.volume_id)


async def test_local_csi_block_volume(driver: Driver) -> None:
    made = await driver.volume("v", 8 * MIB, use(block=True))
    assert await refused(
        driver.csi.node.stage,
        pb.NodeStageVolumeRequest(
            volume_id=made.volume_id, staging_target_path=str(driver.root / "s"), volume_capability=use()
        ),
    ) == ("INVALID_ARGUMENT")
    await driver.stage(made.volume_id, capability=use(block=True))
    device = await driver.publish(made.volume_id, capability=use(block=True))
    assert device.is_block_device() and loop.size_of(device) == 8 * MIB
    handle = os.open(device, os.O_RDWR)
    os.write(handle, b"raw")
    os.fsync(handle)
    os.close(handle)
    grown = await driver.grow(made.volume_id, 12 * MIB)
    assert not grown.node_expansion_required and loop.size_of(device) == 12 * MIB
    await driver.unpublish(made.volume_id)
    assert not device.exists()
    await driver.unstage(made.volume_id)
    await until_free(driver)
    source = pb.VolumeContentSource(volume=pb.VolumeContentSource.VolumeSource(volume_id=made.volume_id))
    clone = await driver.volume("w", 12 * MIB, use(block=True), volume_content_source=source)
    await driver.stage(clone.volume_id, capability=use(block=True))
    copy = await driver.publish(clone.volume_id, capability=use(block=True))
    with copy.open("rb") as file:
        assert file.read(3) == b"raw"
    await driver.unpublish(clone.volume_id)
    await driver.unstage(clone.volume_id)


async def test_local_csi_snapshot_is_of_one_moment(driver: Driver) -> None:
    made = await driver.volume("v")
    stage = await driver.stage(made.volume_id)
    (stage / "f").write_text("then")
    request = pb.CreateSnapshotRequest(name="s", source_volume_id=made.volume_id)
    taken = (await driver.csi.controller.create_snapshot(request)).snapshot
    assert taken.ready_to_use and taken.size_bytes == 8 * MIB and taken.creation_time.seconds
    (stage / "f").write_text("now")
    assert (await driver.csi.controller.create_snapshot(request)).snapshot == taken
    other = await driver.volume("other")
    request.source_volume_id = other.volume_id
    assert await refused(driver.csi.controller.create_snapshot, request) == "ALREADY_EXISTS"
    source = pb.VolumeContentSource(snapshot=pb.VolumeContentSource.SnapshotSource(snapshot_id=taken.snapshot_id))
    restored = await driver.volume("w", 16 * MIB, volume_content_source=source)
    assert restored.content_source == source
    assert await driver.volume("w", 16 * MIB, volume_content_source=source) == restored
    assert await refused(
        driver.csi.controller.create_volume,
        pb.CreateVolumeRequest(name="b", volume_capabilities=[use(block=True)], volume_content_source=source),
    ) == ("INVALID_ARGUMENT")
    second = await driver.stage(restored.volume_id, "second")
    assert (second / "f").read_text() == "then" and filesystems.usage(second).total > 12 * MIB
    found = await driver.csi.controller.list_snapshots(pb.ListSnapshotsRequest(source_volume_id=made.volume_id))
    assert [e.snapshot.snapshot_id for e in found.entries] == [taken.snapshot_id]
    await driver.unstage(restored.volume_id, "second")
    await driver.unstage(made.volume_id)
    await until_free(driver)
    await driver.delete(made.volume_id)
    await driver.csi.controller.delete_snapshot(pb.DeleteSnapshotRequest(snapshot_id=taken.snapshot_id))
    assert not (await driver.csi.controller.list_snapshots(pb.ListSnapshotsRequest())).entries


async def test_local_csi_inline_volume_lives_as_long_as_it_is_published(driver: Driver) -> None:
    context = {"csi.storage.k8s.io/ephemeral": "true", "size": "8Mi"}
    pod = await driver.publish("csi-inline", volume_context=context, stage="")
    (pod / "f").write_text("x")
    await driver.publish("csi-inline", volume_context=context, stage="")
    assert (pod / "f").read_text() == "x"
    await driver.unpublish("csi-inline")
    assert not list((driver.config.directory / "volumes").iterdir())
    await until_free(driver)
    bad = pb.NodePublishVolumeRequest(
        volume_id="csi-x", target_path=str(pod), volume_capability=use(), volume_context={**context, "size": "much"}
    )
    assert await refused(driver.csi.node.publish, bad) == "INVALID_ARGUMENT"


async def test_local_csi_capacity_and_allocation(driver: Driver) -> None:
    async def room(**segments: str) -> int:
        request = pb.GetCapacityRequest()
        if segments:
            request.accessible_topology.segments.update({TOPOLOGY: segments["node"]})
        return int((await driver.csi.controller.capacity(request)).available_capacity)

    assert await room(node="n2") == 0
    assert await room(node="n1") > 0
    made = await driver.volume("v", 64 * MIB)
    data = Library(driver.config.directory).volumes.data(made.volume_id)
    assert data.stat().st_blocks * 512 < 8 * MIB
    # Thin or thick, the bytes are promised: making it thick takes no room that was free.
    modify = pb.ControllerModifyVolumeRequest(volume_id=made.volume_id, mutable_parameters={"allocation": "thick"})
    await driver.csi.controller.modify(modify)
    assert data.stat().st_blocks * 512 >= 64 * MIB
    modify.mutable_parameters["allocation"] = "other"
    assert await refused(driver.csi.controller.modify, modify) == "INVALID_ARGUMENT"


async def test_local_csi_directory_volume(driver: Driver) -> None:
    made = await driver.volume("v", parameters={"backing": "directory"})
    await driver.stage(made.volume_id)
    pod = await driver.publish(made.volume_id)
    (pod / "f").write_text("x")
    assert await refused(driver.csi.controller.delete_volume, pb.DeleteVolumeRequest(volume_id=made.volume_id)) == (
        "FAILED_PRECONDITION"
    )
    await driver.unpublish(made.volume_id)
    await driver.unstage(made.volume_id)
    await until_free(driver)
    await driver.delete(made.volume_id)


async def test_local_csi_puts_in_order_what_a_killed_one_left(driver: Driver) -> None:
    kept = await driver.volume("kept")
    stage = await driver.stage(kept.volume_id)
    (stage / "f").write_text("kept")
    shelf = driver.config.directory / "volumes"
    half = shelf / ".new-half"
    half.mkdir()
    with (half / "data").open("wb") as file:
        file.truncate(8 * MIB)
    loop.attach(half / "data")
    gone = shelf / ".gone-x"
    gone.mkdir()
    broken = shelf / "broken"
    broken.mkdir()
    (broken / "record.json").write_text("{")
    idle = await driver.volume("idle")
    loop.attach(Library(driver.config.directory).volumes.data(idle.volume_id))
    assert len(loop.attached_below(driver.root)) == 3
    second = LocalCsi(driver.config)
    handle = os.open(stage, os.O_RDONLY)
    try:
        import fcntl

        fcntl.ioctl(handle, 0xC0045877, 0)  # FIFREEZE, as one who was killed while copying
        await asyncio.to_thread(second._put_in_order)
    finally:
        os.close(handle)
    assert not half.exists() and not gone.exists() and broken.exists()
    assert len(loop.attached_below(driver.root)) == 1
    (stage / "g").write_text("thawed")
    names: Callable[[], set[str]] = lambda: {r.name for r in second._library.volumes.all()}  # noqa: E731
    assert names() == {"kept", "idle"}
    await driver.unstage(kept.volume_id)


def test_local_csi_library_is_whole_or_not_there(tmp_path: Path) -> None:
    library = Library(tmp_path)
    library.load()
    record = VolumeRecord("../x/%", "n", 4 * MIB)

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        library.volumes.add(record, fail)
    assert not list((tmp_path / "volumes").iterdir())
    library.volumes.add(record, lambda path: path.touch())
    again = Library(tmp_path)
    again.load()
    assert again.volumes.all() == [record]
    assert again.volumes.data(record.id).resolve().is_relative_to(tmp_path / "volumes")
    again.volumes.remove(record.id)
    assert not list((tmp_path / "volumes").iterdir()) and not mounts.binds_of(tmp_path)
