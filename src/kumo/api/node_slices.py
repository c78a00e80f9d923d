"""EndpointSlices (discovery.k8s.io/v1) of servers that each node has and that are no pods (DNS, Ingress). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kumo.api.objects import Object, owner_reference


def slice_name(service: str, node_name: str) -> str:
    """The name of the node's EndpointSlice of the Service."""
    return f"{service}-{node_name}"


def node_slice(
    service: str,
    namespace: str,
    node: Object,
    *,
    node_name: str,
    address: str,
    ports: Sequence[Mapping[str, Any]],
    labels: Mapping[str, str],
) -> Object:
    """The server at `address` on a node as the Service's only endpoint there; it goes with the Node `node`."""
    reference = owner_reference({"apiVersion": "v1", "kind": "Node", **node}, controller=False, block_deletion=False)
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": slice_name(service, node_name),
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service, **labels},
            "ownerReferences": [reference],
        },
        "addressType": "IPv6" if ":" in address else "IPv4",
        "ports": [dict(port) for port in ports],
        "endpoints": [
            {
                "addresses": [address],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": node_name,
            }
        ],
    }


def differs(wanted: Object, found: Object) -> bool:
    """Whether an EndpointSlice has to be written again."""
    if any(wanted[field] != found.get(field) for field in ("ports", "endpoints", "addressType")):
        return True
    meta = found["metadata"]
    same_labels = wanted["metadata"]["labels"].items() <= (meta.get("labels") or {}).items()
    return not same_labels or wanted["metadata"]["ownerReferences"] != meta.get("ownerReferences")
