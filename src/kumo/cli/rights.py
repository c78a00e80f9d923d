"""What kumo's own node components may do beyond upstream's default roles."""

from __future__ import annotations

from kumo.api.node_components import DNS_USER, PROXY_USER
from kumo.api.objects import Object
from kumo.api.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, GVR, ROLEBINDINGS, ROLES

_RBAC = "rbac.authorization.k8s.io"
_NAME = "system:cluster-dns"
_READ = ["get", "list", "watch"]
_LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}


def rights() -> list[tuple[GVR, Object]]:
    """Cluster DNS: it reads names everywhere, and publishes itself in kube-system."""
    rules = [
        {"apiGroups": [""], "resources": ["services", "namespaces", "pods", "endpoints"], "verbs": _READ},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": _READ},
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]},
    ]
    own = [
        {"apiGroups": [""], "resources": ["services"], "verbs": ["create", "update", "patch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["create", "update", "patch"]},
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["kube-dns"], "verbs": _READ},
    ]
    return [
        (CLUSTERROLES, {**_head("ClusterRole"), "rules": rules}),
        (CLUSTERROLEBINDINGS, {**_head("ClusterRoleBinding"), **_binding("ClusterRole")}),
        (ROLES, {**_head("Role", "kube-system"), "rules": own}),
        (ROLEBINDINGS, {**_head("RoleBinding", "kube-system"), **_binding("Role")}),
        (CLUSTERROLES, _metrics_reader()),
        *_network_policy(),
    ]


def _network_policy() -> list[tuple[GVR, Object]]:
    """Who enforces network policies on a node does it as kube-proxy, and looks at more than upstream's does."""
    name = "kumo:network-policy"
    rules = [
        {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": _READ},
        {"apiGroups": [""], "resources": ["pods", "namespaces"], "verbs": _READ},
    ]
    head: Object = {"apiVersion": f"{_RBAC}/v1", "metadata": {"name": name, "labels": _LABELS}}
    subject = {"kind": "User", "apiGroup": _RBAC, "name": PROXY_USER}
    role = {"apiGroup": _RBAC, "kind": "ClusterRole", "name": name}
    return [
        (CLUSTERROLES, {**head, "kind": "ClusterRole", "rules": rules}),
        (CLUSTERROLEBINDINGS, {**head, "kind": "ClusterRoleBinding", "roleRef": role, "subjects": [subject]}),
    ]


def _metrics_reader() -> Object:
    """Who may look at pods may see what they use: the role that comes with upstream's metrics-server."""
    labels = {f"rbac.authorization.k8s.io/aggregate-to-{role}": "true" for role in ("admin", "edit", "view")}
    rules = [{"apiGroups": ["metrics.k8s.io"], "resources": ["pods", "nodes"], "verbs": _READ}]
    metadata: Object = {"name": "system:aggregated-metrics-reader", "labels": labels}
    return {"apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole", "metadata": metadata, "rules": rules}


def _head(kind: str, namespace: str = "") -> Object:
    metadata: Object = {"name": _NAME, "labels": _LABELS}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": f"{_RBAC}/v1", "kind": kind, "metadata": metadata}


def _binding(role: str) -> Object:
    subject = {"kind": "User", "apiGroup": _RBAC, "name": DNS_USER}
    return {"roleRef": {"apiGroup": _RBAC, "kind": role, "name": _NAME}, "subjects": [subject]}
