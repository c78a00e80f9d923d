"""The objects by which Ingresses are found: their class, the load balancer before haproxy, and its endpoint.

The Service has no selector, for haproxy is no pod. Its traffic policy is Local: haproxy sees who asks.
"""

from __future__ import annotations

from typing import Any

from kumo.api.node_slices import node_slice, slice_name
from kumo.api.objects import Object
from kumo.api.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, GVR, ROLEBINDINGS, ROLES
from kumo.kubernetes.ingress.config import CLASS, CONTROLLER, NAMESPACE, SERVICE, USER, IngressConfig

INGRESSES = GVR("networking.k8s.io", "v1", "ingresses")
INGRESS_CLASSES = GVR("networking.k8s.io", "v1", "ingressclasses", False)
_RBAC = "rbac.authorization.k8s.io"
_LOOK = ["get", "list", "watch"]


def objects() -> list[tuple[GVR, Object]]:
    """What `kumo up` creates if it is not there: the default class, and what the controller may do."""
    ingress_class: Object = {
        "apiVersion": INGRESS_CLASSES.api_version,
        "kind": "IngressClass",
        "metadata": {"name": CLASS, "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
        "spec": {"controller": CONTROLLER},
    }
    everywhere = [
        {"apiGroups": [""], "resources": ["services", "secrets"], "verbs": _LOOK},
        {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch", "update"]},
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": _LOOK},
        {"apiGroups": [INGRESSES.group], "resources": ["ingresses", "ingressclasses"], "verbs": _LOOK},
        {"apiGroups": [INGRESSES.group], "resources": ["ingresses/status"], "verbs": ["patch", "update"]},
    ]
    here = [
        {"apiGroups": [""], "resources": ["services"], "verbs": ["create", "patch", "update"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["create", "delete", "update"]},
    ]
    meta, local = {"name": USER}, {"name": USER, "namespace": NAMESPACE}
    return [
        (INGRESS_CLASSES, ingress_class),
        (CLUSTERROLES, _role("ClusterRole", meta, everywhere)),
        (CLUSTERROLEBINDINGS, _binding("ClusterRole", meta)),
        (ROLES, _role("Role", local, here)),
        (ROLEBINDINGS, _binding("Role", local)),
    ]


def _role(kind: str, metadata: dict[str, str], rules: list[dict[str, Any]]) -> Object:
    return {"apiVersion": f"{_RBAC}/v1", "kind": kind, "metadata": dict(metadata), "rules": rules}


def _binding(kind: str, metadata: dict[str, str]) -> Object:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": f"{kind}Binding",
        "metadata": dict(metadata),
        "roleRef": {"apiGroup": _RBAC, "kind": kind, "name": USER},
        "subjects": [{"kind": "User", "apiGroup": _RBAC, "name": USER}],
    }


def service(config: IngressConfig) -> Object:
    """The load balancer, whose address every Ingress shows."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/name": SERVICE}},
        "spec": {
            "type": "LoadBalancer",
            "externalTrafficPolicy": "Local",
            "ipFamilyPolicy": "PreferDualStack",
            "ports": [
                {"name": "http", "port": 80, "protocol": "TCP", "targetPort": config.http_port},
                {"name": "https", "port": 443, "protocol": "TCP", "targetPort": config.https_port},
            ],
        },
    }


def is_single(balancer: Object) -> bool:
    """Whether the load balancer was made when there was but one family."""
    return bool(balancer["spec"].get("ipFamilyPolicy") == "SingleStack")


def slice_names(config: IngressConfig) -> list[str]:
    """The names of this node's EndpointSlices, one for each family."""
    return [slice_name(SERVICE, config.node_name) + ("-6" if ":" in a else "") for a in config.addresses]


def endpoint_slices(config: IngressConfig, node: Object) -> list[Object]:
    """haproxy on this node as an endpoint of the Service, by each family; they go with the Node `node`."""
    made = [_endpoint_slice(config, node, address) for address in config.addresses]
    for piece, name in zip(made, slice_names(config), strict=True):
        piece["metadata"]["name"] = name
    return made


def _endpoint_slice(config: IngressConfig, node: Object, address: str) -> Object:
    return node_slice(
        SERVICE,
        NAMESPACE,
        node,
        node_name=config.node_name,
        address=address,
        ports=[
            {"name": "http", "port": config.http_port, "protocol": "TCP"},
            {"name": "https", "port": config.https_port, "protocol": "TCP"},
        ],
        labels={"endpointslice.kubernetes.io/managed-by": "ingress.kumo.dev"},
    )


def shown(balancer: Object | None) -> list[dict[str, str]]:
    """What every Ingress shows in `status.loadBalancer.ingress`: where the load balancer is reached."""
    entries = (((balancer or {}).get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return [{k: e[k] for k in ("ip", "hostname") if e.get(k)} for e in entries]
