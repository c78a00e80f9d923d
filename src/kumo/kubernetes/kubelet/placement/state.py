"""The files that say where containers are: `cpu_manager_state`, `memory_manager_state`. They survive the kubelet.

Their fields are upstream's; the checksum (CRC-32 of the rest, keys sorted) is the kubelet's own. A file that another
policy wrote is refused: the node has to be drained and the file deleted, as upstream asks.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import msgspec

from kumo.kubernetes.kubelet.placement import cpuset
from kumo.kubernetes.kubelet.placement.cpus import CpuBook
from kumo.kubernetes.kubelet.placement.memory import Block, MemoryBook, NodeMemory, Table

CPU_FILE, MEMORY_FILE = "cpu_manager_state", "memory_manager_state"
_NAMES = {CPU_FILE: "CPU manager", MEMORY_FILE: "memory manager"}


def _sum(data: dict[str, Any]) -> int:
    return zlib.crc32(msgspec.json.encode(data, order="sorted"))


def encode(data: dict[str, Any]) -> bytes:
    """A file's content."""
    return msgspec.json.encode({**data, "checksum": _sum(data)})


def decode(content: bytes, policy: str) -> dict[str, Any]:
    """What a file holds. Raises ValueError for one that is broken or of another policy."""
    found = msgspec.json.decode(content)
    if not isinstance(found, dict):
        raise ValueError("checkpoint is corrupted")
    data = {k: v for k, v in found.items() if k != "checksum"}
    if found.get("checksum") != _sum(data):
        raise ValueError("checkpoint is corrupted")
    if data.get("policyName") != policy:
        raise ValueError(
            f'configured policy "{policy}" differs from state checkpoint policy "{data.get("policyName")}"'
        )
    return data


def cpu_data(book: CpuBook, policy: str) -> dict[str, Any]:
    """The book of processors as its file has it."""
    entries = {uid: {n: cpuset.text(c) for n, c in found.items()} for uid, found in book.given.items()}
    made: dict[str, Any] = {"policyName": policy, "defaultCpuSet": cpuset.text(book.shared)}
    return made | ({"entries": entries} if entries else {})


def cpu_book(data: dict[str, Any]) -> CpuBook:
    """The book of a file. Raises ValueError."""
    try:
        entries = data.get("entries") or {}
        given = {uid: {n: cpuset.parse(c) for n, c in found.items()} for uid, found in entries.items()}
        return CpuBook(cpuset.parse(data["defaultCpuSet"]), given)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"checkpoint has another form: {error!r}") from error


def memory_data(book: MemoryBook, policy: str) -> dict[str, Any]:
    """The book of memory as its file has it."""
    machine = {
        str(number): {
            "numberOfAssignments": node.blocks,
            "memoryMap": {kind: _table(table) for kind, table in node.tables.items()},
            "cells": list(node.group),
        }
        for number, node in book.nodes.items()
    }
    entries = {
        uid: {
            name: [{"numaAffinity": list(b.nodes), "type": b.kind, "size": b.size} for b in blocks]
            for name, blocks in found.items()
        }
        for uid, found in book.given.items()
    }
    made: dict[str, Any] = {"policyName": policy, "machineState": machine}
    return made | ({"entries": entries} if entries else {})


def _table(table: Table) -> dict[str, int]:
    return {
        "total": table.total,
        "systemReserved": table.system,
        "allocatable": table.allocatable,
        "reserved": table.reserved,
        "free": table.free,
    }


def memory_book(data: dict[str, Any]) -> MemoryBook:
    """The book of a file. Raises ValueError."""
    try:
        nodes = {
            int(number): NodeMemory(
                {
                    kind: Table(t["total"], t["systemReserved"], t["allocatable"], t["reserved"], t["free"])
                    for kind, t in node["memoryMap"].items()
                },
                tuple(node["cells"]),
                node["numberOfAssignments"],
            )
            for number, node in data["machineState"].items()
        }
        given = {
            uid: {
                name: [Block(tuple(b["numaAffinity"]), b["type"], b["size"]) for b in blocks]
                for name, blocks in found.items()
            }
            for uid, found in (data.get("entries") or {}).items()
        }
        return MemoryBook(nodes, given)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"checkpoint has another form: {error!r}") from error


def load(folder: Path, name: str, policy: str) -> dict[str, Any] | None:
    """What a file of the folder holds, None without one. Raises ValueError (with advice) and OSError. Blocking."""
    path = folder / name
    try:
        return decode(path.read_bytes(), policy)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(unusable(folder, name, str(error))) from error


def unusable(folder: Path, name: str, why: str) -> str:
    """What the administrator is told of a file that can't be used."""
    return (
        f"could not restore state from checkpoint: {why}, please drain this node and delete the "
        f'{_NAMES[name]} checkpoint file "{folder / name}" before restarting Kubelet'
    )


def save(folder: Path, name: str, data: dict[str, Any]) -> None:
    """Write a file, as a whole or not at all. Raises OSError. Blocking."""
    fresh = folder / f".{name}.new"
    fresh.write_bytes(encode(data))
    fresh.replace(folder / name)
