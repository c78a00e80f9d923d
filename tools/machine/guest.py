"""A machine that runs: QEMU with the disk of `machine.image`, reached by ssh through its user network."""

from __future__ import annotations

import shlex
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from machine.image import Layout

BOOT_SECONDS = 600.0
"""An emulated processor on a busy machine is slow; nothing here waits longer than it has to."""


class GuestError(Exception):
    """The guest did not do what it was to do; the message holds what it said."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the guest has."""

    processors: int = 4
    mebibytes: int = 4096
    cpu: str = "max"


class Guest:
    """One running machine. It sees no network but its own; this machine's loopback leads to its ssh."""

    def __init__(self, layout: Layout, hardware: Hardware) -> None:
        self._layout = layout
        self._hardware = hardware
        self._port = _free_port()
        self._console = layout.directory / "console.log"
        self._qemu: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """QEMU's."""
        return self._qemu.pid if self._qemu is not None else 0

    def boot(self) -> float:
        """Start it and wait until it lets us in; the seconds it took. Raises GuestError."""
        began = time.monotonic()
        with self._console.open("wb") as console:
            self._qemu = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        self.wait_for_boot(other_than="")
        return time.monotonic() - began

    def wait_for_boot(self, other_than: str) -> str:
        """Wait until it answers from a boot other than the one given; that boot's id. Raises GuestError."""
        end = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < end:
            if self._qemu is None or self._qemu.poll() is not None:
                raise GuestError(f"QEMU has ended: {self.console()[-2000:]}")
            done = self._ssh("cat /proc/sys/kernel/random/boot_id", timeout=60.0)
            if not done.returncode and done.stdout.strip() not in ("", other_than):
                return done.stdout.strip()
            time.sleep(2)
        raise GuestError(f"the guest does not answer: {self.console()[-2000:]}")

    def run(self, command: str, *, timeout: float = 600.0, check: bool = True) -> str:
        """What a shell command of root's prints there, both streams. Raises GuestError when it fails."""
        done = self._ssh(command, timeout=timeout)
        if check and done.returncode:
            raise GuestError(f"{command!r} ended with {done.returncode}: {done.stdout.strip()[-3000:]}")
        return done.stdout

    def console(self) -> str:
        """What the machine wrote to its serial line."""
        return self._console.read_text(errors="replace")

    def power_off(self) -> None:
        """End it as its power button would; after a while, at once."""
        if self._qemu is None:
            return
        self._ssh("systemctl poweroff", timeout=60.0)
        try:
            self._qemu.wait(300)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Pull the plug."""
        if self._qemu is not None and self._qemu.poll() is None:
            self._qemu.kill()
            self._qemu.wait()

    def _command(self) -> list[str]:
        hardware, layout = self._hardware, self._layout
        forward = f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self._port}-:22"
        return [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio",
            "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", hardware.cpu,
            "-smp", str(hardware.processors), "-m", str(hardware.mebibytes),
            "-kernel", str(layout.kernel), "-initrd", str(layout.initrd),
            "-append", "root=/dev/vda rw console=ttyS0 quiet",
            "-drive", f"file={layout.disk},if=virtio,format=raw,cache=unsafe",
            "-netdev", forward, "-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci",
        ]  # fmt: skip

    def _ssh(self, command: str, *, timeout: float) -> subprocess.CompletedProcess[str]:
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=30")
        argv = ["ssh", "-i", str(self._layout.key), "-p", str(self._port), *(w for o in options for w in ("-o", o))]
        script = f"export PATH=/root/kumo/.venv/bin:$PATH KUBECONFIG=/var/lib/kumo/admin.kubeconfig; {command}"
        try:
            return subprocess.run(
                [*argv, "root@127.0.0.1", f"bash -c {shlex.quote(script)} 2>&1"],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            said = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else error.stdout or ""
            return subprocess.CompletedProcess(argv, 124, f"{said}\n(no end within {timeout:.0f} s)", "")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def remove(layout: Layout) -> None:
    """Remove all that was built, without crossing into what may still be mounted there."""
    subprocess.run(["rm", "-rf", "--one-file-system", str(layout.directory)], check=True)


def has_kernel(layout: Layout) -> bool:
    """Whether a machine was built there."""
    return all(Path(p).exists() for p in (layout.kernel, layout.initrd, layout.disk))
