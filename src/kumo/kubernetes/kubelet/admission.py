"""Whether the node takes a pod: what the scheduler checked is checked again where the pod is to run. Pure.

Upstream: `pkg/kubelet/lifecycle/predicate.go` and the scheduler's `AdmissionCheck`; reasons and messages are theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kumo.api.objects import Object, labels_of, name_of
from kumo.api.pod_requests import Amounts, amounts, host_ports, pod_requests, ports_conflict
from kumo.api.pod_resources import add
from kumo.api.selectors import matches_map, matches_node_term
from kumo.api.tolerations import tolerated
from kumo.kubernetes.kubelet.security import wants_apparmor
from kumo.kubernetes.kubelet.spec import all_containers, claimed_resources, is_critical, is_static, pod_security
from kumo.kubernetes.kubelet.sysctls import Allowlist

_OS = "kubernetes.io/os"
PODS = "pods"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the node does not take a pod: the reason of its status and of the event, and the event's message."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Shortage:
    """A resource that the node has too little of: how much the pod asks for, others have, and the node has in all."""

    resource: str
    requested: int
    used: int
    capacity: int

    @property
    def missing(self) -> int:
        """How much more there would have to be."""
        return self.requested - (self.capacity - self.used)

    def refusal(self) -> Refusal:
        """What is said of it."""
        amounts = f"requested: {self.requested}, used: {self.used}, capacity: {self.capacity}"
        return Refusal(f"OutOf{self.resource}", f"Node didn't have enough resource: {self.resource}, {amounts}")


def judge(
    pod: Object, node: Object, others: Iterable[Object], *, apparmor: bool = False, allowed: Allowlist | None = None
) -> Refusal | None:
    """None if the node takes the pod. `others` are the pods that run there, with the resources they were given.

    `apparmor`: the node's kernel has it, and its runtime uses it. `allowed`: the kernel settings that pods may have.
    For a critical pod a shortage counts last: others would have to go for it, which is of no use to a pod that can't
    run here anyway.
    """
    forbidden = (allowed or Allowlist()).forbidden(pod)
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
    short = lacking(pod, node, others)
    unfit = (
        _predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector", not _chosen(pod, node))
        or _predicate("NodeName", "node(s) didn't match the requested node name", _other_node(pod, node))
        or _predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports", _taken(pod, others))
        or _predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate", _tainted(pod, node))
    )
    return unfit or short if is_critical(pod) else short or unfit


def lacking(pod: Object, node: Object, others: Iterable[Object]) -> Refusal | None:
    """The first resource that the node has too little of, pods themselves among them."""
    found = next(shortages(pod, node, others), None)
    return found.refusal() if found is not None else None


def shortages(pod: Object, node: Object, others: Iterable[Object]) -> Iterator[Shortage]:
    """Every resource that the node has too little of."""
    others = list(others)
    offered = amounts((node.get("status") or {}).get("allocatable"))
    if PODS in offered and len(others) + 1 > offered[PODS]:
        yield Shortage(PODS, 1, len(others), offered[PODS])
    wanted = pod_requests({"spec": pod["spec"]})
    if not any(wanted.values()):
        return
    used: Amounts = {}
    for other in others:
        add(used, pod_requests({"spec": other["spec"]}))
    claimed = {r for c in all_containers(pod) for r in claimed_resources(pod, c["name"])}
    first = ("cpu", "memory", "ephemeral-storage")
    for name in sorted(wanted, key=lambda n: (*first, n).index(n)):
        # What the node has never heard of is a matter of the cluster; what comes by a claim is counted by its driver.
        known = name in first or (name in offered and name not in claimed)
        if known and wanted[name] and wanted[name] > offered.get(name, 0) - used.get(name, 0):
            yield Shortage(name, wanted[name], used.get(name, 0), offered.get(name, 0))


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
