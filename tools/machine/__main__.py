"""Build a Debian machine, boot it, check kumo in it, remove it: `python -m machine --help` (by `make machine`)."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

from machine.checks import CHECKS, CheckFailed
from machine.guest import Guest, GuestError, Hardware, has_kernel, remove
from machine.image import Layout, build, pack


def main() -> int:
    """The exit code: 1 if a check failed."""
    parser = argparse.ArgumentParser(prog="machine", description=__doc__)
    parser.add_argument("--suite", default="bookworm", help="Debian's release (bookworm, trixie)")
    parser.add_argument("--directory", type=Path, help="where it is built; needs 8 GB")
    parser.add_argument("--keep", action="store_true", help="keep what was built for the next time")
    parser.add_argument("--only", nargs="*", choices=[c.__name__ for c in CHECKS], help="these checks alone")
    given = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root: the machine's disk is made by chroot")
    if shutil.which("mmdebstrap") is None:
        parser.error("needs mmdebstrap: apt-get install mmdebstrap")
    layout = Layout((given.directory or Path(f"/var/tmp/kumo-machine-{given.suite}")).absolute(), given.suite)
    if given.keep and has_kernel(layout):
        pack(layout, 16)  # a fresh disk of the tree that is there
    else:
        build(layout, gigabytes=16)
    guest = Guest(layout, Hardware())
    try:
        say(f"{given.suite} boots: {guest.boot():.0f} s; {guest.run('uname -r; containerd --version').split()[0]}")
        return check(guest, given.only)
    finally:
        guest.kill()
        if not given.keep:
            remove(layout)


def check(guest: Guest, only: list[str] | None) -> int:
    """Run the checks; each builds on those before it, so the first that fails is the last."""
    for one in CHECKS:
        if only and one.__name__ not in only:
            continue
        began = time.monotonic()
        try:
            one(guest)
        except (CheckFailed, GuestError) as error:
            say(f"✗ {one.__name__}: {error}")
            say(guest.run("journalctl -u kumo --no-pager -n 20; tail -n 5 /var/lib/kumo/logs/node.log", check=False))
            return 1
        say(f"✓ {one.__name__:<12} {time.monotonic() - began:5.0f} s  {(one.__doc__ or '').splitlines()[0]}")
    return 0


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
