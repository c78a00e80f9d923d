"""The file that says which container has which device: it survives the kubelet. Its form is upstream's.

Upstream: `pkg/kubelet/cm/devicemanager/checkpoint`; tools of vendors read the file. The checksum is the kubelet's own.
"""

from __future__ import annotations

import base64
import zlib
from pathlib import Path
from typing import Any

import msgspec

from kumo.kubernetes.kubelet.devices.ledger import Claim, Ledger

FILE = "kubelet_internal_checkpoint"


def encode(ledger: Ledger) -> bytes:
    """The file's content."""
    entries = [
        {
            "PodUID": uid,
            "ContainerName": container,
            "ResourceName": resource,
            "DeviceIDs": {str(node): list(ids) for node, ids in claim.devices.items()},
            "AllocResp": base64.b64encode(claim.response).decode(),
        }
        for uid, container, resource, claim in ledger.entries()
    ]
    registered = {resource: sorted(ids) for resource, ids in ledger.healthy.items()}
    data = {"PodDeviceEntries": entries, "RegisteredDevices": registered}
    return msgspec.json.encode({"Data": data, "Checksum": zlib.crc32(msgspec.json.encode(data))})


def decode(content: bytes) -> Ledger:
    """The ledger; no device is healthy until its plugin comes back. Raises ValueError for a broken file."""
    found: Any = msgspec.json.decode(content)
    ledger = Ledger()
    try:
        data = found["Data"]
        if zlib.crc32(msgspec.json.encode(data)) != found["Checksum"]:
            raise ValueError("checkpoint is corrupted")
        for entry in data["PodDeviceEntries"]:
            devices = {int(node): tuple(ids) for node, ids in entry["DeviceIDs"].items()}
            claim = Claim(devices, base64.b64decode(entry["AllocResp"], validate=True))
            containers = ledger.claims.setdefault(entry["PodUID"], {})
            containers.setdefault(entry["ContainerName"], {})[entry["ResourceName"]] = claim
        for resource in data["RegisteredDevices"]:
            ledger.expect(resource)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"checkpoint has another form: {error!r}") from error
    return ledger


def load(folder: Path) -> Ledger | None:
    """The ledger that the folder's file holds, None without one. Raises ValueError, OSError. Blocking."""
    try:
        return decode((folder / FILE).read_bytes())
    except FileNotFoundError:
        return None


def save(folder: Path, ledger: Ledger) -> None:
    """Write the file, as a whole or not at all. Raises OSError. Blocking."""
    fresh = folder / f".{FILE}.new"
    folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    fresh.write_bytes(encode(ledger))
    fresh.replace(folder / FILE)
