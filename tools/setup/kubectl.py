"""See to a kubectl that is new enough: the one on PATH, or Debian's package from a newer suite, unpacked.

    python tools/setup/kubectl.py TARGET NOTE

Writes to NOTE which program was found, or puts one at TARGET. Debian 12 has no usable kubectl; the binary of
Debian 13's package runs there.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from kumo.host.demo.debian import Archive, NoPackages

OLDEST = 30
SUITES = ("trixie", "sid")


def minor_version(program: str) -> int:
    """The minor version of Kubernetes 1.x that the program belongs to; 0 if it can't be told."""
    done = subprocess.run([program, "version", "--client", "-o", "json"], capture_output=True, text=True, check=False)
    try:
        return int(json.loads(done.stdout)["clientVersion"]["minor"].rstrip("+"))
    except (ValueError, KeyError):
        return 0


def fetch(target: Path) -> None:
    """Put Debian's kubectl at `target`. Raises NoPackages."""
    architecture = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    for suite in SUITES:
        with TemporaryDirectory(prefix="kumo-kubectl-") as scratch:
            archive = Archive(Path(scratch), suite, architecture.stdout.strip())
            try:
                archive.update()
                archive.download(["kubectl"], Path(scratch) / "unpacked")
            except NoPackages:
                if suite == SUITES[-1]:
                    raise
                continue
            program = Path(scratch) / "unpacked/usr/bin/kubectl"
            if minor_version(str(program)) >= OLDEST:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(program, target)
                return
    raise NoPackages(f"Debian's kubectl is older than 1.{OLDEST}")


def main() -> int:
    """The exit code."""
    target, note = Path(sys.argv[1]), Path(sys.argv[2])
    found = shutil.which("kubectl")
    if found and minor_version(found) >= OLDEST:
        note.write_text(found + "\n")
        return 0
    print("setup: fetching kubectl", flush=True)
    try:
        fetch(target)
    except NoPackages as error:
        print(f"setup: no kubectl of version 1.{OLDEST} or newer: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
