"""Which claims are prepared for which pods: kept in the file `dra_manager_state`, so that it survives the kubelet.

Its form is upstream's (`pkg/kubelet/cm/dra/state`).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

FILE = "dra_manager_state"
_HEAD = {"kind": "DRACheckpoint", "apiVersion": "checkpoint.dra.kubelet.k8s.io/v1"}


@dataclass(frozen=True, slots=True)
class PreparedDevice:
    """A device that a driver has prepared; without `requests` it is for all of them."""

    pool: str
    device: str
    requests: tuple[str, ...]
    cdi: tuple[str, ...]
    share: str = ""
    """Which part of a device that several claims have."""

    def serves(self, request: str) -> bool:
        """Whether a container that names this request of the claim (empty: the whole claim) gets it."""
        bases = {r.partition("/")[0] for r in self.requests}
        return not request or not self.requests or request in self.requests or request in bases


@dataclass(slots=True)
class ClaimRecord:
    """A claim with the drivers of its devices and what each has prepared."""

    uid: str
    name: str
    namespace: str
    pods: set[str] = field(default_factory=set)
    drivers: dict[str, list[PreparedDevice]] = field(default_factory=dict)
    prepared: bool = False


def encode(records: dict[str, ClaimRecord]) -> bytes:
    """The file's content."""
    claims = [
        {
            "ClaimUID": r.uid,
            "ClaimName": r.name,
            "Namespace": r.namespace,
            "PodUIDs": {uid: {} for uid in sorted(r.pods)},
            "DriverState": {name: {"Devices": [_device(d) for d in made]} for name, made in r.drivers.items()},
        }
        for r in records.values()
    ]
    data = msgspec.json.encode({**_HEAD, "ClaimInfoStateList": claims})
    return msgspec.json.encode({"Data": data.decode(), "Checksum": zlib.crc32(data)})


def _device(device: PreparedDevice) -> dict[str, Any]:
    return {
        "PoolName": device.pool,
        "DeviceName": device.device,
        "ShareID": device.share or None,
        "RequestNames": list(device.requests),
        "CDIDeviceIDs": list(device.cdi),
    }


def decode(content: bytes) -> dict[str, ClaimRecord]:
    """The records by claim uid, to be prepared again before they are used. Raises ValueError for a broken file."""
    try:
        found: Any = msgspec.json.decode(content)
        if zlib.crc32(found["Data"].encode()) != found["Checksum"]:
            raise ValueError("checkpoint is corrupted")
        records: dict[str, ClaimRecord] = {}
        for c in msgspec.json.decode(found["Data"])["ClaimInfoStateList"] or ():
            drivers = {name: [_prepared(d) for d in s["Devices"] or ()] for name, s in c["DriverState"].items()}
            records[c["ClaimUID"]] = ClaimRecord(
                c["ClaimUID"], c["ClaimName"], c["Namespace"], set(c["PodUIDs"] or ()), drivers
            )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"checkpoint has another form: {error!r}") from error
    return records


def _prepared(device: Any) -> PreparedDevice:
    requests, cdi = device["RequestNames"] or (), device["CDIDeviceIDs"] or ()
    return PreparedDevice(
        device["PoolName"], device["DeviceName"], tuple(requests), tuple(cdi), device["ShareID"] or ""
    )


def load(path: Path) -> dict[str, ClaimRecord]:
    """What the file holds; nothing without one. Raises ValueError, OSError. Blocking."""
    try:
        return decode(path.read_bytes())
    except FileNotFoundError:
        return {}


def save(path: Path, records: dict[str, ClaimRecord]) -> None:
    """Write the file, as a whole or not at all. Raises OSError. Blocking."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(encode(records))
    fresh.replace(path)
