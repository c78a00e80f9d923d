"""Whether the node takes a pod: what the scheduler checked is checked again where the pod is to run. Pure.

Upstream: `pkg/kubelet/lifecycle/predicate.go` and the scheduler's `AdmissionCheck`; reasons and messages are theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kumo.api.objects import Object, labels_of, name_of
from kumo.api.pod_requests import Amounts, amounts, host_ports, pod_requests, ports_conflict
from kumo.api.pod_resources import add
from kumo.api.selectors import matches_map, matches_node_term
from kumo.api.tolerations import tolerated
from kumo.kubernetes.kubelet import sysctls
from kumo.kubernetes.kubelet.security import wants_apparmor
from kumo.kubernetes.kubelet.spec import is_static, pod_security

_OS = "kubernetes.io/os"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the node does not take a pod: the reason of its status and of the event, and the event's message."""

    reason: str
    message: str


def judge(pod: Object, node: Object, others: Iterable[Object], *, apparmor: bool = False) -> Refusal | None:
    """None if the node takes the pod. `others` are the pods that run there, with the resources they were given.

    `apparmor`: the node's kernel has it, and its runtime uses it.
    """
    forbidden = sysctls.forbidden(pod)
    if forbidden:
        return Refusal("SysctlForbidden", forbidden)
    if wants_apparmor(pod) and not apparmor:
        return Refusal("AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host")
    if labels_of(pod).get(_OS, "linux") != "linux":
        text = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"
        return Refusal("PodOSSelectorNodeLabelDoesNotMatch", text)
    if ((pod["spec"].get("os") or {}).get("name") or "linux") != "linux":
        return Refusal("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
    strict = pod_security(pod).get("supplementalGroupsPolicy") == "Strict"
    if strict and not ((node.get("status") or {}).get("features") or {}).get("supplementalGroupsPolicy"):
        text = "SupplementalGroupsPolicy=Strict is not supported in this node"
        return Refusal("SupplementalGroupsPolicyNotSupported", text)
    others = list(others)
    return (
        lacking(pod, node, others)
        or _predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector", not _chosen(pod, node))
        or _predicate("NodeName", "node(s) didn't match the requested node name", _other_node(pod, node))
        or _predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports", _taken(pod, others))
        or _predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate", _tainted(pod, node))
    )


def lacking(pod: Object, node: Object, others: Iterable[Object]) -> Refusal | None:
    """The resource that the node has too little of, pods themselves among them."""
    others = list(others)
    offered = amounts((node.get("status") or {}).get("allocatable"))
    if "pods" in offered and len(others) + 1 > offered["pods"]:
        return _insufficient("pods", 1, len(others), offered["pods"])
    wanted = pod_requests({"spec": pod["spec"]})
    if not any(wanted.values()):
        return None
    used: Amounts = {}
    for other in others:
        add(used, pod_requests({"spec": other["spec"]}))
    first = ("cpu", "memory", "ephemeral-storage")
    for name in sorted(wanted, key=lambda n: (*first, n).index(n)):
        known = name in first or name in offered
        # What the node has never heard of is a matter of the cluster, not of the node.
        if known and wanted[name] and wanted[name] > offered.get(name, 0) - used.get(name, 0):
            return _insufficient(name, wanted[name], used.get(name, 0), offered.get(name, 0))
    return None


def _insufficient(name: str, wanted: int, used: int, offered: int) -> Refusal:
    text = f"Node didn't have enough resource: {name}, requested: {wanted}, used: {used}, capacity: {offered}"
    return Refusal(f"OutOf{name}", text)


def _predicate(name: str, why: str, failed: bool) -> Refusal | None:
    return Refusal(name, f"Predicate {name} failed: {why}") if failed else None


def _chosen(pod: Object, node: Object) -> bool:
    labels = labels_of(node)
    selector = pod["spec"].get("nodeSelector")
    if selector and not matches_map(selector, labels):
        return False
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    fields = {"metadata.name": name_of(node)}
    return any(matches_node_term(t, labels, fields) for t in required.get("nodeSelectorTerms") or ())


def _other_node(pod: Object, node: Object) -> bool:
    wanted = pod["spec"].get("nodeName")
    return bool(wanted) and wanted != name_of(node)


def _taken(pod: Object, others: Iterable[Object]) -> bool:
    wanted = host_ports(pod)
    return bool(wanted) and ports_conflict(wanted, [p for o in others for p in host_ports(o)])


def _tainted(pod: Object, node: Object) -> bool:
    if is_static(pod):
        return False
    taints = [t for t in node["spec"].get("taints") or () if t.get("effect") == "NoExecute"]
    return not tolerated(taints, pod["spec"].get("tolerations") or ())
