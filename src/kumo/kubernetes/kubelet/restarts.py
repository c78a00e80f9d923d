"""Whether an ended container runs again: the pod's restart policy, the container's own, and its rules. Pure.

Upstream: `ContainerShouldRestart` and `ShouldAllContainersRestart` (KEP-5307, KEP-5532).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kumo.api.objects import Object
from kumo.kubernetes.kubelet.podstate import PodState
from kumo.kubernetes.kubelet.spec import Container, all_containers, restart_policy

RESTART_ALL = "RestartAllContainers"
RESTARTING_ALL = "RestartingAllContainers"
"""The reason of what is said of a container that was removed so that all of its pod's run anew."""
ALL_RESTARTING = "AllContainersRestarting"
"""The condition that is True while all containers of a pod are being removed to run anew."""


def matching_action(container: Container, exit_code: int) -> str:
    """The action of the first of the container's restart rules that the exit code matches, empty if none does."""
    for rule in container.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes")
        if codes is None:
            continue
        found = exit_code in (codes.get("values") or ())
        if found == (codes.get("operator") == "In"):
            return str(rule.get("action") or "")
    return ""


def restarts_after(pod: Object, container: Container, exit_code: int) -> bool:
    """Whether a container that ended with this code is to be started again."""
    if container.get("restartPolicy") and matching_action(container, exit_code) in ("Restart", RESTART_ALL):
        return True
    policy = restart_policy(pod, container)
    return policy != "Never" and not (policy == "OnFailure" and exit_code == 0)


def could_restart_all(pod: Object) -> bool:
    """Whether any container has a rule that restarts all of them."""
    rules = (r for c in all_containers(pod) for r in c.get("restartPolicyRules") or ())
    return any(r.get("action") == RESTART_ALL for r in rules)


def restarts_all(pod: Object, state: PodState, status: Mapping[str, Any] | None) -> bool:
    """Whether all containers are to be removed and run anew: one ended as such a rule says, or it has begun.

    `status` is the pod's last one; without it only what containerd has counts.
    """
    if not could_restart_all(pod):
        return False
    conditions = (status or {}).get("conditions") or ()
    if any(c.get("type") == ALL_RESTARTING and c.get("status") == "True" for c in conditions):
        return True
    said = {s["name"]: s for s in _statuses(status or {})}
    for container in all_containers(pod):
        found = state.container(container["name"])
        if found is None or not found.exited:
            continue
        if matching_action(container, found.exit_code) == RESTART_ALL:
            return True
        ended = ((said.get(container["name"]) or {}).get("state") or {}).get("terminated")
        if ended and matching_action(container, ended["exitCode"]) == RESTART_ALL:
            return True
    return False


def nothing_left(pod: Object, state: PodState) -> bool:
    """Whether containerd has none of the pod's containers (ephemeral ones aside)."""
    return all(state.container(c["name"]) is None for c in all_containers(pod))


def _statuses(status: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()
