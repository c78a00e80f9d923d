"""The VMI's status as virt-handler sees it. Pure: takes the old status and gives a new one.

Upstream divides the status among its components; here are the fields of virt-handler (`pkg/virt-handler/vm.go`).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from kumo.api.conditions import find, set_condition
from kumo.api.objects import Object
from kumo.kubevirt.virt_handler import decisions, guest_agent
from kumo.kubevirt.virt_handler.network.plan import POD_INTERFACE

SYNC_FAILED = "Synchronizing with the Domain failed."
_PAUSED = {
    "User": ("PausedByUser", "VMI was paused by user"),
    "IOError": ("PausedIOError", "VMI was paused, low-level IO error detected"),
    "Migration": ("PausedByMigrationMonitor", "VMI was paused by the migration monitor"),
}


@dataclass(frozen=True, slots=True)
class View:
    """What virt-handler knows of the machine beside the VMI itself."""

    domain: dict[str, Any] | None = None
    """The launcher's last word; None when there is no launcher."""
    pod_ip: str = ""
    macs: dict[str, str] = field(default_factory=dict)
    """MAC addresses by the interface's name."""
    agent: dict[str, Any] = field(default_factory=dict)
    """What the guest agent said last (libvirt's flat names); empty without one."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of the images that were made for volumes (cloud-init, config maps, ...), by the volume's name."""
    error: str = ""
    """Why the domain could not be synchronised; empty when it could."""
    phase: str = ""
    """Overrides the phase that the domain means (`Failed` when the launcher is gone)."""


def updated(vmi: Object, view: View, now: str) -> dict[str, Any]:
    """The new status; equal to the old one when there is nothing to say. `now` is a `metav1.Time`."""
    old: dict[str, Any] = vmi.get("status") or {}
    status = copy.deepcopy(old)
    phase = view.phase or decisions.next_phase(vmi, view.domain)
    if phase != old.get("phase"):
        status["phase"] = phase
        moments = status.setdefault("phaseTransitionTimestamps", [])
        moments.append({"phase": phase, "phaseTransitionTimestamp": now})
    domain = view.domain or {}
    running = domain.get("status") in decisions.ACTIVE
    if running:
        _describe(status, vmi, view, domain)
    conditions: list[dict[str, Any]] = status.setdefault("conditions", [])
    _set(conditions, "AgentConnected", bool(running and domain.get("agentConnected")), now)
    paused = _PAUSED.get(domain.get("reason", "")) if domain.get("status") == "Paused" else None
    _set(conditions, "Paused", paused is not None, now, *(paused or ()))
    _synchronized(conditions, view.error, now)
    if running:
        for kind, (wanted, reason, message) in migratability(vmi).items():
            _put(conditions, {"type": kind, "status": wanted, "reason": reason, "message": message}, now)
    if not conditions:
        del status["conditions"]
    return status


def _describe(status: dict[str, Any], vmi: Object, view: View, domain: dict[str, Any]) -> None:
    if domain.get("machine"):
        status["machine"] = {"type": domain["machine"]}
    status["guestOSInfo"] = guest_agent.os_info(view.agent)
    status["interfaces"] = _interfaces(status.get("interfaces") or [], vmi, view)
    status["selinuxContext"] = "none"  # upstream's word for a node without SELinux; kumo's launchers are not labelled
    status["migrationMethod"] = migration_method(vmi)
    targets = domain.get("disks") or {}
    for volume in status.get("volumeStatus") or ():
        if volume["name"] in targets:
            volume["target"] = targets[volume["name"]]
        if volume["name"] in view.sizes:
            volume["size"] = view.sizes[volume["name"]]


def _interfaces(old: list[dict[str, Any]], vmi: Object, view: View) -> list[dict[str, Any]]:
    """One entry an interface of the VMI, in its order; the guest agent adds the name inside the guest."""
    seen = {i["mac"].lower(): i for i in guest_agent.interfaces(view.agent)}
    known = {i.get("name"): i for i in old}
    found = []
    for interface in (vmi["spec"]["domain"].get("devices") or {}).get("interfaces") or ():
        name = interface["name"]
        entry = {**known.get(name, {}), "name": name, "podInterfaceName": POD_INTERFACE, "queueCount": 1}
        entry["linkState"] = "down" if interface.get("state") == "down" else "up"
        if mac := view.macs.get(name):
            entry["mac"] = mac
        inside = seen.get(str(entry.get("mac", "")).lower())
        entry["infoSource"] = "domain, guest-agent" if inside else "domain"
        addresses = [view.pod_ip] if view.pod_ip else []
        if inside:
            entry["interfaceName"] = inside["name"]
            if interface.get("bridge") is not None:
                addresses = _pod_ip_first(inside["addresses"], view.pod_ip) or addresses
        if addresses:
            entry["ipAddress"], entry["ipAddresses"] = addresses[0], addresses
        found.append(entry)
    return found


def _pod_ip_first(addresses: list[str], pod_ip: str) -> list[str]:
    wanted = [a for a in addresses if not a.startswith("fe80:")]
    return sorted(wanted, key=lambda address: address != pod_ip)


def migration_method(vmi: Object) -> str:
    """How the guest's disks would have to be moved: BlockMigration as soon as one of them is the node's alone."""
    shared = ("persistentVolumeClaim", "dataVolume")
    volumes = vmi["spec"].get("volumes") or ()
    return "LiveMigration" if all(any(v.get(k) for k in shared) for v in volumes) else "BlockMigration"


def migratability(vmi: Object) -> dict[str, tuple[str, str, str]]:
    """LiveMigratable and StorageLiveMigratable: status, reason, message. Guests are not moved yet."""
    for interface in (vmi["spec"]["domain"].get("devices") or {}).get("interfaces") or ():
        if interface.get("bridge") is not None:
            message = (
                "cannot migrate VMI which does not use masquerade, bridge with "
                "kubevirt.io/allow-pod-bridge-network-live-migration VM annotation or a migratable plugin "
                "to connect to the pod network"
            )
            refusal = ("False", "InterfaceNotLiveMigratable", message)
            return {"LiveMigratable": refusal, "StorageLiveMigratable": refusal}
    refusal = ("False", "NotLiveMigratable", "live migration is not supported by this node's virt-handler")
    return {"LiveMigratable": refusal, "StorageLiveMigratable": refusal}


def _set(
    conditions: list[dict[str, Any]], kind: str, present: bool, now: str, reason: str = "", message: str = ""
) -> None:
    """Conditions that upstream has only while they are true."""
    if not present:
        conditions[:] = [c for c in conditions if c.get("type") != kind]
        return
    wanted = {"type": kind, "status": "True", "reason": reason, "message": message}
    _put(conditions, {k: v for k, v in wanted.items() if v}, now)


def _synchronized(conditions: list[dict[str, Any]], error: str, now: str) -> None:
    if error:
        _put(conditions, {"type": "Synchronized", "status": "False", "reason": SYNC_FAILED, "message": error}, now)
    elif find(conditions, "Synchronized") is not None:
        conditions[:] = [c for c in conditions if c.get("type") != "Synchronized"]


def _put(conditions: list[dict[str, Any]], wanted: dict[str, Any], now: str) -> None:
    fresh = find(conditions, wanted["type"]) is None
    set_condition(conditions, wanted, now)
    if fresh:
        conditions[-1]["lastProbeTime"] = now
