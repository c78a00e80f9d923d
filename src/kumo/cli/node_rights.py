"""What machines that join may do, and what they are told: kubeadm's bindings for bootstrap tokens, and a config map.

`ClusterSettings` is what the control plane writes into `kube-system/kumo-nodes` and a node reads from it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kumo.api.node_components import CSI_USER, DNS_USER, INGRESS_USER, PROXY_USER, VIRT_ACCOUNT, VIRT_NAMESPACE
from kumo.api.objects import Object
from kumo.api.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, CONFIGMAPS, GVR, ROLEBINDINGS, ROLES

TOKEN_GROUP = "system:bootstrappers:kubeadm:default-node-token"
"""The group of machines that come with a token made by `kumo token create`."""
NODES_GROUP = "system:nodes"
NAMESPACE, NAME = "kube-system", "kumo-nodes"
APPROVER = "kubelet-serving-approver"
_RBAC = "rbac.authorization.k8s.io"
_SIGNING = "certificates.k8s.io"
_SELF_CLIENT = "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient"
_CLIENT = "system:certificates.k8s.io:certificatesigningrequests:nodeclient"


class SettingsError(Exception):
    """The cluster says of itself what can't be."""


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """What all nodes of a cluster have alike. Ranges are CIDR strings; `lease_seconds` is between two renewals."""

    pod_cidr: str
    service_cidr: str
    lease_seconds: float = 10.0
    capabilities: str = ""
    """Where launchers expect libvirt's capabilities on every node."""
    overlay_family: str = ""
    """`ipv6` where nodes reach each other by that for pods' packets."""

    def data(self) -> dict[str, str]:
        """As the config map's data."""
        return {
            "podCIDR": self.pod_cidr,
            "serviceCIDR": self.service_cidr,
            "leaseRenewSeconds": f"{self.lease_seconds:g}",
            "capabilitiesDirectory": self.capabilities,
            "overlayFamily": self.overlay_family,
        }

    @staticmethod
    def of(data: Mapping[str, Any]) -> ClusterSettings:
        """From the config map's data. Raises SettingsError."""
        try:
            pods, services = str(data["podCIDR"]), str(data["serviceCIDR"])
            ipaddress.IPv4Network(pods)
            for block in services.split(","):
                ipaddress.ip_network(block)
            lease = float(data.get("leaseRenewSeconds") or 10.0)
            if not 0.1 <= lease <= 3600:
                raise ValueError(f"leaseRenewSeconds {lease:g}")
        except (KeyError, ValueError) as error:
            raise SettingsError(f"the config map {NAMESPACE}/{NAME} can't be understood: {error}") from error
        family = "ipv6" if data.get("overlayFamily") == "ipv6" else ""
        return ClusterSettings(pods, services, lease, str(data.get("capabilitiesDirectory") or ""), family)


def node_objects(settings: ClusterSettings) -> list[tuple[GVR, Object]]:
    """The settings, and the rights of machines that join, of nodes, and of who approves their certificates."""
    get_nodes = "kubeadm:get-nodes"
    components = "kumo:node-components"
    reader = {"name": "kumo:node-settings", "namespace": NAMESPACE}
    read = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [NAME], "verbs": ["get"]}
    return [
        (CLUSTERROLES, _role(get_nodes, {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]})),
        (CLUSTERROLEBINDINGS, _binding(get_nodes, get_nodes, TOKEN_GROUP)),
        (CLUSTERROLEBINDINGS, _binding("kubeadm:kubelet-bootstrap", "system:node-bootstrapper", TOKEN_GROUP)),
        (CLUSTERROLEBINDINGS, _binding("kubeadm:node-autoapprove-bootstrap", _CLIENT, TOKEN_GROUP)),
        (CLUSTERROLEBINDINGS, _binding("kubeadm:node-autoapprove-certificate-rotation", _SELF_CLIENT, NODES_GROUP)),
        (CLUSTERROLES, _role(components, _impersonation())),
        (CLUSTERROLEBINDINGS, _binding(components, components, NODES_GROUP)),
        *_approver(),
        (
            CONFIGMAPS,
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": NAME, "namespace": NAMESPACE},
                "data": settings.data(),
            },
        ),
        (ROLES, {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": reader, "rules": [read]}),
        (
            ROLEBINDINGS,
            {
                "apiVersion": f"{_RBAC}/v1",
                "kind": "RoleBinding",
                "metadata": reader,
                "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": reader["name"]},
                "subjects": [_group(TOKEN_GROUP), _group(NODES_GROUP)],
            },
        ),
    ]


def virt_rights() -> list[tuple[GVR, Object]]:
    """Nodes may act as virt-handler, in the namespace of KubeVirt, which must be there."""
    meta = {"name": "kumo:node-components", "namespace": VIRT_NAMESPACE}
    names = [VIRT_ACCOUNT]
    rule = {"apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": names, "verbs": ["impersonate"]}
    return [
        (ROLES, {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": meta, "rules": [rule]}),
        (
            ROLEBINDINGS,
            {
                "apiVersion": f"{_RBAC}/v1",
                "kind": "RoleBinding",
                "metadata": meta,
                "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": meta["name"]},
                "subjects": [_group(NODES_GROUP)],
            },
        ),
    ]


def _impersonation() -> Object:
    """A joined node has one certificate, its kubelet's; its other components act as the users they are elsewhere.

    The API server notes for which node they do, and holds them to it (`apiserver.admission.node_components`).
    """
    users = [PROXY_USER, DNS_USER, CSI_USER, INGRESS_USER]
    return {"apiGroups": [""], "resources": ["users"], "resourceNames": users, "verbs": ["impersonate"]}


def _approver() -> list[tuple[GVR, Object]]:
    name = f"system:controller:{APPROVER}"
    rules = [
        {"apiGroups": [_SIGNING], "resources": ["certificatesigningrequests"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [_SIGNING], "resources": ["certificatesigningrequests/approval"], "verbs": ["update"]},
        {
            "apiGroups": [_SIGNING],
            "resources": ["signers"],
            "resourceNames": ["kubernetes.io/kubelet-serving"],
            "verbs": ["approve"],
        },
        {"apiGroups": [""], "resources": ["services"], "resourceNames": ["kubernetes"], "verbs": ["get"]},
    ]
    subject = {"kind": "ServiceAccount", "name": APPROVER, "namespace": NAMESPACE}
    return [(CLUSTERROLES, _role(name, *rules)), (CLUSTERROLEBINDINGS, _bound(name, name, subject))]


def _role(name: str, *rules: Object) -> Object:
    return {"apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": list(rules)}


def _binding(name: str, role: str, group: str) -> Object:
    return _bound(name, role, _group(group))


def _bound(name: str, role: str, subject: Object) -> Object:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }


def _group(name: str) -> Object:
    return {"kind": "Group", "apiGroup": _RBAC, "name": name}
