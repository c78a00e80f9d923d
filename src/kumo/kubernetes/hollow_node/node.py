"""The Node objects of hollow nodes, pure: what the kubelet of a machine of that size would write."""

from __future__ import annotations

import ipaddress
import uuid
from typing import Any

from kumo.api.objects import Object, timestamp, uid_of
from kumo.kubernetes.hollow_node.config import HollowConfig

LEASE_NAMESPACE = "kube-node-lease"
_ADDRESSES = ipaddress.ip_network("198.18.0.0/15")
"""RFC 2544: addresses for measuring devices. Nothing answers on them."""
_FEATURES = ("RestartAllContainersOnContainerExits",)
_SAMENESS = uuid.UUID("a6f3b7de-7c5c-5f0e-9a51-6b756d6f0001")


def node_address(index: int) -> str:
    """The InternalIP of the node with this number."""
    return str(_ADDRESSES[1 + index % (_ADDRESSES.num_addresses - 2)])


def node_object(config: HollowConfig, index: int) -> Object:
    """The Node to create; `index` counts from 0 within the fleet."""
    name = f"{config.prefix}{config.first + index}"
    labels = {
        "beta.kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
    }
    labels |= {key: values[index % len(values)] for key, values in config.labels.items()}
    node: Object = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {"kumo.dev/hollow": "true"}},
        "spec": {},
    }
    if config.taints:
        node["spec"]["taints"] = [dict(t) for t in config.taints]
    return node


def node_status(config: HollowConfig, index: int, old: Object | None) -> dict[str, Any]:
    """The status with a fresh heartbeat; transition times are kept from the `old` Node."""
    name = f"{config.prefix}{config.first + index}"
    machine = uuid.uuid5(_SAMENESS, name)
    return {
        "capacity": dict(config.capacity),
        "allocatable": dict(config.capacity),
        "addresses": [
            {"type": "InternalIP", "address": node_address(config.first + index)},
            {"type": "Hostname", "address": name},
            {"$patch": "replace"},
        ],
        "nodeInfo": {
            "architecture": "amd64",
            "bootID": str(uuid.uuid5(machine, "boot")),
            "containerRuntimeVersion": "hollow://1.0.0",
            "kernelVersion": "6.1.0-hollow",
            "kubeProxyVersion": "",
            "kubeletVersion": f"v{config.version}",
            "machineID": machine.hex,
            "operatingSystem": "linux",
            "osImage": "kumo hollow node",
            "systemUUID": str(machine),
        },
        "conditions": _conditions(old),
        "declaredFeatures": list(_FEATURES),
    }


def _conditions(old: Object | None) -> list[dict[str, Any]]:
    now = timestamp()
    before = {c["type"]: c for c in ((old or {}).get("status") or {}).get("conditions") or ()}
    wanted = (
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    )
    made = []
    for kind, status, reason, message in wanted:
        same = before.get(kind, {}).get("status") == status
        moved = before[kind].get("lastTransitionTime") if same else None
        made.append(
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": now,
                "lastTransitionTime": moved or now,
            }
        )
    return made


def lease_object(name: str, node: Object, renewed: str) -> Object:
    """The node's lease, owned by the Node so that it goes with it; `renewed` is a MicroTime."""
    owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid_of(node)}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": renewed},
    }
