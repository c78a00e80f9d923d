"""The subresources that change one part of a pod: ephemeral containers, and resources in place."""

from __future__ import annotations

import copy
from typing import Any

from kumo.api import fields
from kumo.api.errors import Cause
from kumo.api.objects import Object, metadata
from kumo.kubernetes.apiserver.kinds.go_diff import go_diff
from kumo.kubernetes.apiserver.kinds.pod.options import options_for
from kumo.kubernetes.apiserver.kinds.pod.template import MIRROR
from kumo.kubernetes.apiserver.kinds.pod.updates import check_annotations
from kumo.kubernetes.apiserver.kinds.pod.visiting import Container, is_sidecar
from kumo.kubernetes.apiserver.kinds.pod.whole import validate_whole
from kumo.kubernetes.apiserver.kinds.qos import qos_class

_KINDS = ("containers", "initContainers")
_LISTS = ("requests", "limits")
_SIZES = ("cpu", "memory")
_ONLY_SIZES = "only cpu and memory resources are mutable"


def _keep_the_rest(new: Object, old: Object) -> None:
    """Metadata and status stay as they are, but for who writes and what it was made from."""
    stated = metadata(new)
    kept = {k: v for k, v in metadata(old).items() if k not in ("managedFields", "resourceVersion")}
    for key in ("managedFields", "resourceVersion"):
        if key in stated:
            kept[key] = stated[key]
    new["metadata"] = kept
    if "status" in old:
        new["status"] = old["status"]
    else:
        new.pop("status", None)


def _count(new: Object, old: Object) -> None:
    if new.get("spec") != old.get("spec"):
        meta = metadata(new)
        meta["generation"] = (meta.get("generation") or 0) + 1


def prepare_ephemeral(new: Object, old: Object) -> None:
    """Carry over all but the ephemeral containers."""
    asked = (new.get("spec") or {}).get("ephemeralContainers")
    new["spec"] = {k: v for k, v in (old.get("spec") or {}).items() if k != "ephemeralContainers"}
    if asked:
        new["spec"]["ephemeralContainers"] = asked
    _keep_the_rest(new, old)
    _count(new, old)


def validate_ephemeral(new: Object, old: Object) -> list[Cause]:
    """Ephemeral containers may be added, and neither changed nor removed."""
    found = validate_whole(new, options_for(old.get("spec"), is_pod=True)) + check_annotations(new, old)
    if MIRROR in ((old.get("metadata") or {}).get("annotations") or ()):
        return [fields.forbidden("[]", "static pods do not support ephemeral containers")]
    path = "spec.ephemeralContainers"
    now = {c.get("name"): c for c in (new.get("spec") or {}).get("ephemeralContainers") or ()}
    for container in (old.get("spec") or {}).get("ephemeralContainers") or ():
        name = container.get("name")
        if name not in now:
            text = f'existing ephemeral containers "{name}" may not be removed\n'
            found.append(fields.forbidden(path, text))
        elif now[name] != container:
            difference = go_diff("core.v1.EphemeralContainer", container, now[name])
            text = f'existing ephemeral containers "{name}" may not be changed\n{difference}'
            found.append(fields.forbidden(path, text))
    return found


def prepare_resize(new: Object, old: Object) -> None:
    """Carry over all but the resources and resize policies of containers, and the pod's own resources."""
    fresh, stale = new.get("spec") or {}, old.get("spec") or {}
    if any(len(fresh.get(key) or ()) != len(stale.get(key) or ()) for key in _KINDS):
        return
    spec = dict(stale)
    for key in _KINDS:
        if fresh.get(key):
            spec[key] = _only_resources(fresh[key], stale[key])
    if fresh.get("resources") is not None:
        spec["resources"] = fresh["resources"]
    else:
        spec.pop("resources", None)
    new["spec"] = spec
    _keep_the_rest(new, old)
    _count(new, old)


def _only_resources(fresh: list[Container], stale: list[Container]) -> list[Container]:
    made = []
    for container, other in zip(fresh, stale):
        if container.get("name") != other.get("name"):
            return fresh
        merged = {k: v for k, v in other.items() if k not in ("resources", "resizePolicy")}
        made.append(merged | {k: container[k] for k in ("resources", "resizePolicy") if k in container})
    return made


def validate_resize(new: Object, old: Object) -> list[Cause]:
    """Only cpu and memory may change, and not so much that the pod's class of service does."""
    fresh, stale = new.get("spec") or {}, old.get("spec") or {}
    found = validate_whole(new, options_for(stale, is_pod=True))
    if MIRROR in ((old.get("metadata") or {}).get("annotations") or ()):
        return [fields.forbidden("[]", "static pods cannot be resized")]
    if (stale.get("os") or {}).get("name") == "windows":
        return [fields.forbidden("[]", "windows pods cannot be resized")]
    status = old.get("status") or {}
    before = status.get("qosClass") or qos_class(stale)
    if before != qos_class(fresh):
        shown = (new.get("status") or {}).get("qosClass") or ""
        found.append(fields.invalid("spec", shown, "Pod QOS Class may not change as a result of resizing"))
    if not _supported(status):
        found.append(fields.forbidden("spec", "Pod running on node without support for resize"))
    wanted = copy.deepcopy(fresh)
    if _sized(stale) or _sized(fresh):
        _whole_pod(wanted, fresh, stale, found)
    wrong = _order(fresh, stale)
    if wrong:
        return found + wrong
    for key in ("initContainers", "containers"):
        for index, (container, other) in enumerate(zip(fresh.get(key) or (), stale.get(key) or ())):
            path = f"spec.{key}[{index}].resources"
            _removed(path, container.get("resources"), other.get("resources"), "resource", found)
    _containers(wanted, stale, found)
    if not found and wanted != stale:
        found.append(fields.forbidden("spec", _ONLY_SIZES))
    return found


def _sized(spec: dict[str, Any]) -> bool:
    resources = spec.get("resources") or {}
    return bool(resources.get("requests") or resources.get("limits"))


def _supported(status: dict[str, Any]) -> bool:
    for container in status.get("containerStatuses") or ():
        if (container.get("state") or {}).get("running") is not None:
            return container.get("resources") is not None
    return True


def _whole_pod(wanted: dict[str, Any], fresh: dict[str, Any], stale: dict[str, Any], found: list[Cause]) -> None:
    now, then = fresh.get("resources"), stale.get("resources")
    if then is not None and now is None:
        found.append(fields.forbidden("spec.resources", "pod-level resources cannot be removed"))
        return
    if then is not None:
        _removed("spec.resources", now, then, "pod-level resource", found)
    _put_back(wanted, then)
    if then is None and not _sized(wanted) and not (wanted.get("resources") or {}).get("claims"):
        wanted.pop("resources", None)
    if wanted.get("resources") != then:
        found.append(fields.forbidden("spec", f"{_ONLY_SIZES} at pod-level"))


def _removed(path: str, now: Any, then: Any, what: str, found: list[Cause]) -> None:
    for side, text in (("requests", f"{what} requests"), ("limits", f"{what} limits")):
        if set((then or {}).get(side) or ()) - set((now or {}).get(side) or ()):
            found.append(fields.forbidden(f"{path}.{side}", f"{text} cannot be removed"))


def _put_back(holder: dict[str, Any], other: dict[str, Any] | None) -> None:
    """Give the holder's resources the other's cpu and memory, in place."""
    resources = holder.get("resources") or {}
    for side in _LISTS:
        amounts = {k: v for k, v in (resources.get(side) or {}).items() if k not in _SIZES}
        amounts |= {k: v for k, v in ((other or {}).get(side) or {}).items() if k in _SIZES}
        if amounts:
            resources[side] = amounts
        else:
            resources.pop(side, None)
    if resources or "resources" in holder:
        holder["resources"] = resources


def _order(fresh: dict[str, Any], stale: dict[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    for key in _KINDS:
        now, then = fresh.get(key) or [], stale.get(key) or []
        if len(now) != len(then):
            found.append(fields.forbidden(f"spec.{key}", f"{key} may not be added or removed on resize"))
            continue
        for index, (container, other) in enumerate(zip(now, then)):
            if container.get("name") != other.get("name"):
                text = f"{key} may not be renamed or reordered on resize"
                found.append(fields.forbidden(f"spec.{key}[{index}].name", text))
    return found


def _containers(wanted: dict[str, Any], stale: dict[str, Any], found: list[Cause]) -> None:
    for container, other in zip(wanted.get("containers") or (), stale.get("containers") or ()):
        _put_back(container, other.get("resources"))
        if container != other:
            found.append(fields.forbidden("spec", _ONLY_SIZES))
    for index, (container, other) in enumerate(
        zip(wanted.get("initContainers") or (), stale.get("initContainers") or ())
    ):
        changed, path = container != other, f"spec.initContainers[{index}]"
        _put_back(container, other.get("resources"))
        if container != other:
            text = "only cpu and memory resources for init or sidecar containers are mutable"
            found.append(fields.forbidden(path, text))
        if changed and not is_sidecar(container):
            for policy in container.get("resizePolicy") or ():
                if policy.get("restartPolicy") == "RestartContainer":
                    text = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized"
                    found.append(fields.forbidden(path, text))
