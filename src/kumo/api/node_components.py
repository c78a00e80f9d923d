"""What runs on every node beside its kubelet, and who it is towards the API server. Pure.

On a machine that has joined, these users are impersonated by the node (`system:node:NAME`), and the API server notes
for which one: under `NODE_NAME`, as in service account tokens that are bound to a pod (KEP-4193). Nobody can say so of
himself.
"""

from __future__ import annotations

from kumo.api.users import UserInfo

NODE_NAME = "authentication.kubernetes.io/node-name"
"""The key of `UserInfo.extra` with the node that a user is on."""
PROXY_USER, DNS_USER = "system:kube-proxy", "system:cluster-dns"
CSI_USER = "system:csi-controllers"
"""Who makes, grows and copies the volumes of a node."""
VIRT_NAMESPACE, VIRT_ACCOUNT = "kubevirt", "kubevirt-handler"
VIRT_USER = f"system:serviceaccount:{VIRT_NAMESPACE}:{VIRT_ACCOUNT}"
INGRESS_USER = "system:ingress-controller"
"""Who serves Ingresses on a node; on one that has joined, only if it is labelled so."""
INGRESS_LABEL = "node-restriction.kubernetes.io/ingress"
"""The label of joined nodes that serve Ingresses, and so read their certificates; no node can give it to itself."""
INGRESS_NAMESPACE, INGRESS_SERVICE, INGRESS_SECRET = "kube-system", "kumo-ingress", "kumo-ingress-default"
"""The load balancer before the servers, and the certificate that they show where no other is (it need not exist)."""
INGRESS_CONTROLLER = "kumo.dev/ingress"
"""What an IngressClass of theirs has in `spec.controller`."""
COMPONENT_USERS = frozenset((PROXY_USER, DNS_USER, CSI_USER, VIRT_USER, INGRESS_USER))
LOCAL_DRIVER = "local.csi.kumo.dev"
"""The driver of volumes that are directories of a node."""
LOCAL_TOPOLOGY = f"topology.{LOCAL_DRIVER}/node"
"""Its topology key: a volume is on one node."""
DNS_NAMESPACE, DNS_SERVICE = "kube-system", "kube-dns"


def node_acted_for(user: UserInfo) -> str:
    """The node that a component's user acts for; empty for one that serves the whole cluster, and for other users."""
    if not user.extra or user.name not in COMPONENT_USERS:
        return ""
    found = user.extra.get(NODE_NAME) or ()
    return found[0] if len(found) == 1 else ""
