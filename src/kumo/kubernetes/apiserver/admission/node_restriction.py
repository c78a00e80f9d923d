"""NodeRestriction: a kubelet writes its own node, its own lease and the pods bound to it, nothing else's."""

from __future__ import annotations

from kumo.api.objects import name_of
from kumo.api.resources import PODS
from kumo.kubernetes.apiserver.admission.refusals import refused
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader

NODES_GROUP = "system:nodes"
_PREFIX = "system:node:"
_LEASES = "kube-node-lease"


class NodeRestriction:
    """Judges writes whose user is in `system:nodes`; others pass."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def validate(self, attrs: AdmissionAttributes) -> None:
        """Raise 403 for a write that is not about the node's own objects."""
        user = attrs.user
        if NODES_GROUP not in user.groups:
            return
        node = user.name.removeprefix(_PREFIX)
        if node == user.name or not node:
            why = f'could not determine node from user "{user.name}"'
            raise refused(attrs, why)
        kind = (attrs.gvr.group, attrs.gvr.resource)
        if kind == ("", "nodes"):
            self._node(attrs, node)
        elif kind == ("", "pods"):
            self._pod(attrs, node)
        elif kind == ("", "serviceaccounts") and attrs.subresource == "token":
            self._token(attrs, node)
        elif kind == ("coordination.k8s.io", "leases"):
            if attrs.namespace != _LEASES:
                raise refused(attrs, f'can only access leases in the "{_LEASES}" system namespace')
            if (attrs.name or name_of(attrs.object or {})) != node:
                raise refused(attrs, "can only access node lease with the same name as the requesting node")
        elif kind == ("storage.k8s.io", "csinodes") and (attrs.name or name_of(attrs.object or {})) != node:
            raise refused(attrs, "can only access CSINode with the same name as the requesting node")

    def _node(self, attrs: AdmissionAttributes, node: str) -> None:
        name = attrs.name or name_of(attrs.object or {})
        if name != node:
            verb = "delete" if attrs.operation == "DELETE" else "modify"
            raise refused(attrs, f'node "{node}" is not allowed to {verb} node "{name}"')
        if attrs.operation == "DELETE":
            raise refused(attrs, f'node "{node}" is not allowed to delete node "{name}"')
        new, old = (attrs.object or {}).get("spec") or {}, (attrs.old_object or {}).get("spec") or {}
        if attrs.operation == "UPDATE" and new.get("taints") != old.get("taints"):
            raise refused(attrs, f'node "{node}" is not allowed to modify taints')

    def _pod(self, attrs: AdmissionAttributes, node: str) -> None:
        if attrs.operation == "CONNECT":
            return
        if attrs.operation == "CREATE" and attrs.subresource in ("", "eviction"):
            if attrs.subresource == "eviction":
                target = self._reader.get(PODS, attrs.name, attrs.namespace)
            else:
                target = attrs.object
                mirror = ((target or {}).get("metadata") or {}).get("annotations") or {}
                if "kubernetes.io/config.mirror" not in mirror:
                    why = 'pod does not have "kubernetes.io/config.mirror" annotation'
                    raise refused(attrs, f'{why}, node "{node}" can only create mirror pods')
        else:
            target = attrs.old_object or self._reader.get(PODS, attrs.name, attrs.namespace)
        if target is not None and ((target.get("spec") or {}).get("nodeName") or "") != node:
            deed = {
                "DELETE": "delete pods with spec.nodeName set to itself",
                "UPDATE": "update pod status for pods with spec.nodeName set to itself",
            }.get(attrs.operation, "evict pods with spec.nodeName set to itself")
            raise refused(attrs, f'node "{node}" can only {deed}')

    def _token(self, attrs: AdmissionAttributes, node: str) -> None:
        reference = ((attrs.object or {}).get("spec") or {}).get("boundObjectRef")
        if not reference or reference.get("kind") != "Pod":
            raise refused(attrs, f'node "{node}" can only request tokens bound to a pod')
        name = reference.get("name", "")
        pod = self._reader.get(PODS, name, attrs.namespace)
        if pod is None or (pod.get("spec") or {}).get("nodeName") != node:
            raise refused(attrs, f'node requested token bound to a pod scheduled on a different node ("{name}")')
