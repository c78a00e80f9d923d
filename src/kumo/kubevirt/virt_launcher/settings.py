"""The command line of virt-launcher: the flags that virt-controller writes into the pod (upstream's names)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Settings(NamedTuple):
    """What the pod says about its virtual machine. Times are in seconds."""

    name: str
    namespace: str
    uid: str
    qemu_timeout: float = 240.0
    grace_period: float = 45.0
    ovmf_path: str = "/usr/share/OVMF"


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_SWITCHES = frozenset(("--run-as-nonroot", "--image-volume", "--allow-emulation", "--upgrade-ordinal-ifaces"))


def duration(text: str) -> float:
    """Seconds of a Go duration of one unit, such as `240s`. Raises ValueError for anything else."""
    if text[-1:] in _UNITS:
        return float(text[:-1]) * _UNITS[text[-1]]
    raise ValueError(f"{text!r} is no duration: expected a number with the unit s, m or h")


def parse(argv: Sequence[str]) -> Settings:
    """The settings that `argv` (without the program's name) gives. Raises ValueError for a flag without its value.

    Flags nobody here needs are upstream's and are accepted: a pod made by a newer virt-controller must still start.
    """
    values: dict[str, str] = {}
    arguments = iter(argv)
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if not flag.startswith("--"):
            raise ValueError(f"{argument!r} is no flag")
        if flag in _SWITCHES:
            values[flag] = value or "true"
        elif equals:
            values[flag] = value
        else:
            try:
                values[flag] = next(arguments)
            except StopIteration:
                raise ValueError(f"the flag {flag} needs a value") from None
    missing = [flag for flag in ("--name", "--namespace", "--uid") if not values.get(flag)]
    if missing:
        raise ValueError(f"required flags are missing: {', '.join(missing)}")
    return Settings(
        name=values["--name"],
        namespace=values["--namespace"],
        uid=values["--uid"],
        qemu_timeout=duration(values.get("--qemu-timeout", "240s")),
        grace_period=float(values.get("--grace-period-seconds", "45")),
        ovmf_path=values.get("--ovmf-path", "/usr/share/OVMF"),
    )
