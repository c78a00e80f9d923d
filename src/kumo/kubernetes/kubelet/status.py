"""A pod's status from its spec, its state in containerd, its probes and the errors of the last attempts. Pure.

Upstream: `generateAPIPodStatus` in `pkg/kubelet/kubelet_pods.go`.
"""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object, timestamp
from kumo.kubernetes.kubelet import phase as phases
from kumo.kubernetes.kubelet.conditions import OWNED, RESIZE, make_conditions, restarting_condition
from kumo.kubernetes.kubelet.container_status import Trouble, View, api_state, container_status
from kumo.kubernetes.kubelet.plan import any_regular_started, sandbox_changed
from kumo.kubernetes.kubelet.resources import pod_allocation, qos_class
from kumo.kubernetes.kubelet.spec import containers, ephemeral_containers, host_network, init_containers

__all__ = ["Status", "Trouble", "View", "api_state", "make_status"]

Status = dict[str, Any]


def make_status(pod: Object, view: View, now: float) -> Status:
    """The status to write: the kubelet's fields, with the conditions of others left as the pod has them."""
    stamp = timestamp(now)
    old: Status = pod.get("status") or {}
    first = [container_status(pod, c, view) for c in init_containers(pod)]
    regular = [container_status(pod, c, view) for c in containers(pod)]
    for entry in regular:
        if view.device_health.get(entry["name"]):
            entry["allocatedResourcesStatus"] = list(view.device_health[entry["name"]])
    debug = [container_status(pod, c, view) for c in ephemeral_containers(pod)]
    begun = any_regular_started(pod, view.state)
    phase = phases.pod_phase(pod, first + regular, terminal=view.terminal, begun=begun)
    if old.get("phase") in phases.TERMINAL:
        phase = old["phase"]
    ready = not sandbox_changed(pod, view.state)
    owned = make_conditions(pod, first + regular, phase, sandbox_ready=ready, now=stamp)
    owned += restarting_condition(pod, view.state, old, phase, stamp)
    owned += [dict(c) for c in view.resize if phase not in phases.TERMINAL]
    others = [c for c in old.get("conditions") or () if c["type"] not in OWNED + RESIZE]
    status: Status = {
        "phase": phase,
        "conditions": owned + others,
        "startTime": old.get("startTime") or stamp,
        "containerStatuses": sorted(regular, key=_name),
        "qosClass": old.get("qosClass") or qos_class(pod),
    }
    if first:
        status["initContainerStatuses"] = first
    if debug:
        status["ephemeralContainerStatuses"] = sorted(debug, key=_name)
    status |= pod_allocation(pod, (view.has or pod) if phase == phases.RUNNING else None)
    if "generation" in pod["metadata"]:
        status["observedGeneration"] = pod["metadata"]["generation"]
    for name in ("reason", "message"):
        if old.get(name) and old.get("phase") == phase:
            status[name] = old[name]
    if view.host_ips:
        status["hostIP"] = view.host_ips[0]
        status["hostIPs"] = [{"ip": ip} for ip in view.host_ips]
    ips = _pod_ips(pod, view)
    if ips:
        status["podIP"] = ips[0]
        status["podIPs"] = [{"ip": ip} for ip in ips]
    return status


def _name(status: Status) -> str:
    """By what upstream sorts the statuses of all but init containers."""
    return str(status["name"])


def _pod_ips(pod: Object, view: View) -> list[str]:
    if host_network(pod):
        return list(view.host_ips) if view.state.sandboxes else []
    box = view.state.sandbox
    if box is not None and box.ready:
        return list(box.ips)
    # An ended pod keeps the address it had (as upstream).
    return [entry["ip"] for entry in (pod.get("status") or {}).get("podIPs") or ()]
