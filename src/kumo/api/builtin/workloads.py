"""Workloads and what bounds them: apps, batch, autoscaling, policy, scheduling, node, resource."""

from __future__ import annotations

from kumo.api.builtin.table import SCALE, STATUS, Group
from kumo.api.resources import ResourceType

_ALL = ("all",)


def resources() -> tuple[ResourceType, ...]:
    """The resources of these groups; the preferred version of a group comes first."""
    apps, batch, policy = Group("apps"), Group("batch"), Group("policy")
    hpa = "HorizontalPodAutoscaler", "horizontalpodautoscalers", "hpa", STATUS
    devices = Group("resource.k8s.io")
    return (
        apps.namespaced("ControllerRevision", "controllerrevisions"),
        apps.namespaced("DaemonSet", "daemonsets", "ds", STATUS, categories=_ALL),
        apps.namespaced("Deployment", "deployments", "deploy", SCALE, STATUS, categories=_ALL),
        apps.namespaced("ReplicaSet", "replicasets", "rs", SCALE, STATUS, categories=_ALL),
        apps.namespaced("StatefulSet", "statefulsets", "sts", SCALE, STATUS, categories=_ALL),
        Group("autoscaling", "v2").namespaced(*hpa, categories=_ALL),
        Group("autoscaling", "v1").namespaced(*hpa, categories=_ALL),
        batch.namespaced("CronJob", "cronjobs", "cj", STATUS, categories=_ALL),
        batch.namespaced("Job", "jobs", "", STATUS, categories=_ALL),
        policy.namespaced("PodDisruptionBudget", "poddisruptionbudgets", "pdb", STATUS),
        Group("scheduling.k8s.io").cluster("PriorityClass", "priorityclasses", "pc"),
        Group("node.k8s.io").cluster("RuntimeClass", "runtimeclasses"),
        devices.cluster("DeviceClass", "deviceclasses"),
        devices.namespaced("ResourceClaim", "resourceclaims", "", STATUS),
        devices.namespaced("ResourceClaimTemplate", "resourceclaimtemplates"),
        devices.cluster("ResourceSlice", "resourceslices"),
    )
