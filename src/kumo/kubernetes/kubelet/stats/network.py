"""What went over a network namespace's interfaces: `/proc/{pid}/net/dev`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_RECEIVED, _SENT = 0, 8


@dataclass(frozen=True, slots=True)
class InterfaceUse:
    """One interface's counters: bytes, packets, errors and dropped packets, received and sent."""

    name: str
    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


def parse(text: str) -> list[InterfaceUse]:
    """The interfaces of a `net/dev` file, without the loopback."""
    found = []
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        numbers = [int(word) for word in rest.split() if word.isdigit()]
        if name.strip() == "lo" or len(numbers) < 16:
            continue
        found.append(InterfaceUse(name.strip(), *numbers[_RECEIVED : _RECEIVED + 4], *numbers[_SENT : _SENT + 4]))
    return found


def interfaces(pid: int | str) -> list[InterfaceUse]:
    """The interfaces that the process sees; none when it has ended. Blocking."""
    try:
        return parse(Path(f"/proc/{pid}/net/dev").read_text())
    except OSError:
        return []


def default_of(found: Sequence[InterfaceUse]) -> InterfaceUse | None:
    """The pod's own interface: `eth0`, else the first that is not a bridge's or a pod's end."""
    named = next((i for i in found if i.name == "eth0"), None)
    return named or next((i for i in found if not i.name.startswith(("veth", "kumo", "br", "docker", "tap"))), None)
