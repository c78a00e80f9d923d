"""`kube-public/cluster-info`: how a machine that only has a bootstrap token finds the cluster and its CA.

Anybody may read it; a machine that joins believes it by the signature of its token, which the bootstrap signer adds
(kubeadm's token discovery: https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/).
"""

from __future__ import annotations

import base64

from kumo.api.objects import Object
from kumo.api.resources import CONFIGMAPS, GVR, ROLEBINDINGS, ROLES

_NAMESPACE, _NAME = "kube-public", "cluster-info"
_RBAC = "rbac.authorization.k8s.io"
_READER = "kubeadm:bootstrap-signer-clusterinfo"
"""What kubeadm calls the role and its binding."""


def cluster_info(server: str, ca: str) -> list[tuple[GVR, Object]]:
    """The config map, and the right to read it. `server` is the API server's URL, `ca` the cluster's CA (PEM)."""
    import yaml  # Not at every start of the command.

    cluster = {"certificate-authority-data": base64.b64encode(ca.encode()).decode(), "server": server}
    config: Object = {
        "apiVersion": "v1",
        "clusters": [{"cluster": cluster, "name": ""}],
        "contexts": None,
        "current-context": "",
        "kind": "Config",
        "preferences": {},
        "users": None,
    }
    meta = {"name": _NAME, "namespace": _NAMESPACE}
    reader = {"name": _READER, "namespace": _NAMESPACE}
    rule = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [_NAME], "verbs": ["get"]}
    return [
        (
            CONFIGMAPS,
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"kubeconfig": yaml.safe_dump(config)}},
        ),
        (ROLES, {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": reader, "rules": [rule]}),
        (
            ROLEBINDINGS,
            {
                "apiVersion": f"{_RBAC}/v1",
                "kind": "RoleBinding",
                "metadata": reader,
                "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": _READER},
                "subjects": [{"apiGroup": _RBAC, "kind": "User", "name": "system:anonymous"}],
            },
        ),
    ]
