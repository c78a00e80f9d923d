"""What a write may demand of the object that it changes, and the words for an object that is another one."""

from __future__ import annotations

from kumo.api.errors import StatusError, conflict
from kumo.api.objects import Object
from kumo.api.resources import ResourceType

_PREFIXES = {
    ("", "replicationcontrollers"): "controllers",
    ("", "services"): "services/specs",
    ("", "endpoints"): "services/endpoints",
    ("", "nodes"): "minions",
    ("networking.k8s.io", "ingresses"): "ingress",
}
"""Upstream's prefixes in etcd of resources whose names have changed; messages show them."""
_OWN_GROUPS = ("apiextensions.k8s.io", "apiregistration.k8s.io")


def shown_key(kind: ResourceType, namespace: str, name: str, *, custom: bool = False) -> str:
    """The key in etcd that upstream names for an object of that kind."""
    prefix = _PREFIXES.get((kind.group, kind.resource), kind.resource)
    if custom or kind.group in _OWN_GROUPS:
        prefix = f"{kind.group}/{kind.resource}"
    place = f"{namespace}/{name}" if namespace else name
    return f"/registry/{prefix}/{place}"


def check_uid(kind: ResourceType, obj: Object, uid: str, *, custom: bool = False) -> None:
    """Refuse an object that is not the one of that uid; an empty uid demands nothing. Raises 409."""
    meta = obj["metadata"]
    if uid and uid != meta["uid"]:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {meta['uid']}"
        raise failed(kind, obj, why, custom=custom)


def check_version(kind: ResourceType, obj: Object, version: str) -> None:
    """Refuse an object that is not of that resourceVersion; an empty one demands nothing. Raises 409."""
    now = obj["metadata"].get("resourceVersion") or ""
    if version and version != now:
        why = f"Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {now}"
        raise failed(kind, obj, why)


def failed(kind: ResourceType, obj: Object, why: str, *, custom: bool = False) -> StatusError:
    """The conflict that upstream's store reports."""
    meta = obj["metadata"]
    key = shown_key(kind, meta.get("namespace") or "", meta["name"], custom=custom)
    text = f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: {why}"
    return conflict(kind.group, kind.resource, meta["name"], text)
