"""A node's components write what is that node's: its volumes, attachments, snapshots, virtual machines, its DNS server.

As NodeRestriction does for kubelets. It concerns the users of `kumo.api.node_components` when they act for a node; what
a request's name tells is decided before, by `authorization.node_components`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kumo.api.node_components import (
    CSI_USER,
    DNS_NAMESPACE,
    DNS_SERVICE,
    DNS_USER,
    INGRESS_NAMESPACE,
    INGRESS_SERVICE,
    INGRESS_USER,
    LOCAL_DRIVER,
    LOCAL_TOPOLOGY,
    VIRT_USER,
    node_acted_for,
)
from kumo.api.node_slices import slice_name
from kumo.api.objects import Object, annotations_of, labels_of, name_of, namespace_of, uid_of
from kumo.api.resources import GVR, core
from kumo.api.volume_claims import SELECTED_NODE, volume_name
from kumo.kubernetes.apiserver.admission.node_restriction import NodeRestriction
from kumo.kubernetes.apiserver.admission.refusals import refused
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader
from kumo.kubernetes.apiserver.authorization.node_components import nodes_of
from kumo.kubernetes.apiserver.authorization.node_ingress import own_slices

CLAIMS, VOLUMES = core("persistentvolumeclaims"), core("persistentvolumes", False)
_SNAPSHOT = "snapshot.storage.k8s.io"
CONTENTS = GVR(_SNAPSHOT, "v1", "volumesnapshotcontents", False)
MANAGED_BY = f"{_SNAPSHOT.replace('k8s.io', 'kubernetes.io')}/managed-by"
_PROVISIONER = "volume.kubernetes.io/storage-provisioner"
_NO_NODE_EXPANSION = "volume.kubernetes.io/node-expansion-not-required"
_CLONING = "provisioner.storage.kubernetes.io/cloning-protection"
_COPYING = "provisioner.storage.kubernetes.io/volumesnapshot-as-source-protection"
_GROWING = ("capacity", "volumeAttributesClassName")
_CLAIM_STATUS = (
    "capacity",
    "conditions",
    "allocatedResources",
    "allocatedResourceStatuses",
    "currentVolumeAttributesClassName",
    "modifyVolumeStatus",
)
_VOLATILE = ("resourceVersion", "managedFields", "generation", "selfLink")
_Judge = Callable[[AdmissionAttributes, str], str]


class ComponentRestriction:
    """Judges writes of a node's components; others pass."""

    def __init__(self, reader: Reader, nodes: NodeRestriction) -> None:
        self._reader = reader
        self._nodes = nodes
        self._judges: dict[tuple[str, str], _Judge] = {
            (CSI_USER, "persistentvolumes"): self._volume,
            (CSI_USER, "persistentvolumeclaims"): self._claim,
            (CSI_USER, "volumeattachments"): _attachment,
            (CSI_USER, "csistoragecapacities"): _capacity,
            (CSI_USER, "volumesnapshots"): self._snapshot,
            (CSI_USER, "volumesnapshotcontents"): _content,
            (VIRT_USER, "virtualmachineinstances"): _instance,
            (DNS_USER, "services"): _dns_service,
            (DNS_USER, "endpointslices"): _dns_slice,
            (INGRESS_USER, "endpointslices"): _ingress_slice,
        }

    def validate(self, attrs: AdmissionAttributes) -> None:
        """Raise 403 for a write that is not about the node that the user acts for."""
        node = node_acted_for(attrs.user)
        if not node:
            return
        if attrs.user.name == VIRT_USER and attrs.gvr.resource == "nodes":
            self._nodes.judge(attrs, node)
        judge = self._judges.get((attrs.user.name, attrs.gvr.resource))
        why = judge(attrs, node) if judge is not None else ""
        if why:
            raise refused(attrs, f'{attrs.user.name} on node "{node}" {why}')

    # -- volumes ----------------------------------------------------------------------------------------------------

    def _volume(self, attrs: AdmissionAttributes, node: str) -> str:
        old = attrs.old_object
        if attrs.operation == "CREATE":
            return self._new_volume(attrs.object or {}, node)
        if old is None:
            old = self._reader.get(VOLUMES, attrs.name)
        if old is not None and not is_volume_of(old, node):
            return "can only change and delete volumes of that node"
        if attrs.operation == "UPDATE" and old is not None:
            return _only(attrs.object or {}, old, spec=_GROWING, annotations=None, finalizers=None)
        return ""

    def _new_volume(self, volume: Object, node: str) -> str:
        if not is_volume_of(volume, node):
            return f"can only make volumes of {LOCAL_DRIVER} on that node"
        ref = (volume.get("spec") or {}).get("claimRef") or {}
        if not ref.get("uid") or name_of(volume) != f"pvc-{ref['uid']}":
            return "can only make volumes for claims, which they are named after"
        claim = self._reader.get(CLAIMS, str(ref.get("name") or ""), str(ref.get("namespace") or ""))
        if claim is None or uid_of(claim) != ref["uid"]:
            return ""  # The claim went meanwhile; so will the volume.
        if volume_name(claim) or not _is_asked(claim) or annotations_of(claim).get(SELECTED_NODE) != node:
            return "can only make volumes for claims that wait for one there"
        return ""

    def _claim(self, attrs: AdmissionAttributes, node: str) -> str:
        new, old = attrs.object or {}, attrs.old_object or {}
        bound = self._reader.get(VOLUMES, volume_name(old)) if volume_name(old) else None
        own = bound is not None and is_volume_of(bound, node)
        if attrs.subresource == "status":
            if not own:
                return "can only change the status of claims whose volumes are on that node"
            return _only(new, old, annotations=(_NO_NODE_EXPANSION,), status=_CLAIM_STATUS)
        before, after = annotations_of(old).get(SELECTED_NODE), annotations_of(new).get(SELECTED_NODE)
        if before != after:
            if bound is not None or not _is_asked(old):
                return f"can only choose a node for claims that wait for a volume of {LOCAL_DRIVER}"
            if not (before == node or (not before and after == node)):
                return "can only offer that node, or give back what was given to it"
        if finalizers_of(old) != finalizers_of(new) and not own:
            return "can only hold claims whose volumes are on that node"
        return _only(new, old, annotations=(SELECTED_NODE,), finalizers=(_CLONING,))

    def _snapshot(self, attrs: AdmissionAttributes, node: str) -> str:
        new, old = attrs.object or {}, attrs.old_object or {}
        bound = str((old.get("status") or {}).get("boundVolumeSnapshotContentName") or "")
        content = self._reader.get(CONTENTS, bound) if bound else None
        if content is not None and labels_of(content).get(MANAGED_BY, node) != node:
            return "can only hold snapshots that are on that node"
        return _only(new, old, finalizers=(_COPYING,))


def is_volume_of(volume: Object, node: str) -> bool:
    """Whether the volume is the local driver's and to be had on this node alone. Pure."""
    spec = volume.get("spec") or {}
    terms = ((spec.get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms") or []
    wanted = {"key": LOCAL_TOPOLOGY, "operator": "In", "values": [node]}
    here = bool(terms) and all(wanted in (t.get("matchExpressions") or ()) for t in terms)
    return here and (spec.get("csi") or {}).get("driver") == LOCAL_DRIVER


def finalizers_of(obj: Object) -> list[str]:
    """The object's finalizers. Pure."""
    return list((obj.get("metadata") or {}).get("finalizers") or ())


def _is_asked(claim: Object) -> bool:
    return annotations_of(claim).get(_PROVISIONER) == LOCAL_DRIVER


def _attachment(attrs: AdmissionAttributes, node: str) -> str:
    spec = (attrs.old_object or {}).get("spec") or {}
    own = spec.get("nodeName") == node and spec.get("attacher") == LOCAL_DRIVER
    return "" if own else "can only change attachments of its volumes to that node"


def _capacity(attrs: AdmissionAttributes, node: str) -> str:
    place = {"matchLabels": {LOCAL_TOPOLOGY: node}}
    found = [o for o in (attrs.object, attrs.old_object) if o is not None]
    if attrs.operation == "DELETE":
        found = [o for o in (attrs.old_object,) if o is not None]
    own = bool(found) and all(o.get("nodeTopology") == place for o in found)
    return "" if own else "can only tell what room there is on that node"


def _content(attrs: AdmissionAttributes, node: str) -> str:
    new, old = attrs.object or {}, attrs.old_object or {}
    before, after = labels_of(old).get(MANAGED_BY), labels_of(new).get(MANAGED_BY)
    if (old.get("spec") or {}).get("driver") != LOCAL_DRIVER or after != node or before not in (None, node):
        return "can only change contents of snapshots on that node"
    if before is None:  # It was nobody's as yet.
        return _only(new, old, labels=(MANAGED_BY,))
    return _only(new, old, annotations=None, finalizers=None, status=None)


def _instance(attrs: AdmissionAttributes, node: str) -> str:
    new, old = attrs.object or {}, attrs.old_object or {}
    if node not in nodes_of(old):
        return "can only change virtual machine instances that are on that node"
    if nodes_of(new) != nodes_of(old):
        return "can not say where a virtual machine instance is"
    return _only(new, old, status=None)


def _dns_service(attrs: AdmissionAttributes, node: str) -> str:
    obj = attrs.object or {}
    spec = obj.get("spec") or {}
    plain = spec.get("type") == "ClusterIP" and spec.get("internalTrafficPolicy") == "Local"
    if (namespace_of(obj), name_of(obj)) == (DNS_NAMESPACE, DNS_SERVICE) and plain and not _leads_elsewhere(spec):
        return ""
    return f"can only make the Service {DNS_NAMESPACE}/{DNS_SERVICE} that leads pods to their own node's server"


def _leads_elsewhere(spec: dict[str, Any]) -> bool:
    return any(spec.get(f) for f in ("selector", "externalIPs", "externalName", "loadBalancerIP"))


def _dns_slice(attrs: AdmissionAttributes, node: str) -> str:
    obj = attrs.object or {}
    where = (namespace_of(obj) or attrs.namespace, name_of(obj), labels_of(obj).get("kubernetes.io/service-name"))
    own = where == (DNS_NAMESPACE, slice_name(DNS_SERVICE, node), DNS_SERVICE)
    if own and all(e.get("nodeName") == node for e in obj.get("endpoints") or ()):
        return ""
    return "can only publish its own server"


def _ingress_slice(attrs: AdmissionAttributes, node: str) -> str:
    obj = attrs.object or {}
    if attrs.operation == "DELETE":
        return ""
    service = labels_of(obj).get("kubernetes.io/service-name")
    own = (namespace_of(obj) or attrs.namespace) == INGRESS_NAMESPACE and name_of(obj) in own_slices(node)
    if own and service == INGRESS_SERVICE and all(e.get("nodeName") == node for e in obj.get("endpoints") or ()):
        return ""
    return "can only publish its own server of Ingresses"


def _only(new: Object, old: Object, **changing: tuple[str, ...] | None) -> str:
    """Whether nothing changed but what is named: keys of `spec`, `status`, `labels`, `annotations`, `finalizers`.

    None stands for all of a part. Pure.
    """
    wrong = sorted(part for part in _PARTS if _rest(new, part, changing) != _rest(old, part, changing))
    return f"can not change {', '.join(wrong)}" if wrong else ""


_PARTS = ("labels", "annotations", "finalizers", "metadata", "spec", "status", "others")


def _rest(obj: Object, part: str, changing: dict[str, tuple[str, ...] | None]) -> object:
    """What must stay as it is of a part."""
    free = changing.get(part, ())
    if free is None:
        return None
    meta = obj.get("metadata") or {}
    if part == "finalizers":
        return [f for f in finalizers_of(obj) if f not in free]
    found: Object = {
        "labels": meta.get("labels") or {},
        "annotations": meta.get("annotations") or {},
        "metadata": {k: v for k, v in meta.items() if k not in (*_VOLATILE, "labels", "annotations", "finalizers")},
        "spec": obj.get("spec") or {},
        "status": obj.get("status") or {},
        "others": {k: v for k, v in obj.items() if k not in ("metadata", "spec", "status", "apiVersion", "kind")},
    }[part]
    return {k: v for k, v in found.items() if k not in free and v}
