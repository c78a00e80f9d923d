from __future__ import annotations

import pytest

from kumo.kubevirt.virt_launcher import states
from kumo.kubevirt.virt_launcher.settings import Settings, duration, parse

pytestmark = pytest.mark.unit

UPSTREAM = [
    *("--qemu-timeout", "240s", "--name", "vm", "--uid", "u1", "--namespace", "ns"),
    *("--kubevirt-share-dir", "/var/run/kubevirt", "--ephemeral-disk-dir", "/var/run/kubevirt-ephemeral-disks"),
    *("--container-disk-dir", "/var/run/kubevirt/container-disks", "--grace-period-seconds", "15"),
    *("--hook-sidecars", "0", "--ovmf-path", "/usr/share/OVMF", "--disk-memory-limit", "2097152000"),
    *("--hypervisor", "kvm", "--run-as-nonroot", "--image-volume", "--upgrade-ordinal-ifaces", "--allow-emulation"),
]


def test_upstreams_command_line() -> None:
    assert parse(UPSTREAM) == Settings("vm", "ns", "u1", 240.0, 15.0, "/usr/share/OVMF")


def test_flags_with_an_equals_sign() -> None:
    assert parse(["--name=a", "--namespace=b", "--uid=c", "--qemu-timeout=2m"]).qemu_timeout == 120.0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--name", "a"], "--namespace, --uid"),
        (["--name"], "needs a value"),
        (["name"], "is no flag"),
        (["--name", "a", "--namespace", "b", "--uid", "c", "--qemu-timeout", "5"], "no duration"),
    ],
)
def test_bad_command_lines(argv: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(argv)


@pytest.mark.parametrize(("text", "seconds"), [("5s", 5.0), ("1.5m", 90.0), ("2h", 7200.0)])
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((1, 1), ("Running", "Unknown")),
        ((3, 1), ("Paused", "User")),
        ((3, 5), ("Paused", "IOError")),
        ((5, 1), ("Shutoff", "Shutdown")),
        ((5, 2), ("Shutoff", "Destroyed")),
        ((5, 3), ("Shutoff", "Crashed")),
        ((6, 1), ("Crashed", "Panicked")),
        ((99, 0), ("NoState", "Unknown")),
        ((5, 99), ("Shutoff", "Unknown")),
    ],
)
def test_states(numbers: tuple[int, int], words: tuple[str, str]) -> None:
    assert states.describe(*numbers) == words
