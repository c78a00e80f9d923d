"""The node authorizer: what a kubelet may do, by what runs on its node (upstream's `plugin/pkg/auth/authorizer/node`).

A user is a node when it is in `system:nodes` and its name begins with `system:node:`. What the authorizer does not
allow, RBAC still may.
"""

from __future__ import annotations

from collections.abc import Callable

from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.attributes import Reader, RequestInfo
from kumo.kubernetes.apiserver.authorization.node_graph import NodeGraph
from kumo.kubernetes.apiserver.authorization.rules import Rule

NODES_GROUP = "system:nodes"
NODE_PREFIX = "system:node:"
NODE_LEASES = "kube-node-lease"
_READ = ("get", "list", "watch")
_OWN = ("get", "create", "update", "patch", "delete")
_ALLOWED = (True, "")
_SILENT = (False, "")
_Answer = tuple[bool, str]


def node_of(user: UserInfo) -> str | None:
    """The name of the node that the user is; None for anybody else."""
    if NODES_GROUP not in user.groups or not user.name.startswith(NODE_PREFIX):
        return None
    return user.name.removeprefix(NODE_PREFIX)


class NodeAuthorizer:
    """Answers for nodes. `rules` are those of the default role `system:node`, for what is not narrowed here."""

    def __init__(self, reader: Reader, rules: tuple[Rule, ...]) -> None:
        self._graph = NodeGraph(reader)
        self._rules = rules
        self._narrowed: dict[tuple[str, str], Callable[[str, RequestInfo], _Answer]] = {
            ("", "secrets"): self._read_named,
            ("", "configmaps"): self._read_named,
            ("", "persistentvolumeclaims"): self._claim,
            ("", "persistentvolumes"): self._get_one,
            ("resource.k8s.io", "resourceclaims"): self._get_one,
            ("storage.k8s.io", "volumeattachments"): self._get_one,
            ("", "serviceaccounts"): self._account,
            ("coordination.k8s.io", "leases"): self._lease,
            ("storage.k8s.io", "csinodes"): self._csi_node,
            ("resource.k8s.io", "resourceslices"): self._slice,
            ("", "nodes"): self._node,
            ("", "pods"): self._pod,
            ("certificates.k8s.io", "podcertificaterequests"): lambda node, info: _SILENT,
        }

    def authorize(self, node: str, user: UserInfo, info: RequestInfo) -> _Answer:
        """Whether the node may, and else why not (empty when only RBAC has a say)."""
        if not node:
            return False, f'unknown node for user "{user.name}"'
        if info.resource:
            narrowed = self._narrowed.get((info.group, info.resource))
            if narrowed is not None:
                return narrowed(node, info)
        return any(_allows(rule, info) for rule in self._rules), ""

    def _related(self, node: str, info: RequestInfo) -> _Answer:
        if not info.name:
            return False, "No Object name found"
        return self._path(node, info)

    def _path(self, node: str, info: RequestInfo) -> _Answer:
        if self._graph.related(node, info.resource, info.namespace, info.name):
            return _ALLOWED
        return False, f"no relationship found between node '{node}' and this object"

    def _read_named(self, node: str, info: RequestInfo) -> _Answer:
        if info.verb not in _READ:
            return False, "can only read resources of this type"
        if info.subresource:
            return False, "cannot read subresource"
        if not info.namespace:
            return False, "can only read namespaced object of this type"
        return self._related(node, info)

    def _get_one(self, node: str, info: RequestInfo) -> _Answer:
        if info.verb != "get":
            return False, "can only get individual resources of this type"
        if info.subresource:
            return False, "cannot get subresource"
        return self._related(node, info)

    def _claim(self, node: str, info: RequestInfo) -> _Answer:
        if info.subresource != "status":
            return self._get_one(node, info)
        if info.verb not in ("update", "patch"):
            return False, "can only get/update/patch this type"
        return self._related(node, info)

    def _account(self, node: str, info: RequestInfo) -> _Answer:
        if info.verb == "get" and not info.subresource:
            return self._read_named(node, info)
        if info.verb != "create" or not info.name:
            return False, "can only create tokens for individual service accounts"
        if info.subresource != "token":
            return False, "can only create token subresource of serviceaccount"
        return self._path(node, info)

    def _lease(self, node: str, info: RequestInfo) -> _Answer:
        if info.verb not in _OWN:
            return False, "can only get, create, update, patch, or delete a node lease"
        if info.namespace != NODE_LEASES:
            return False, f'can only access leases in the "{NODE_LEASES}" system namespace'
        # The name of a new one is NodeRestriction's to check: it is in the body.
        if info.verb != "create" and info.name != node:
            return False, "can only access node lease with the same name as the requesting node"
        return _ALLOWED

    def _csi_node(self, node: str, info: RequestInfo) -> _Answer:
        if info.verb not in _OWN:
            return False, "can only get, create, update, patch, or delete a CSINode"
        if info.subresource:
            return False, "cannot authorize CSINode subresources"
        if info.verb != "create" and info.name != node:
            return False, "can only access CSINode with the same name as the requesting node"
        return _ALLOWED

    def _slice(self, node: str, info: RequestInfo) -> _Answer:
        if info.subresource:
            return False, "cannot authorize ResourceSlice subresources"
        if info.verb == "create":
            return _ALLOWED
        if info.verb in ("get", "update", "patch", "delete"):
            return self._related(node, info)
        if info.verb in ("watch", "list", "deletecollection"):
            if _selects(info, "spec.nodeName", node):
                return _ALLOWED
            return False, "can only list/watch/deletecollection resourceslices with nodeName field selector"
        verbs = "get, watch, list, create, update, patch, delete, deletecollection"
        return False, f"only the following verbs are allowed for a ResourceSlice: {verbs}"

    def _node(self, node: str, info: RequestInfo) -> _Answer:
        if not info.subresource:
            if info.verb in ("create", "update", "patch"):
                return _ALLOWED
            if info.verb in _READ:
                # By name, not by the graph: a kubelet looks for its node before there is one.
                if info.name == node:
                    return _ALLOWED
                if not info.name:
                    return False, f"node '{node}' cannot read all nodes, only its own Node object"
                return False, f"node '{node}' cannot read '{info.name}', only its own Node object"
        return (info.subresource == "status" and info.verb in ("update", "patch")), ""

    def _pod(self, node: str, info: RequestInfo) -> _Answer:
        if info.subresource == "eviction":
            return info.verb == "create", ""
        if info.subresource == "status":
            return info.verb in ("update", "patch"), ""
        if info.subresource:
            return _SILENT
        if info.verb == "get":
            return self._get_one(node, info)
        if info.verb in ("list", "watch"):
            if _selects(info, "spec.nodeName", node):
                return _ALLOWED
            if info.name:
                return self._related(node, info)
            return False, "can only list/watch pods with spec.nodeName field selector"
        return info.verb in ("create", "delete"), ""


def _selects(info: RequestInfo, field: str, value: str) -> bool:
    return (field, "=", value) in info.field_requirements


def _allows(rule: Rule, info: RequestInfo) -> bool:
    if not rule.allows_verb(info.verb):
        return False
    if not info.resource:
        return rule.allows_url(info.path)
    named = not rule.names or info.name in rule.names
    return named and rule.allows_resource(info.group, info.resource, info.subresource)
