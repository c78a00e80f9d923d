"""What libvirt knows of this node's emulators, learned once for all launchers.

A fresh libvirtd asks QEMU for its capabilities, which takes a good part of a second and of a core; its answers are
files that another libvirtd believes as long as the programs are the same. So one session daemon is run at node start,
as nobody, and its files are put where launcher pods find them (read-only: one pod cannot mislead another).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import structlog

from kumo.host import libvirt_guest
from kumo.kubevirt.virt_handler.config import VirtHandlerConfig
from kumo.machinery.files import write_file

_log = structlog.get_logger("kumo.virt-handler")
_TIMEOUT = 60.0
_SCRATCH = Path("/run")
"""Sockets' paths must be short, which those below the data directory may not be."""
_HOST_UUID = "00000000-0000-4000-8000-000000000000"
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# Not the launchers' user, which the node does not know: libvirtd turns away clients whose user has no name.
_NOBODY = 65534
# Debian's AppArmor profile for libvirtd changes to another one for QEMU, which the kernel refuses to a process that may
# gain no privileges. The daemon stays without a profile: it is nobody's, and lives for a second.
_WITHOUT_PROFILE = '{ printf "exec unconfined" > /proc/self/attr/apparmor/exec; } 2> /dev/null; exec "$@"'
# libvirt's client library is loaded in a process of its own: it is needed once, and costs ten megabytes.
_ASK = """
import sys, time, libvirt
libvirt.registerErrorHandler(lambda _context, _error: None, None)
for _ in range(3000):
    try:
        connection = libvirt.open(sys.argv[1])
        break
    except libvirt.libvirtError:
        time.sleep(0.02)
else:
    sys.exit("libvirtd does not answer")
connection.getCapabilities()
connection.getDomainCapabilities(None, None, None, sys.argv[2])
"""


async def keep(config: VirtHandlerConfig, *, kvm: bool) -> None:
    """Learn the capabilities in the background; launchers start slower without them, but they start."""
    try:
        async with asyncio.timeout(_TIMEOUT):
            await learn(config.capabilities, kvm_node=config.kvm if kvm else None)
    except (OSError, TimeoutError, RuntimeError) as error:
        _log.warning("could not learn libvirt's capabilities; machines will start a second later", error=str(error))


async def learn(target: Path, *, kvm_node: Path | None = None) -> None:
    """Run a session daemon, ask it, and put its files into the directory `target`.

    With `kvm_node`, that device is /dev/kvm for it, as it will be in the pods. Raises OSError, RuntimeError.
    """
    await asyncio.to_thread(target.mkdir, parents=True, exist_ok=True)
    await asyncio.to_thread(remove_scratch, target)
    scratch = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=_prefix(target), dir=_SCRATCH))
    try:
        paths = libvirt_guest.SessionPaths(f"{scratch}/config", f"{scratch}/cache", f"{scratch}/run")
        await asyncio.to_thread(_prepare, paths, scratch, target)
        await _run(paths, kvm_node)
        for file in await asyncio.to_thread(lambda: list(Path(paths.capabilities).glob("*.xml"))):
            await asyncio.to_thread(write_file, target / file.name, file.read_bytes(), 0o644)
    finally:
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)


def _prefix(target: Path) -> str:
    return f"kumo-caps-{hashlib.sha256(os.fsencode(target)).hexdigest()[:8]}-"


def remove_scratch(target: Path) -> None:
    """Remove what a killed `learn` for this directory may have left outside it."""
    for path in _SCRATCH.glob(_prefix(target) + "*"):
        shutil.rmtree(path, ignore_errors=True)


def _prepare(paths: libvirt_guest.SessionPaths, scratch: Path, known: Path) -> None:
    libvirt_guest.prepare(paths, _HOST_UUID, str(known))
    for folder, _, files in os.walk(scratch):
        for path in (folder, *(os.path.join(folder, f) for f in files)):  # noqa: PTH118
            os.chown(path, _NOBODY, _NOBODY, follow_symlinks=False)


async def _run(paths: libvirt_guest.SessionPaths, kvm_node: Path | None) -> None:
    environment = {**paths.environment, "PATH": _PATH}
    # Capability files tell whether /dev/kvm was usable: show the daemon the device that the pods will have.
    command = libvirt_guest.argv(paths)
    drop = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--no-new-privs"]
    drop += ["--pdeathsig", "TERM"]  # nothing of it stays when we are killed
    command = [*drop, "/bin/sh", "-c", _WITHOUT_PROFILE, "sh", *command]
    if kvm_node is not None:
        script = 'mount --bind "$0" /dev/kvm && exec "$@"'
        command = ["unshare", "--mount", "/bin/sh", "-c", script, str(kvm_node), *command]
    quiet = asyncio.subprocess.DEVNULL
    daemon = await asyncio.create_subprocess_exec(
        *command, env=environment, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
    )
    try:
        kind = "kvm" if kvm_node is not None else "qemu"
        ask = await asyncio.create_subprocess_exec(
            *drop, sys.executable, "-c", _ASK, paths.uri, kind, env=environment, stderr=asyncio.subprocess.PIPE
        )
        try:
            _, errors = await ask.communicate()
        except asyncio.CancelledError:
            ask.kill()
            raise
        if ask.returncode != 0:
            raise RuntimeError(f"asking libvirtd failed: {errors.decode(errors='replace').strip()[-500:]}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(daemon.pid, signal.SIGTERM)
        await daemon.wait()
