"""Volume mounts and block devices of containers."""

from __future__ import annotations

from typing import Any

from kumo.api import fields
from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.kinds.pod.paths import descending

_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
_RECURSIVE = ("Disabled", "Enabled", "IfPossible")
Volumes = dict[str, dict[str, Any]]


def validate_mounts(path: str, container: dict[str, Any], volumes: Volumes, found: list[Cause]) -> None:
    """What is wrong with `volumeMounts`; `path` is the container's."""
    mounts, devices = container.get("volumeMounts") or (), container.get("volumeDevices") or ()
    taken = {device.get("name") or "": device.get("devicePath") or "" for device in devices}
    places: set[str] = set()
    for index, mount in enumerate(mounts):
        name, place = mount.get("name") or "", mount.get("mountPath") or ""
        here = f"{path}.volumeMounts[{index}]"
        if not name:
            found.append(fields.required(f"{here}.name"))
        if name not in volumes:
            found.append(fields.not_found(f"{here}.name", name))
        if not place:
            found.append(fields.required(f"{here}.mountPath"))
        if place in places:
            found.append(fields.invalid(f"{here}.mountPath", place, "must be unique"))
        places.add(place)
        if taken:
            if name in taken:
                found.append(fields.invalid(f"{here}.name", name, "must not already exist in volumeDevices"))
            if place in taken.values():
                detail = "must not already exist as a path in volumeDevices"
                found.append(fields.invalid(f"{here}.mountPath", place, detail))
        if len(mount) > 2:
            _details(f"{path}.volumeMounts", here, mount, container, found)


def _details(path: str, here: str, mount: dict[str, Any], container: dict[str, Any], found: list[Cause]) -> None:
    below, expression = mount.get("subPath"), mount.get("subPathExpr")
    if below:
        found += descending(f"{path}.subPath", below)
    if expression:
        if below:
            detail = "subPathExpr and subPath are mutually exclusive"
            found.append(fields.invalid(f"{here}.subPathExpr", expression, detail))
        found += descending(f"{path}.subPathExpr", expression)
    propagation = mount.get("mountPropagation")
    if propagation is not None:
        if propagation not in _PROPAGATIONS:
            found.append(fields.unsupported(f"{path}.mountPropagation", propagation, _PROPAGATIONS))
        privileged = (container.get("securityContext") or {}).get("privileged")
        if propagation == "Bidirectional" and not privileged:
            detail = "Bidirectional mount propagation is available only to privileged containers"
            found.append(fields.forbidden(f"{path}.mountPropagation", detail))
    recursive = mount.get("recursiveReadOnly")
    if recursive in ("Enabled", "IfPossible"):
        if not mount.get("readOnly"):
            detail = "may only be specified when readOnly is true"
            found.append(fields.forbidden(f"{path}.recursiveReadOnly", detail))
        if propagation not in (None, "None"):
            detail = "may only be specified when mountPropagation is None or not specified"
            found.append(fields.forbidden(f"{path}.recursiveReadOnly", detail))
    elif recursive is not None and recursive != "Disabled":
        found.append(fields.unsupported(f"{path}.recursiveReadOnly", recursive, _RECURSIVE))


def validate_devices(path: str, container: dict[str, Any], volumes: Volumes, found: list[Cause]) -> None:
    """What is wrong with `volumeDevices`; `path` is the container's."""
    mounts = {m.get("name") or "": m.get("mountPath") or "" for m in container.get("volumeMounts") or ()}
    paths: set[str] = set()
    taken: set[str] = set()
    for index, device in enumerate(container.get("volumeDevices") or ()):
        here, name, place = f"{path}.volumeDevices[{index}]", device.get("name") or "", device.get("devicePath") or ""
        if not name:
            found.append(fields.required(f"{here}.name"))
        if name in taken:
            found.append(fields.invalid(f"{here}.name", name, "must be unique"))
        volume = volumes.get(name)
        if volume is None:
            found.append(fields.not_found(f"{here}.name", name))
        elif volume.get("persistentVolumeClaim") is None and volume.get("ephemeral") is None:
            detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            found.append(fields.invalid(f"{here}.name", name, detail))
        if not place:
            found.append(fields.required(f"{here}.devicePath"))
        if place in paths:
            found.append(fields.invalid(f"{here}.devicePath", place, "must be unique"))
        if ".." in place.split("/"):
            found.append(fields.invalid(f"{here}.devicePath", place, "can not contain backsteps ('..')"))
        else:
            paths.add(place)
        if name in mounts:
            found.append(fields.invalid(f"{here}.name", name, "must not already exist in volumeMounts"))
        if place in mounts.values():
            detail = "must not already exist as a path in volumeMounts"
            found.append(fields.invalid(f"{here}.devicePath", place, detail))
        if name:
            taken.add(name)
