"""NodeRestriction: a kubelet writes its own node, its own lease and the pods bound to it, nothing else's."""

from __future__ import annotations

from collections.abc import Callable

from kumo.api.objects import Object, annotations_of, labels_of, name_of, uid_of
from kumo.api.resources import NODES, PODS
from kumo.kubernetes.apiserver.admission.node_labels import forbidden_labels
from kumo.kubernetes.apiserver.admission.node_tokens import TokenRestriction
from kumo.kubernetes.apiserver.admission.refusals import gone, refused
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader
from kumo.kubernetes.apiserver.authorization import Authorizer
from kumo.kubernetes.apiserver.authorization.nodes import NODE_LEASES, NODES_GROUP, node_of
from kumo.kubernetes.apiserver.authorization.pod_references import MIRROR, api_reference
from kumo.machinery.certificate_requests import RequestError, parse_request

__all__ = ["NODES_GROUP", "NodeRestriction"]
_NODE_SIGNERS = ("kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet")
_SAME_LEASE = "can only access node lease with the same name as the requesting node"
_SAME_CSI_NODE = "can only access CSINode with the same name as the requesting node"
_OWN_OWNER = "can only create pods with an owner reference set to itself"
_CLAIM_STATUS = ("capacity", "conditions", "allocatedResourceStatuses", "allocatedResources")


class NodeRestriction:
    """Judges writes whose user is a node; others pass."""

    def __init__(self, reader: Reader, authorizer: Authorizer | None = None) -> None:
        self._reader = reader
        self._tokens = TokenRestriction(reader, authorizer)
        self._steps: dict[tuple[str, str], Callable[[AdmissionAttributes, str], None]] = {
            ("", "pods"): self._pod,
            ("", "nodes"): self._node,
            ("", "persistentvolumeclaims"): _claim,
            ("", "serviceaccounts"): self._tokens.validate,
            ("coordination.k8s.io", "leases"): _lease,
            ("storage.k8s.io", "csinodes"): _csi_node,
            ("resource.k8s.io", "resourceslices"): _slice,
            ("certificates.k8s.io", "certificatesigningrequests"): _signing_request,
        }

    def validate(self, attrs: AdmissionAttributes) -> None:
        """Raise 403 for a write that is not about the node's own objects."""
        node = node_of(attrs.user)
        if node is None:
            return
        if not node:
            raise refused(attrs, f'could not determine node from user "{attrs.user.name}"')
        self.judge(attrs, node)

    def judge(self, attrs: AdmissionAttributes, node: str) -> None:
        """Raise 403 for a write that is not about the objects of `node`."""
        step = self._steps.get((attrs.gvr.group, attrs.gvr.resource))
        if step is not None:
            step(attrs, node)

    # -- nodes ------------------------------------------------------------------------------------------------------

    def _node(self, attrs: AdmissionAttributes, node: str) -> None:
        name = attrs.name or name_of(attrs.object or {})
        if name != node:
            raise refused(attrs, f'node "{node}" is not allowed to modify node "{name}"')
        new, old = attrs.object or {}, attrs.old_object or {}
        spec, before = new.get("spec") or {}, old.get("spec") or {}
        if attrs.operation == "CREATE":
            if spec.get("configSource") is not None:
                raise refused(attrs, f'node "{node}" is not allowed to create pods with a non-nil configSource')
            wrong = forbidden_labels(labels_of(new), {})
            if wrong:
                raise refused(attrs, f'node "{node}" is not allowed to set the following labels: {", ".join(wrong)}')
        elif attrs.operation == "UPDATE":
            source = spec.get("configSource")
            if source is not None and source != before.get("configSource"):
                why = "is not allowed to update configSource to a new non-nil configSource"
                raise refused(attrs, f'node "{node}" {why}')
            if (spec.get("taints") or []) != (before.get("taints") or []):
                raise refused(attrs, f'node "{node}" is not allowed to modify taints')
            if _owners(new) != _owners(old):
                raise refused(attrs, f'node "{node}" is not allowed to modify ownerReferences')
            wrong = forbidden_labels(labels_of(new), labels_of(old))
            if wrong:
                raise refused(attrs, f"is not allowed to modify labels: {', '.join(wrong)}")

    # -- pods -------------------------------------------------------------------------------------------------------

    def _pod(self, attrs: AdmissionAttributes, node: str) -> None:
        if attrs.subresource == "eviction":
            deed = "evict" if attrs.operation in ("CREATE", "DELETE") else ""
            if not deed:
                raise refused(attrs, f"unexpected operation {attrs.operation}")
            if _node_name(self._existing(attrs)) != node:
                raise refused(attrs, f"node {node} can only evict pods with spec.nodeName set to itself")
        elif attrs.subresource == "status":
            _pod_status(attrs, node)
        elif attrs.subresource:
            why = f"unexpected pod subresource \"{attrs.subresource}\", only 'status' and 'eviction' are allowed"
            raise refused(attrs, why)
        elif attrs.operation == "CREATE":
            self._mirror_pod(attrs, node)
        elif attrs.operation == "DELETE":
            if _node_name(self._existing(attrs)) != node:
                raise refused(attrs, f'node "{node}" can only delete pods with spec.nodeName set to itself')
        else:
            why = f'unexpected operation "{attrs.operation}", node "{node}" can only create and delete mirror pods'
            raise refused(attrs, why)

    def _existing(self, attrs: AdmissionAttributes) -> Object:
        pod = attrs.old_object or self._reader.get(PODS, attrs.name, attrs.namespace)
        if pod is None:
            raise gone("pod", attrs.name)
        return pod

    def _mirror_pod(self, attrs: AdmissionAttributes, node: str) -> None:
        pod = attrs.object or {}
        if MIRROR not in annotations_of(pod):
            raise refused(attrs, f'pod does not have "{MIRROR}" annotation, node "{node}" can only create mirror pods')
        if _node_name(pod) != node:
            raise refused(attrs, f'node "{node}" can only create pods with spec.nodeName set to itself')
        owners = _owners(pod)
        if len(owners) > 1:
            raise refused(attrs, f'node "{node}" can only create pods with a single owner reference set to itself')
        owner = owners[0] if owners else {}
        if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
            raise refused(attrs, f'node "{node}" {_OWN_OWNER}')
        if not owner.get("controller"):
            raise refused(attrs, f'node "{node}" can only create pods with a controller owner reference set to itself')
        if owner.get("blockOwnerDeletion"):
            raise refused(attrs, f'node "{node}" must not set blockOwnerDeletion on an owner reference')
        found = self._reader.get(NODES, node)
        if found is None:
            raise gone("node", node)
        if owner.get("uid") != uid_of(found):
            raise refused(attrs, f"node {node} UID mismatch: expected {owner.get('uid')} got {uid_of(found)}")
        named = api_reference(pod)
        if named:
            raise refused(attrs, f'node "{node}" can not create pods that reference {named}')


def _owners(obj: Object) -> list[Object]:
    return (obj.get("metadata") or {}).get("ownerReferences") or []


def _node_name(obj: Object) -> str:
    return (obj.get("spec") or {}).get("nodeName") or ""


def _pod_status(attrs: AdmissionAttributes, node: str) -> None:
    if attrs.operation != "UPDATE":
        raise refused(attrs, f'unexpected operation "{attrs.operation}"')
    new, old = attrs.object or {}, attrs.old_object or {}
    if _node_name(old) != node:
        raise refused(attrs, f'node "{node}" can only update pod status for pods with spec.nodeName set to itself')
    if labels_of(new) != labels_of(old):
        raise refused(attrs, f'node "{node}" cannot update labels through pod status')
    after, before = new.get("status") or {}, old.get("status") or {}

    def same(field: str) -> bool:
        return (after.get(field) or None) == (before.get(field) or None)

    if not same("resourceClaimStatuses"):
        raise refused(attrs, f'node "{node}" cannot update resource claim statues')
    if not same("extendedResourceClaimStatus"):
        raise refused(attrs, f'node "{node}" cannot update extended resource claim status')


def _claim(attrs: AdmissionAttributes, node: str) -> None:
    if attrs.subresource != "status":
        raise refused(attrs, "may only update PVC status")
    if attrs.operation != "UPDATE":
        raise refused(attrs, f'unexpected operation "{attrs.operation}"')

    def fixed(obj: Object) -> Object:
        meta = {k: v for k, v in obj["metadata"].items() if k not in ("resourceVersion", "managedFields") and v}
        status = {k: v for k, v in (obj.get("status") or {}).items() if k not in _CLAIM_STATUS and v}
        return {**obj, "metadata": meta, "status": status}

    if fixed(attrs.object or {"metadata": {}}) != fixed(attrs.old_object or {"metadata": {}}):
        why = f'node "{node}" is not allowed to update fields other than status.quantity and status.conditions'
        raise refused(attrs, why)


def _lease(attrs: AdmissionAttributes, node: str) -> None:
    if attrs.namespace != NODE_LEASES:
        raise refused(attrs, f'can only access leases in the "{NODE_LEASES}" system namespace')
    _same_name(attrs, node, _SAME_LEASE)


def _csi_node(attrs: AdmissionAttributes, node: str) -> None:
    _same_name(attrs, node, _SAME_CSI_NODE)


def _same_name(attrs: AdmissionAttributes, node: str, why: str) -> None:
    name = name_of(attrs.object or {}) if attrs.operation == "CREATE" else attrs.name
    if name != node:
        raise refused(attrs, why)


def _slice(attrs: AdmissionAttributes, node: str) -> None:
    if attrs.operation == "CREATE" and _node_name(attrs.object or {}) != node:
        raise refused(attrs, "can only create ResourceSlice with the same NodeName as the requesting node")
    if attrs.operation == "DELETE" and _node_name(attrs.old_object or {}) != node:
        raise refused(attrs, "can only delete ResourceSlice with the same NodeName as the requesting node")


def _signing_request(attrs: AdmissionAttributes, node: str) -> None:
    spec = (attrs.object or {}).get("spec") or {}
    if attrs.operation != "CREATE" or spec.get("signerName") not in _NODE_SIGNERS:
        return
    try:
        request = parse_request(spec.get("request") or "")
    except RequestError as error:
        raise refused(attrs, f"unable to parse csr: {error}") from None
    if request.common_name != f"system:node:{node}":
        raise refused(attrs, f"can only create a node CSR with CN=system:node:{node}")
