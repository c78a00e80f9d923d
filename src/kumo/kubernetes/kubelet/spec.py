"""Questions about a pod's spec that several modules ask. All pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kumo.api.objects import Object, name_of, namespace_of, uid_of

Container = dict[str, Any]

SYSTEM_CRITICAL = 2_000_000_000
"""The least priority of the cluster's own pods."""
CONFIG_SOURCE = "kubernetes.io/config.source"
"""The annotation that says where a pod comes from: `file`, or `api`."""


def containers(pod: Object) -> list[Container]:
    """The regular containers."""
    found: list[Container] = pod["spec"].get("containers") or []
    return found


def init_containers(pod: Object) -> list[Container]:
    """The init containers, sidecars among them, in order."""
    found: list[Container] = pod["spec"].get("initContainers") or []
    return found


def all_containers(pod: Object) -> Iterator[Container]:
    """Init containers, then regular ones."""
    yield from init_containers(pod)
    yield from containers(pod)


def ephemeral_containers(pod: Object) -> list[Container]:
    """The ephemeral containers (`kubectl debug`), in the order in which they were added."""
    found: list[Container] = pod["spec"].get("ephemeralContainers") or []
    return found


def every_container(pod: Object) -> Iterator[Container]:
    """All containers: init, regular and ephemeral ones."""
    yield from all_containers(pod)
    yield from ephemeral_containers(pod)


def claimed_resources(pod: Object, container: str) -> dict[str, list[str]]:
    """A container's extended resources that come by a claim, not from a plugin, with the claim's requests for them."""
    found: dict[str, list[str]] = {}
    told = ((pod.get("status") or {}).get("extendedResourceClaimStatus") or {}).get("requestMappings") or ()
    for item in told:
        if item["containerName"] == container:
            found.setdefault(item["resourceName"], []).append(item["requestName"])
    return found


def find_container(pod: Object, name: str) -> Container | None:
    """The container of that name, init, regular or ephemeral."""
    return next((c for c in every_container(pod) if c["name"] == name), None)


def restart_policy(pod: Object, container: Container) -> str:
    """Always, OnFailure or Never, for that container (a container's own policy overrides the pod's)."""
    return str(container.get("restartPolicy") or pod["spec"].get("restartPolicy") or "Always")


def is_critical(pod: Object | None) -> bool:
    """Whether the pod is one that others may need: static, or of a system priority."""
    if pod is None:
        return False
    return is_static(pod) or int(pod["spec"].get("priority") or 0) >= SYSTEM_CRITICAL


def is_static(pod: Object) -> bool:
    """Whether the pod comes from a manifest on this node, not from the API server."""
    source = (pod["metadata"].get("annotations") or {}).get(CONFIG_SOURCE, "api")
    return bool(source != "api")


def host_network(pod: Object) -> bool:
    """Whether the pod lives in the node's network namespace."""
    return bool(pod["spec"].get("hostNetwork"))


def grace_period(pod: Object) -> int:
    """Seconds that the pod has to end: what its deletion says, else its spec."""
    asked = pod["metadata"].get("deletionGracePeriodSeconds")
    if asked is None:
        asked = pod["spec"].get("terminationGracePeriodSeconds")
    return int(30 if asked is None else asked)


def pod_security(pod: Object) -> dict[str, Any]:
    """The pod's securityContext, or an empty one."""
    return pod["spec"].get("securityContext") or {}


def container_security(container: Container) -> dict[str, Any]:
    """The container's securityContext, or an empty one."""
    return container.get("securityContext") or {}


def full_name(pod: Object) -> str:
    """`name_namespace(uid)`: how upstream's messages name a pod."""
    return f"{name_of(pod)}_{namespace_of(pod)}({uid_of(pod)})"


def field_path(pod: Object, container: Container) -> str:
    """The fieldPath that an event about a container carries."""
    name = container["name"]
    kind = "containers"
    if any(c["name"] == name for c in init_containers(pod)):
        kind = "initContainers"
    elif any(c["name"] == name for c in ephemeral_containers(pod)):
        kind = "ephemeralContainers"
    return f"spec.{kind}{{{name}}}"


def cluster_hostname(pod: Object) -> str:
    """The pod's host name: its spec's, else its own name; at most 63 letters (RFC 1123), never ending in - or dot."""
    return str(pod["spec"].get("hostname") or name_of(pod))[:63].rstrip("-.")


def run_as_user(pod: Object) -> int | None:
    """The one user that all containers run as, if the spec says so of each and they agree."""
    shared = pod_security(pod).get("runAsUser")
    users = {container_security(c).get("runAsUser", shared) for c in all_containers(pod)}
    found = users.pop() if len(users) == 1 else None
    return None if found is None else int(found)
