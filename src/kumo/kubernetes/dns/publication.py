"""The objects by which pods find the server: the Service `kube-dns` and an EndpointSlice with this node's address.

The Service has no selector, for the server is no pod; its name, ports and labels are those of upstream's installers.
Every node has a server, and each pod is led to its own node's: names are found as long as the node itself is there.
"""

from __future__ import annotations

from kumo.api.node_slices import node_slice
from kumo.api.objects import Object
from kumo.kubernetes.dns.config import ClusterDnsConfig
from kumo.kubernetes.dns.server import Ports

NAMESPACE = "kube-system"
SERVICE = "kube-dns"
MANAGED_BY = "cluster-dns.kumo.dev"
TRAFFIC = "Local"
METRICS = {"name": "metrics", "port": 9153, "protocol": "TCP"}


def service(config: ClusterDnsConfig) -> Object:
    """The Service at the address in every pod's resolv.conf."""
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
        {**METRICS, "targetPort": METRICS["port"]},
    ]
    labels = {"k8s-app": SERVICE, "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": config.service_address,
            "clusterIPs": [config.service_address],
            "internalTrafficPolicy": TRAFFIC,
            "ports": ports,
        },
    }


def amendment(service: Object) -> Object | None:
    """What the Service of an earlier version lacks, as a merge patch; None if it lacks nothing."""
    spec: Object = service["spec"]
    found: Object = {}
    if spec.get("internalTrafficPolicy") != TRAFFIC:
        found["internalTrafficPolicy"] = TRAFFIC
    if all(p.get("name") != METRICS["name"] for p in spec.get("ports") or ()):
        found["ports"] = [*(spec.get("ports") or ()), {**METRICS, "targetPort": METRICS["port"]}]
    return {"spec": found} if found else None


def endpoint_slice(config: ClusterDnsConfig, ports: Ports, node: Object) -> Object:
    """This node's server as an endpoint of the Service; it goes with the Node `node`."""
    figures = [{**METRICS, "port": config.metrics_port}] if config.metrics_port else []
    return node_slice(
        SERVICE,
        NAMESPACE,
        node,
        node_name=config.node_name,
        address=config.address,
        ports=[
            {"name": "dns", "port": ports.udp, "protocol": "UDP"},
            {"name": "dns-tcp", "port": ports.tcp, "protocol": "TCP"},
            *figures,
        ],
        labels={"endpointslice.kubernetes.io/managed-by": MANAGED_BY, "k8s-app": SERVICE},
    )
