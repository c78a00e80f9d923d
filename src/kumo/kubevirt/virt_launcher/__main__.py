"""`python -m kumo.kubevirt.virt_launcher`: the compute container's command."""

from __future__ import annotations

import os
import sys

from kumo.kubevirt.virt_launcher.launcher import Launcher
from kumo.kubevirt.virt_launcher.log import say
from kumo.kubevirt.virt_launcher.settings import parse


def main() -> int:
    """Run the launcher with the process's arguments and environment; the exit code."""
    try:
        settings = parse(sys.argv[1:])
    except ValueError as error:
        say("bad command line", error=str(error))
        return 2
    return Launcher(settings, os.environ).run()


if __name__ == "__main__":
    # Daemon threads sit in libvirt's C code: leave without waiting for them.
    code = main()
    sys.stdout.flush()
    os._exit(code)
