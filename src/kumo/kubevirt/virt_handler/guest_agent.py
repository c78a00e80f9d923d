"""What the guest agent says, from libvirt's flat names to the API's shapes (`subresources.kubevirt.io/v1`). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Flat = Mapping[str, Any]

_OS_FIELDS = {
    "os.name": "name",
    "os.kernel-release": "kernelRelease",
    "os.version": "version",
    "os.pretty-name": "prettyName",
    "os.version-id": "versionId",
    "os.kernel-version": "kernelVersion",
    "os.machine": "machine",
    "os.id": "id",
}


def os_info(info: Flat) -> dict[str, Any]:
    """`VirtualMachineInstanceGuestOSInfo`."""
    return {field: info[key] for key, field in _OS_FIELDS.items() if info.get(key)}


def users(info: Flat) -> list[dict[str, Any]]:
    """`VirtualMachineInstanceGuestOSUser`s who are logged in; times are seconds since the epoch."""
    found = []
    for index in range(int(info.get("user.count", 0))):
        prefix = f"user.{index}."
        user = {"userName": info.get(prefix + "name", "")}
        if domain := info.get(prefix + "domain"):
            user["domain"] = domain
        login = info.get(prefix + "login-time")
        if login is not None:
            user["loginTime"] = int(login) / 1000
        found.append(user)
    return found


def file_systems(info: Flat) -> list[dict[str, Any]]:
    """`VirtualMachineInstanceFileSystem`s."""
    found = []
    for index in range(int(info.get("fs.count", 0))):
        prefix = f"fs.{index}."
        disks = []
        for number in range(int(info.get(prefix + "disk.count", 0))):
            at = f"{prefix}disk.{number}."
            disk = {"busType": info.get(at + "bus", ""), "serial": info.get(at + "serial", "")}
            disks.append({k: v for k, v in disk.items() if v})
        system: dict[str, Any] = {
            "diskName": info.get(prefix + "name", ""),
            "mountPoint": info.get(prefix + "mountpoint", ""),
            "fileSystemType": info.get(prefix + "fstype", ""),
            "usedBytes": int(info.get(prefix + "used-bytes", 0)),
            "totalBytes": int(info.get(prefix + "total-bytes", 0)),
        }
        if any(disks):
            system["disk"] = disks
        found.append(system)
    return found


def interfaces(info: Flat) -> list[dict[str, Any]]:
    """The guest's own view of its interfaces: `{name, mac, addresses}`, loopback left out."""
    found = []
    for index in range(int(info.get("if.count", 0))):
        prefix = f"if.{index}."
        mac = str(info.get(prefix + "hwaddr") or "")
        if not mac or mac == "00:00:00:00:00:00":
            continue
        addresses = [
            str(info.get(f"{prefix}addr.{number}.addr", ""))
            for number in range(int(info.get(prefix + "addr.count", 0)))
        ]
        found.append({"name": info.get(prefix + "name", ""), "mac": mac, "addresses": [a for a in addresses if a]})
    return found


def summary(info: Flat) -> dict[str, Any]:
    """`VirtualMachineInstanceGuestAgentInfo`, as `virtctl guestosinfo` prints it."""
    body: dict[str, Any] = {"guestAgentVersion": str(info.get("agent.version", ""))}
    if info.get("hostname"):
        body["hostname"] = info["hostname"]
    body["os"] = os_info(info)
    if info.get("timezone.name"):
        offset = int(info.get("timezone.offset", 0))
        body["timezone"] = f"{info['timezone.name']}, {offset}"
    if found := users(info):
        body["userList"] = found
    if systems := file_systems(info):
        body["fsInfo"] = {"disks": systems}
    return body


def item_list(kind: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    """A list of the subresource API."""
    return {"kind": kind, "apiVersion": "subresources.kubevirt.io/v1", "metadata": {}, "items": items}
