"""What a node may read of secrets, config maps and claims: those that its own pods name (the node authorizer)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kumo.api.objects import Object
from kumo.api.resources import PODS
from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.attributes import Reader, RequestInfo

NODES_GROUP = "system:nodes"
_PREFIX = "system:node:"
_GUARDED = frozenset(("secrets", "configmaps", "persistentvolumeclaims"))
_VERBS = frozenset(("get", "list", "watch"))
_IN_VOLUMES = {"secrets": ("secret", "secretName"), "configmaps": ("configMap", "name")}
_IN_PROJECTIONS = {"secrets": "secret", "configmaps": "configMap"}
_IN_ENV = {"secrets": ("secretKeyRef", "secretRef"), "configmaps": ("configMapKeyRef", "configMapRef")}


def is_guarded(user: UserInfo, info: RequestInfo) -> bool:
    """Whether this is a node asking for something that only its own pods entitle it to."""
    return info.resource in _GUARDED and not info.group and NODES_GROUP in user.groups


def may_read(reader: Reader, user: UserInfo, info: RequestInfo) -> str:
    """Empty if one of the node's pods names the object, else the reason of the refusal."""
    node = user.name.removeprefix(_PREFIX)
    if node == user.name:
        return f'unknown node for user "{user.name}"'
    writes_status = info.resource == "persistentvolumeclaims" and info.subresource == "status"
    if (info.verb not in _VERBS or info.subresource) and not writes_status:
        return "can only read resources of this type"
    if not info.name or not info.namespace:
        return "can only read namespaced object of this type"
    for pod in reader.objects(PODS, info.namespace):
        spec = pod.get("spec") or {}
        if spec.get("nodeName") == node and info.name in named_by(pod, info.resource):
            return ""
    return f"no relationship found between node '{node}' and this object"


def named_by(pod: Object, resource: str) -> Iterator[str]:
    """The names of secrets, config maps or claims that the pod refers to."""
    spec = pod.get("spec") or {}
    if resource == "persistentvolumeclaims":
        for volume in spec.get("volumes") or ():
            if claim := volume.get("persistentVolumeClaim"):
                yield claim["claimName"]
            if "ephemeral" in volume:
                yield f"{pod['metadata']['name']}-{volume['name']}"
        return
    if resource == "secrets":
        for reference in spec.get("imagePullSecrets") or ():
            yield reference.get("name", "")
    field, key = _IN_VOLUMES[resource]
    for volume in spec.get("volumes") or ():
        if source := volume.get(field):
            yield source.get(key, "")
        for part in (volume.get("projected") or {}).get("sources") or ():
            if source := part.get(_IN_PROJECTIONS[resource]):
                yield source.get("name", "")
        if resource == "secrets":
            yield from _nested_references(volume)
    for containers in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(containers) or ():
            yield from _in_environment(container, *_IN_ENV[resource])


def _in_environment(container: dict[str, Any], one: str, every: str) -> Iterator[str]:
    for variable in container.get("env") or ():
        if source := (variable.get("valueFrom") or {}).get(one):
            yield source.get("name", "")
    for source in container.get("envFrom") or ():
        if every in source:
            yield source[every].get("name", "")


def _nested_references(volume: dict[str, Any]) -> Iterator[str]:
    """The secrets that drivers of storage systems are given (`secretRef`, `nodePublishSecretRef`)."""
    for source in volume.values():
        if isinstance(source, dict):
            for key in ("secretRef", "nodePublishSecretRef"):
                if isinstance(source.get(key), dict):
                    yield source[key].get("name", "")
