"""Modules of the kernel that nothing loads by itself."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_LOADED = Path("/sys/module")
_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"


def load(name: str) -> bool:
    """Have the module in the kernel, unless it is there (or built in); whether that went well. Blocks."""
    return (_LOADED / name).is_dir() or _modprobe(name)


def available(name: str) -> bool:
    """Whether `load` would go well. Blocks."""
    return (_LOADED / name).is_dir() or _modprobe("--dry-run", name)


def _modprobe(*arguments: str) -> bool:
    program = shutil.which("modprobe", path=_PATH)
    if program is None:
        return False
    try:
        done = subprocess.run([program, "--quiet", *arguments], capture_output=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
