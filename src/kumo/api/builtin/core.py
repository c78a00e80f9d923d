"""The core group."""

from __future__ import annotations

from kumo.api.builtin.table import CREATE, PROXY_VERBS, SCALE, STATUS, Group
from kumo.api.resources import ResourceType, Subresource

_GET_CREATE = ("create", "get")
_ALL = ("all",)


def resources() -> tuple[ResourceType, ...]:
    """The resources of the core group, v1."""
    g = Group("")
    pod = (
        Subresource("attach", _GET_CREATE, "PodAttachOptions"),
        Subresource("binding", CREATE, "Binding"),
        Subresource("ephemeralcontainers", ("get", "patch", "update")),
        Subresource("eviction", CREATE, "Eviction", "policy", "v1"),
        Subresource("exec", _GET_CREATE, "PodExecOptions"),
        Subresource("log", ("get",)),
        Subresource("portforward", _GET_CREATE, "PodPortForwardOptions"),
        Subresource("proxy", PROXY_VERBS, "PodProxyOptions"),
        Subresource("resize", ("get", "patch", "update")),
        STATUS,
    )
    without_collection = ("create", "delete", "get", "list", "patch", "update", "watch")
    return (
        g.namespaced("Binding", "bindings", verbs=CREATE),
        g.cluster("ComponentStatus", "componentstatuses", "cs", verbs=("get", "list")),
        g.namespaced("ConfigMap", "configmaps", "cm"),
        g.namespaced("Endpoints", "endpoints", "ep"),
        g.namespaced("Event", "events", "ev"),
        g.namespaced("LimitRange", "limitranges", "limits"),
        g.cluster(
            "Namespace", "namespaces", "ns", Subresource("finalize", ("update",)), STATUS, verbs=without_collection
        ),
        g.cluster("Node", "nodes", "no", Subresource("proxy", PROXY_VERBS, "NodeProxyOptions"), STATUS),
        g.namespaced("PersistentVolumeClaim", "persistentvolumeclaims", "pvc", STATUS),
        g.cluster("PersistentVolume", "persistentvolumes", "pv", STATUS),
        g.namespaced("Pod", "pods", "po", *pod, categories=_ALL),
        g.namespaced("PodTemplate", "podtemplates"),
        g.namespaced("ReplicationController", "replicationcontrollers", "rc", SCALE, STATUS, categories=_ALL),
        g.namespaced("ResourceQuota", "resourcequotas", "quota", STATUS),
        g.namespaced("Secret", "secrets"),
        g.namespaced(
            "ServiceAccount",
            "serviceaccounts",
            "sa",
            Subresource("token", CREATE, "TokenRequest", "authentication.k8s.io", "v1"),
        ),
        g.namespaced(
            "Service",
            "services",
            "svc",
            Subresource("proxy", PROXY_VERBS, "ServiceProxyOptions"),
            STATUS,
            categories=_ALL,
        ),
    )
