"""Volumes of type nfs: a server's export, mounted by the machine's mount(8) and its helper (Debian: `nfs-common`).

Upstream: `pkg/volume/nfs`; the words of a failure are mount-utils'.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kumo.host import mounts
from kumo.kubernetes.kubelet.volumes.files import VolumeError


def export(source: Mapping[str, Any]) -> str:
    """What is mounted, as mount.nfs reads it: `server:/path`, an IPv6 address in brackets."""
    server = str(source.get("server") or "")
    return f"[{server}]:{source.get('path')}" if ":" in server else f"{server}:{source.get('path')}"


def arguments(source: Mapping[str, Any], target: Path, options: Sequence[str], *, read_only: bool) -> list[str]:
    """mount's arguments: the options are a set, in order, as upstream joins them."""
    chosen = sorted({*options, *(("ro",) if read_only else ())})
    return ["-t", "nfs", *(("-o", ",".join(chosen)) if chosen else ()), export(source), str(target)]


async def mount(source: Mapping[str, Any], target: Path, options: Sequence[str] = (), *, read_only: bool) -> Path:
    """Mount the export at `target`; nothing happens if that was done. Raises VolumeError, OSError.

    A server that does not answer is waited for by mount.nfs itself (two minutes for the usual options).
    """
    if not await asyncio.to_thread(_folder, target):
        return target
    words = arguments(source, target, options, read_only=read_only)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        "mount", *words, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode:
        with contextlib.suppress(OSError):
            await asyncio.to_thread(target.rmdir)
        raise VolumeError(
            f"mount failed: exit status {process.returncode}\nMounting command: mount\n"
            f"Mounting arguments: {' '.join(words)}\nOutput: {output.decode(errors='replace')}"
        )
    return target


def _folder(target: Path) -> bool:
    """Make the folder; whether nothing is mounted there yet."""
    if mounts.is_mounted(target):
        return False
    target.mkdir(parents=True, exist_ok=True, mode=0o750)
    return True
