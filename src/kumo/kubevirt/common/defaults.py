"""Defaults that are filled in before an instance type is applied: a disk for each volume, the default interface."""

from __future__ import annotations

from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.common.specs import Spec, child, devices, disks, interfaces, networks, volumes


class DefaultsError(ValueError):
    """The cluster's settings forbid the default that would be needed; the message is upstream's."""


def set_default_interface(config: ClusterConfig, spec: Spec) -> None:
    """Give a spec without any network the pod network, by the binding that the cluster prefers.

    Changes `spec`. Raises DefaultsError when that binding is not permitted.
    """
    if devices(spec).get("autoattachPodInterface") is False or networks(spec) or interfaces(spec):
        return
    binding = config.default_network_interface
    if binding == "bridge" and not config.permit_bridge_on_pod_network:
        raise DefaultsError("bridge interface is not enabled in kubevirt-config")
    if binding == "slirp":
        raise DefaultsError("slirp interface is deprecated as of v1.3")
    if binding in ("bridge", "masquerade"):
        child(child(spec, "domain"), "devices")["interfaces"] = [{"name": "default", binding: {}}]
    spec["networks"] = [{"name": "default", "pod": {}}]


def set_default_disks(spec: Spec) -> None:
    """Give every volume that neither a disk nor a file system uses a disk. Changes `spec`."""
    used = {d.get("name") for d in disks(spec)} | {f.get("name") for f in devices(spec).get("filesystems") or ()}
    missing = [{"name": v["name"]} for v in volumes(spec) if v.get("name") not in used]
    if missing:
        found = child(child(spec, "domain"), "devices")
        found["disks"] = [*(found.get("disks") or []), *missing]


def set_default_input(spec: Spec) -> None:
    """The tablet that `autoattachInputDevice` asks for, where there is no input yet. Changes `spec`."""
    found = devices(spec)
    if found.get("autoattachInputDevice") and not found.get("inputs"):
        found["inputs"] = [{"name": "default-0"}]
