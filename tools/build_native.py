"""Compile the small static helpers in `src/kumo/host/native/*.c`: `python tools/build_native.py`.

The binaries go to `src/kumo/host/native/bin/`, which is not kept in git but goes into the wheel. Needs gcc.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FLAGS = [
    "-Os",
    "-static",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-s",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
]
FREESTANDING = "/* freestanding */"
"""A source that begins with this line is linked without the C library."""


def build(folder: Path) -> list[Path]:
    """Compile each .c of `folder` that is newer than its binary in `folder/bin`; all the binaries."""
    out = folder / "bin"
    out.mkdir(exist_ok=True)
    made = []
    for source in sorted(folder.glob("*.c")):
        binary = out / source.stem
        made.append(binary)
        if binary.exists() and binary.stat().st_mtime >= source.stat().st_mtime:
            continue
        extra = ["-nostdlib", "-ffreestanding"] if source.read_text().startswith(FREESTANDING) else []
        scratch = out / f".{source.stem}.new"
        subprocess.run(["gcc", *FLAGS, *extra, "-o", str(scratch), str(source)], check=True)
        scratch.replace(binary)
    return made


def main() -> None:
    """Build this checkout's helpers."""
    for path in build(Path(__file__).resolve().parent.parent / "src/kumo/host/native"):
        sys.stdout.write(f"{path} {path.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
