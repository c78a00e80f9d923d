"""What virtual machines hold in memory, by process, the guests' own RAM apart."""

from __future__ import annotations

from pathlib import Path

from benchmarks.processes import argv, children, everybody, guest_memory, pss

PARTS = ("qemu", "libvirtd", "launcher", "shim", "pause", "tail", "other")
_NAMES = {"libvirtd": "libvirtd", "pause": "pause", "tail": "tail", "containerd-shim-runc-v2": "shim"}


def part_of(arguments: list[str]) -> str:
    """Which of PARTS a process with these arguments is."""
    name = Path(arguments[0]).name if arguments else ""
    if name.startswith("qemu-system"):
        return "qemu"
    if any("virt_launcher" in each for each in arguments):
        return "launcher"
    return _NAMES.get(name, "other")


def shims(data_dir: Path) -> list[int]:
    """The shims of the instance's pods, one a pod."""
    found = []
    for pid in everybody():
        arguments = argv(pid)
        if part_of(arguments) == "shim" and any(each.startswith(f"{data_dir}/") for each in arguments):
            found.append(pid)
    return found


def overhead(data_dir: Path) -> tuple[int, dict[str, int], int]:
    """(number of VMs, PSS in bytes beyond the guests' RAM of all processes of all pods, the guests' RAM in use).

    To be called while every pod of the instance is a launcher's.
    """
    parts = dict.fromkeys(PARTS, 0)
    machines = ram = 0
    for shim in shims(data_dir):
        for pid in (shim, *children(shim)):
            part, held = part_of(argv(pid)), pss(pid)
            if part == "qemu":
                machines += 1
                guest = guest_memory(pid)
                ram += guest
                held -= guest
            parts[part] += held
    return machines, parts, ram
