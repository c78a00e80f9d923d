"""A real containerd of the test's own, with two small images: busybox (`BUSYBOX`) and the pause image."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from kumo.host import mounts
from kumo.host.cgroups import Cgroups
from kumo.host.containerd.archive import BuiltImage, File, ImageConfig, build_image
from kumo.host.containerd.config import ContainerdConfig
from kumo.host.containerd.engine import Containerd
from kumo.host.containerd.process import command, wait_ready
from kumo.host.containerd.rpc import EngineError

BUSYBOX = "docker.io/library/busybox:test"
PAUSE = "kumo.dev/pause:test"
PREFIX = "/var/tmp/kumo-ctd-"


@dataclass
class Instance:
    """A running containerd, its connection, and how to kill and restart it."""

    directory: Path
    config: ContainerdConfig
    engine: Containerd
    cgroup: str
    process: subprocess.Popen[bytes] | None = None
    log: Path = field(default=Path("/dev/null"))

    async def start(self) -> None:
        made = await asyncio.to_thread(command, self.config)
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                made.argv, env=made.env, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True
            )
        await wait_ready(self.config.socket)

    async def kill(self, number: int = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            await asyncio.to_thread(self.process.wait)
            self.process = None


def busybox_image(mark: bytes = b"") -> BuiltImage:
    """An image with Debian's static busybox and a shell's worth of links; another `mark`, another image."""
    names = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
    files = [File("/bin/busybox", Path("/bin/busybox"), mode=0o755)]
    files += [File(f"/bin/{n}", link="busybox") for n in names if n != "busybox"]
    files += [File("/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")]
    files += [File("/etc/group", b"root:x:0:\nnogroup:x:65534:\n")]
    files += [File(f"/{d}", mode=0o755) for d in ("proc", "sys", "dev", "var", "root", "mnt")] + [
        File("/tmp", mode=0o1777)
    ]
    files += [File("/etc/mark", mark)]
    return build_image(files=files, config=ImageConfig(cmd=["sh"]))


@contextlib.asynccontextmanager
async def running_containerd(
    *,
    bridge: str = "",
    subnet: str = "",
    images: bool = True,
    mirrors: dict[str, str] | None = None,
    cni: tuple[Path, Path] | None = None,
) -> AsyncIterator[Instance]:
    """containerd in a directory of its own; removed with all its pods afterwards.

    With `bridge` and `subnet`, pods get addresses from the stock bridge plugin; with `cni`, from the configurations and
    programs in those two directories; without either, only host-network pods run.
    """
    identity = secrets.token_hex(3)
    directory = Path(PREFIX + identity)
    conf, programs = cni or (directory / "cni", Path("/usr/lib/cni"))
    conf.mkdir(parents=True, exist_ok=True)
    directory.mkdir(exist_ok=True)
    if bridge:
        (conf / "10.conflist").write_text(json.dumps(_bridge(identity, bridge, subnet, directory)))
    config = ContainerdConfig(directory / "c", conf, programs, PAUSE, mirrors or {})
    instance = Instance(
        directory, config, Containerd(config.socket), f"/kumo-test-{identity}", log=directory / "containerd.log"
    )
    await instance.start()
    try:
        if images:
            await instance.engine.ensure_pause(PAUSE)
            await instance.engine.images.import_image(busybox_image(), [BUSYBOX])
        yield instance
    finally:
        if instance.process is None or instance.process.poll() is not None:
            await instance.start()
        for sandbox in await instance.engine.runtime.list_sandboxes():
            with contextlib.suppress(EngineError):
                await instance.engine.runtime.stop_sandbox(sandbox.id)
                await instance.engine.runtime.remove_sandbox(sandbox.id)
        await instance.engine.close()
        await instance.kill(signal.SIGTERM)
        await asyncio.to_thread(_clean, directory, bridge, instance.cgroup)


def _bridge(identity: str, bridge: str, subnet: str, directory: Path) -> dict[str, object]:
    ipam = {
        "type": "host-local",
        "dataDir": str(directory / "ipam"),
        "ranges": [[{"subnet": subnet}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugin = {"type": "bridge", "bridge": bridge, "isGateway": True, "ipMasq": False, "hairpinMode": True, "ipam": ipam}
    return {"cniVersion": "0.4.0", "name": f"kumo-{identity}", "plugins": [plugin]}


def _kill_shims(socket: str) -> None:
    """What containerd could not end: its shims, and all processes below them."""
    children: dict[int, list[int]] = {}
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                arguments = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
                if "containerd-shim" in arguments[0] and socket in arguments:
                    found.append(int(entry.name))
    for pid in found:
        found += children.get(pid, [])
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _clean(directory: Path, bridge: str, cgroup: str) -> None:
    _kill_shims(str(directory / "c" / "c.sock"))
    mounts.unmount_below(directory)
    shutil.rmtree(directory, ignore_errors=True)
    if bridge:
        subprocess.run(["ip", "link", "del", bridge], check=False, capture_output=True)
    Cgroups().remove(cgroup)
