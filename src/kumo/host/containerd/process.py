"""How containerd is started and when it is ready. Who supervises it is `kumo.cli`'s business.

It must be started in a session of its own (`start_new_session=True`), so that a signal to the supervisor's group does
not reach it, and it may be killed at any time: containers run on, and it finds them again.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple

from kumo.host.containerd.config import ContainerdConfig, detect, write
from kumo.host.containerd.cri import RuntimeService
from kumo.host.containerd.rpc import EngineError, open_channel


class Command(NamedTuple):
    """What to run."""

    argv: list[str]
    env: dict[str, str]


def command(config: ContainerdConfig) -> Command:
    """Write the configuration for this machine and give the command. Raises NotInstalled, ValueError (a bad mirror)."""
    machine = detect(config.directory)
    write(config, machine)
    folder = str(Path(machine.containerd).parent)
    # The shim is looked for beside containerd and on PATH.
    env = {"PATH": f"{folder}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    return Command([machine.containerd, "--config", str(config.file)], env)


async def wait_ready(socket: str | Path, timeout: float = 30.0) -> str:
    """Wait until the CRI service answers and is ready for pods; containerd's version. Raises TimeoutError."""
    channel = open_channel(str(socket))
    try:
        async with asyncio.timeout(timeout):
            runtime = RuntimeService(channel)
            while True:
                try:
                    conditions = await runtime.status(timeout=5.0)
                    if "RuntimeReady" in conditions and conditions["RuntimeReady"].status:
                        return (await runtime.version()).runtime_version
                except EngineError as error:
                    # Its socket appears before its plugins are loaded; nothing announces either.
                    if error.code not in ("UNAVAILABLE", "UNIMPLEMENTED", "UNKNOWN", "DEADLINE_EXCEEDED"):
                        raise
                await asyncio.sleep(0.02)
    finally:
        await channel.close()
