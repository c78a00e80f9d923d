"""What admission knows of nodes: TaintNodesByCondition, PodTopologyLabels, PodResizeValidator, NodeDeclaredFeatures."""

from __future__ import annotations

from math import ceil

from kumo.api.errors import StatusError
from kumo.api.objects import Object, labels_of
from kumo.api.pod_resources import is_sidecar
from kumo.api.quota.amounts import NOTHING, parse_amounts
from kumo.api.quota.usage import spec_total
from kumo.api.resources import NODES
from kumo.kubernetes.apiserver.admission.refusals import refused
from kumo.kubernetes.apiserver.admission.tolerations import NOT_READY
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader

_TOPOLOGY = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")
_POD_LEVEL = "InPlacePodLevelResourcesVerticalScaling"
_INIT = "InPlacePodVerticalScalingInitContainers"


def taint_new_node(attrs: AdmissionAttributes) -> None:
    """A node is not ready until a controller has seen that it is."""
    if attrs.object is None:
        return
    spec = attrs.object.setdefault("spec", {})
    taints = spec.get("taints") or []
    if not any(t.get("key") == NOT_READY and t.get("effect") == "NoSchedule" for t in taints):
        spec["taints"] = [*taints, {"key": NOT_READY, "effect": "NoSchedule"}]


class NodeFacts:
    """Steps for pods that need to look at their node."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def label(self, attrs: AdmissionAttributes) -> None:
        """Give a pod that is put on a node (by its spec or a Binding) the node's zone and region as labels."""
        obj = attrs.object or {}
        target = obj.get("target") or {}
        name = target.get("name") if target.get("kind") == "Node" else (obj.get("spec") or {}).get("nodeName")
        node = self._reader.get(NODES, name) if name else None
        found = {key: value for key, value in labels_of(node or {}).items() if key in _TOPOLOGY}
        if found:
            obj["metadata"]["labels"] = {**labels_of(obj), **found}

    def validate_features(self, attrs: AdmissionAttributes) -> None:
        """Raise 403 when a bound pod is to be changed in a way that its node does not declare to know."""
        new, old = attrs.object or {}, attrs.old_object or {}
        wanted = _needed(new.get("spec") or {}, old.get("spec") or {})
        if not wanted or not _bound_and_changed(new, old):
            return
        node = self._node(attrs, new)
        declared = (node.get("status") or {}).get("declaredFeatures") or ()
        missing = [feature for feature in wanted if feature not in declared]
        if missing:
            where = f'which are not available on node "{node["metadata"]["name"]}"'
            raise refused(attrs, f"pod update requires features {', '.join(missing)} {where}")

    def validate_resize(self, attrs: AdmissionAttributes) -> None:
        """Raise 403 when a bound pod is to become larger than its node, or its node can't resize pods."""
        new, old = attrs.object or {}, attrs.old_object or {}
        if not _bound_and_changed(new, old):
            return
        node = self._node(attrs, new)
        system = labels_of(node).get("kubernetes.io/os", "linux")
        if system != "linux":
            name = node["metadata"]["name"]
            why = f'pod resize is only supported on linux nodes, node "{name}" is "{system}"'
            raise _because(attrs, why, "UnsupportedPlatform")
        room = parse_amounts((node.get("status") or {}).get("allocatable"))
        asked = spec_total(new["spec"], "requests")
        over = []
        for name, scale in (("cpu", 1000), ("memory", 1)):
            wanted, there = asked.get(name, NOTHING).value, room.get(name, NOTHING).value
            if wanted > there:
                over.append(f"{name}, requested: {ceil(wanted * scale)}, allocatable: {ceil(there * scale)}")
        if over:
            raise _because(attrs, f"node didn't have enough allocatable resources: {'; '.join(over)}", "NodeCapacity")

    def _node(self, attrs: AdmissionAttributes, pod: Object) -> Object:
        name = pod["spec"]["nodeName"]
        node = self._reader.get(NODES, name)
        if node is None:
            raise refused(attrs, f'node "{name}" not found')
        return node


def _because(attrs: AdmissionAttributes, why: str, reason: str) -> StatusError:
    error = refused(attrs, why)
    error.details = {**(error.details or {}), "causes": [{"reason": reason}]}
    return error


def _bound_and_changed(new: Object, old: Object) -> bool:
    """Whether a pod is on a node, and its spec not as it was (generation grows with each change of it)."""
    if not (new.get("spec") or {}).get("nodeName"):
        return False
    return bool(new["metadata"].get("generation") != (old.get("metadata") or {}).get("generation"))


def _needed(new: Object, old: Object) -> list[str]:
    """The features that a node must know for the change, in upstream's order."""
    found = []
    if new.get("resources") != old.get("resources"):
        found.append(_POD_LEVEL)
    before = {c.get("name"): c.get("resources") for c in old.get("initContainers") or () if not is_sidecar(c)}
    after = {c.get("name"): c.get("resources") for c in new.get("initContainers") or ()}
    if any(after.get(name) != resources for name, resources in before.items()):
        found.append(_INIT)
    return sorted(found)
