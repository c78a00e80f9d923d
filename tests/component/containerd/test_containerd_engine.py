"""kumo's connection to a real containerd: start, import, run, exec, events, survival of a restart."""

from __future__ import annotations

import asyncio
import json
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from kumo.host.containerd.archive import File, ImageConfig, build_image
from kumo.host.containerd.rpc import EngineError
from kumo.host.containerd.stubs import cri_pb2 as cri
from support.containerd import BUSYBOX, Instance, busybox_image, running_containerd

pytestmark = [pytest.mark.component, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[Instance]:
    async with running_containerd() as instance:
        yield instance


async def start(node: Instance, name: str, *command: str) -> tuple[str, str]:
    logs = node.directory / "logs" / name
    logs.mkdir(parents=True, exist_ok=True)
    options = cri.NamespaceOption(network=2, pid=1)
    sandbox_config = cri.PodSandboxConfig(
        metadata=cri.PodSandboxMetadata(name=name, uid=name, namespace="default"),
        log_directory=str(logs),
        linux=cri.LinuxPodSandboxConfig(
            cgroup_parent=f"{node.cgroup}/{name}",
            security_context=cri.LinuxSandboxSecurityContext(namespace_options=options),
        ),
    )
    sandbox = await node.engine.runtime.run_sandbox(sandbox_config)
    config = cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name="main"),
        image=cri.ImageSpec(image=BUSYBOX),
        command=command,
        log_path="main.log",
        linux=cri.LinuxContainerConfig(
            security_context=cri.LinuxContainerSecurityContext(namespace_options=options),
        ),
    )
    container = await node.engine.runtime.create_container(sandbox, config, sandbox_config)
    await node.engine.runtime.start_container(container)
    return sandbox, container


async def remove(node: Instance, sandbox: str) -> None:
    await node.engine.runtime.stop_sandbox(sandbox)
    await node.engine.runtime.remove_sandbox(sandbox)


async def test_exec_ends_its_input_and_gives_outputs_and_code(node: Instance) -> None:
    sandbox, container = await start(node, "exec", "sleep", "1000")
    script = "cat; echo end of input; echo trouble >&2; exit 7"
    async with node.engine.tasks.exec(container, ["sh", "-c", script], stdin=True, tty=False) as process:
        await process.write(b"hello\n")
        await process.close_stdin()
        assert await process.wait() == 7
        await process.reap()
        assert process.stderr is not None
        assert b"".join([c async for c in process.stdout]) == b"hello\nend of input\n"
        assert b"".join([c async for c in process.stderr]) == b"trouble\n"
    await remove(node, sandbox)


async def test_exec_carries_megabytes_both_ways(node: Instance) -> None:
    sandbox, container = await start(node, "bulk", "sleep", "1000")
    data = bytes(range(256)) * 16384
    async with node.engine.tasks.exec(container, ["cat"], stdin=True, tty=False) as process:

        async def feed() -> None:
            await process.write(data)
            await process.close_stdin()

        feeding = asyncio.create_task(feed())
        received = b"".join([c async for c in process.stdout])
        await feeding
        assert received == data
    await remove(node, sandbox)


async def test_exec_with_a_terminal(node: Instance) -> None:
    sandbox, container = await start(node, "tty", "sleep", "1000")
    async with node.engine.tasks.exec(container, ["sh"], stdin=True, tty=True) as process:
        await process.resize(91, 33)
        await process.write(b"stty size; exit 3\n")
        output = b"".join([c async for c in process.stdout])
        assert await process.wait() == 3
        assert b"33 91" in output
    await remove(node, sandbox)


async def test_exec_that_does_not_end_is_killed_with_its_block(node: Instance) -> None:
    sandbox, container = await start(node, "killed", "sleep", "1000")
    pipes = node.engine.tasks.folder
    async with node.engine.tasks.exec(container, ["sleep", "555"], stdin=False, tty=False):
        (mine,) = pipes.iterdir()
        assert {p.name for p in mine.iterdir()} == {"stdout", "stderr"} and mine.stat().st_mode & 0o777 == 0o700
    assert not list(pipes.iterdir())
    (pipes / "of-a-killed-process").mkdir()
    node.engine.tasks.sweep()
    assert not pipes.exists()
    listing = await node.engine.runtime.exec_sync(container, ["ps"], 10)
    assert b"sleep 555" not in listing.stdout
    await remove(node, sandbox)


async def test_exec_of_a_missing_program_says_so(node: Instance) -> None:
    sandbox, container = await start(node, "missing", "sleep", "1000")
    with pytest.raises(EngineError, match="executable file not found"):
        async with node.engine.tasks.exec(container, ["nosuch"], stdin=False, tty=False):
            pass
    await remove(node, sandbox)


async def test_events_tell_start_and_exit(node: Instance) -> None:
    connected = asyncio.Event()
    seen: list[tuple[str, str, int]] = []
    ended = asyncio.Event()

    async def watch() -> None:
        async for event in node.engine.events.follow():
            if event.kind == "connected":
                connected.set()
            seen.append(event)
            if event.kind == "exit" and event.exit_status == 5:
                ended.set()

    watching = asyncio.create_task(watch())
    async with asyncio.timeout(20):
        await connected.wait()
        sandbox, container = await start(node, "events", "sh", "-c", "exit 5")
        await ended.wait()
    watching.cancel()
    assert [e for e in seen if e[1] == container] == [("start", container, 0), ("exit", container, 5)]
    await remove(node, sandbox)


async def test_events_tell_of_images(node: Instance) -> None:
    async def told() -> None:
        async for event in node.engine.events.follow():
            if event.kind == "connected":
                built = busybox_image(b"told of")
                await node.engine.images.import_image(built, ["docker.io/library/told:latest"], imported=True)
            if event.kind == "image":
                return

    async with asyncio.timeout(20):
        await told()


async def test_containers_survive_containerd_and_the_connection_comes_back(node: Instance) -> None:
    sandbox, container = await start(node, "survivor", "sleep", "1000")
    pid = await node.engine.tasks.pid(container)
    await node.kill()
    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x001000\x00"
    await node.start()
    async with asyncio.timeout(10):
        while True:
            try:
                status = await node.engine.runtime.container_status(container)
                break
            except EngineError:
                await asyncio.sleep(0.05)
    assert status.state == cri.CONTAINER_RUNNING
    assert await node.engine.tasks.pid(container) == pid
    await remove(node, sandbox)


async def test_image_mounts_read_only_and_lets_go(node: Instance, tmp_path: Path) -> None:
    image = build_image(files=[File("/disk/disk.img", b"a disk", uid=107, gid=107, mode=0o440)])
    await node.engine.images.import_image(image, ["registry.test/disk:1"])
    async with node.engine.snapshots.mounted("registry.test/disk:1") as root:
        disk = root / "disk" / "disk.img"
        assert disk.read_bytes() == b"a disk"
        assert (disk.stat().st_uid, disk.stat().st_mode & 0o777) == (107, 0o440)
        with pytest.raises(OSError, match="Read-only"):
            (root / "new").write_bytes(b"")
    assert not root.exists()


async def test_archives_import_under_their_own_and_given_names(node: Instance, tmp_path: Path) -> None:
    image = build_image(files=[File("/hello", b"hi")], config=ImageConfig(cmd=["/hello"]))
    path = tmp_path / "image.tar"
    write_docker_archive(path, image)
    assert await node.engine.images.import_archive(path) == ["docker.io/library/greeting:1"]
    assert await node.engine.images.import_archive(path, "quay.test/other/name") == ["quay.test/other/name:latest"]
    config = await node.engine.image_service.config("greeting:1")
    assert config is not None
    assert config["Cmd"] == ["/hello"]


def write_docker_archive(path: Path, image: object) -> None:
    """What `docker save` writes, from a built image."""
    from kumo.host.containerd.archive import BuiltImage

    assert isinstance(image, BuiltImage)
    import io

    with tarfile.open(path, "w") as tar:

        def add(name: str, data: bytes) -> None:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))

        add("config.json", image.config.data or b"")
        add("layer/layer.tar", image.layers[0].data or b"")
        manifest = [{"Config": "config.json", "RepoTags": ["greeting:1"], "Layers": ["layer/layer.tar"]}]
        add("manifest.json", json.dumps(manifest).encode())
