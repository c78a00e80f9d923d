"""On which nodes a daemon set's pods belong, and the pods made for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from kumo.api import selectors
from kumo.api.objects import Object, annotations_of, is_deleting, labels_of, name_of
from kumo.api.tolerations import tolerated
from kumo.kubernetes.controller_manager import pods as p
from kumo.kubernetes.controller_manager.revisions import HASH_LABEL

GENERATION_ANNOTATION = "deprecated.daemonset.template.generation"
GENERATION_LABEL = "pod-template-generation"
_NAME_FIELD = "metadata.name"
_TOLERATED = (
    ("not-ready", "NoExecute"),
    ("unreachable", "NoExecute"),
    ("disk-pressure", "NoSchedule"),
    ("memory-pressure", "NoSchedule"),
    ("pid-pressure", "NoSchedule"),
    ("unschedulable", "NoSchedule"),
)
_TOLERATED_ON_HOST = ("network-unavailable", "NoSchedule")
Toleration = dict[str, Any]


def tolerations(spec: Mapping[str, Any]) -> list[Toleration]:
    """The pod spec's tolerations and those that every daemon pod has."""
    found: list[Toleration] = deepcopy(spec.get("tolerations") or [])
    for key, effect in (*_TOLERATED, *([_TOLERATED_ON_HOST] if spec.get("hostNetwork") else [])):
        added = {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": effect}
        same = [i for i, t in enumerate(found) if (t.get("key"), t.get("effect")) == (added["key"], effect)]
        similar = [i for i in same if (found[i].get("operator") or "Equal") == "Exists"]
        if similar:
            found[similar[0]] = added
        else:
            found.append(added)
    return found


def fits(daemon_set: Object, node: Object) -> tuple[bool, bool]:
    """Whether a pod should run on the node, and whether one that is there may go on running."""
    return fits_all(daemon_set, [node])[name_of(node)]


def fits_all(daemon_set: Object, nodes: Iterable[Object]) -> dict[str, tuple[bool, bool]]:
    """`fits` of every node, by its name."""
    spec = daemon_set["spec"]["template"].get("spec") or {}
    held = tolerations(spec)
    return {name_of(node): _fits(spec, held, node) for node in nodes}


def _fits(spec: Mapping[str, Any], held: Sequence[Toleration], node: Object) -> tuple[bool, bool]:
    if spec.get("nodeName") not in (None, "", name_of(node)) or not _selected(spec, node):
        return False, False
    refused = {
        t.get("effect")
        for t in (node.get("spec") or {}).get("taints") or ()
        if t.get("effect") in ("NoSchedule", "NoExecute") and not tolerated([t], held)
    }
    return not refused, "NoExecute" not in refused


def _selected(spec: Mapping[str, Any], node: Object) -> bool:
    labels, fields = labels_of(node), {_NAME_FIELD: name_of(node)}
    if any(labels.get(k) != v for k, v in (spec.get("nodeSelector") or {}).items()):
        return False
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if required is None:
        return True
    return any(selectors.matches_node_term(t, labels, fields) for t in required.get("nodeSelectorTerms") or ())


def target(pod: Object) -> str:
    """The node that the pod is on or made for; empty if it says nothing."""
    spec = pod.get("spec") or {}
    if spec.get("nodeName"):
        return str(spec["nodeName"])
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or {}
    for term in required.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            if field.get("key") == _NAME_FIELD and field.get("operator") == "In":
                values = field.get("values") or []
                return str(values[0]) if len(values) == 1 else ""
    return ""


def by_node(pods: Iterable[Object]) -> dict[str, list[Object]]:
    """Pods by the node that they are made for; ended ones that are being deleted count no more."""
    found: dict[str, list[Object]] = {}
    for pod in pods:
        node = target(pod)
        if node and not (is_deleting(pod) and p.has_ended(pod)):
            found.setdefault(node, []).append(pod)
    return found


def new_pod(daemon_set: Object, digest: str, node: str) -> Object:
    """The pod for a node, of the template whose revision has that hash."""
    pod = p.from_template(daemon_set["spec"]["template"], daemon_set)
    labels = pod["metadata"].setdefault("labels", {})
    generation = template_generation(daemon_set)
    if generation is not None:
        labels[GENERATION_LABEL] = generation
    labels[HASH_LABEL] = digest
    spec = pod["spec"]
    spec["tolerations"] = tolerations(spec)
    field = {"key": _NAME_FIELD, "operator": "In", "values": [node]}
    required = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
    required["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    return pod


def template_generation(daemon_set: Object) -> str | None:
    """The annotation of former API versions that counts templates, if it is a number."""
    found = annotations_of(daemon_set).get(GENERATION_ANNOTATION)
    try:
        return None if found is None else str(int(found))
    except ValueError:
        return None


def is_updated(daemon_set: Object, pod: Object, digest: str) -> bool:
    """Whether the pod is of the current template."""
    generation, labels = template_generation(daemon_set), labels_of(pod)
    by_generation = generation is not None and labels.get(GENERATION_LABEL) == generation
    return by_generation or (bool(digest) and labels.get(HASH_LABEL) == digest)
