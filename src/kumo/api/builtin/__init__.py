"""The resources that Kubernetes 1.36 serves by default, as discovery lists them.

These are the stable versions: since 1.24 new beta APIs are off unless asked for. Where one resource is served in two
versions or groups, `storage_type` says in which it is stored; `kumo.kubernetes.apiserver.kinds` converts.
"""

from __future__ import annotations

from functools import cache

from kumo.api.builtin import cluster, core, workloads
from kumo.api.resources import GVK, ResourceType

RESOURCE_TYPES: tuple[ResourceType, ...] = (*core.resources(), *workloads.resources(), *cluster.resources())
"""Every built-in resource; within a group the preferred version comes first."""

_STORED_AS = {
    GVK("events.k8s.io", "v1", "Event"): GVK("", "v1", "Event"),
    GVK("autoscaling", "v1", "HorizontalPodAutoscaler"): GVK("autoscaling", "v2", "HorizontalPodAutoscaler"),
}

# Reviews and bindings are answered, never stored.
_VIRTUAL_GROUPS = ("authentication.k8s.io", "authorization.k8s.io")
_VIRTUAL_KINDS = ("Binding", "ComponentStatus")


def storage_type(resource_type: ResourceType) -> ResourceType:
    """The resource in whose form objects of this one are stored: itself, but for a second version of the same."""
    stored = _STORED_AS.get(resource_type.gvk)
    return by_gvk()[stored] if stored else resource_type


def is_stored(resource_type: ResourceType) -> bool:
    """Whether there are objects of the built-in resource at all (not so for reviews, bindings, component statuses)."""
    virtual = resource_type.group in _VIRTUAL_GROUPS or (
        resource_type.group == "" and resource_type.kind in _VIRTUAL_KINDS
    )
    return not virtual


@cache
def by_gvk() -> dict[GVK, ResourceType]:
    """The built-in resources by the kind of their objects."""
    return {found.gvk: found for found in RESOURCE_TYPES}
