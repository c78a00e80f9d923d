"""Validation of a pod's volumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause

_HOST_PATH_TYPES = (
    "",
    "DirectoryOrCreate",
    "Directory",
    "FileOrCreate",
    "File",
    "Socket",
    "CharDevice",
    "BlockDevice",
)
_MODE = "must be a number between 0 and 0777 (octal), both inclusive"


def validate_relative(path: str, value: str) -> list[Cause]:
    """A path below some root that does not leave it."""
    found = []
    if value.startswith("/"):
        found.append(fields.invalid(path, value, "must be a relative path"))
    if ".." in value.split("/"):
        found.append(fields.invalid(path, value, "must not contain '..'"))
    return found


def validate_volumes(path: str, volumes: list[dict[str, Any]]) -> tuple[dict[str, dict[str, Any]], list[Cause]]:
    """The volumes by name, and what is wrong with them."""
    found: list[Cause] = []
    known: dict[str, dict[str, Any]] = {}
    for index, volume in enumerate(volumes):
        here = f"{path}[{index}]"
        name = volume.get("name") or ""
        wrong = _sources(here, volume)
        if not name:
            wrong.append(fields.required(f"{here}.name"))
        else:
            wrong += fields.each(f"{here}.name", name, names.check_label(name))
            if name in known:
                wrong.append(fields.duplicate(f"{here}.name", name))
        found += wrong
        if not wrong:
            known[name] = volume
    return known, found


def _sources(path: str, volume: dict[str, Any]) -> list[Cause]:
    kinds = [k for k, v in volume.items() if k != "name" and v is not None]
    if not kinds:
        return [fields.required(path, "must specify a volume type")]
    found: list[Cause] = []
    for extra in kinds[1:]:
        found.append(fields.forbidden(f"{path}.{extra}", "may not specify more than 1 volume type"))
    check = _CHECKS.get(kinds[0])
    if check is not None:
        found += check(f"{path}.{kinds[0]}", volume[kinds[0]])
    return found


def _host_path(path: str, source: dict[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    location = source.get("path") or ""
    if not location:
        found.append(fields.required(f"{path}.path"))
    elif ".." in location.split("/"):
        found.append(fields.invalid(f"{path}.path", location, "must not contain '..'"))
    kind = source.get("type") or ""
    if kind not in _HOST_PATH_TYPES:
        found.append(fields.unsupported(f"{path}.type", kind, sorted(_HOST_PATH_TYPES)))
    return found


def _mode(path: str, mode: Any) -> list[Cause]:
    if mode is not None and not 0 <= mode <= 0o777:
        return [fields.invalid(path, mode, _MODE)]
    return []


def _items(path: str, source: dict[str, Any]) -> list[Cause]:
    found = _mode(f"{path}.defaultMode", source.get("defaultMode"))
    for index, item in enumerate(source.get("items") or ()):
        here = f"{path}.items[{index}]"
        if not item.get("key"):
            found.append(fields.required(f"{here}.key"))
        if not item.get("path"):
            found.append(fields.required(f"{here}.path"))
        else:
            found += validate_relative(f"{here}.path", item["path"])
        found += _mode(f"{here}.mode", item.get("mode"))
    return found


def _secret(path: str, source: dict[str, Any]) -> list[Cause]:
    missing = [] if source.get("secretName") else [fields.required(f"{path}.secretName")]
    return missing + _items(path, source)


def _config_map(path: str, source: dict[str, Any]) -> list[Cause]:
    missing = [] if source.get("name") else [fields.required(f"{path}.name")]
    return missing + _items(path, source)


def _claim(path: str, source: dict[str, Any]) -> list[Cause]:
    return [] if source.get("claimName") else [fields.required(f"{path}.claimName")]


def _empty_dir(path: str, source: dict[str, Any]) -> list[Cause]:
    limit = source.get("sizeLimit")
    if limit is not None and str(limit).startswith("-"):
        return [fields.forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")]
    return []


def _downward(path: str, source: dict[str, Any]) -> list[Cause]:
    found = _mode(f"{path}.defaultMode", source.get("defaultMode"))
    for index, item in enumerate(source.get("items") or ()):
        here = f"{path}[{index}]"
        if not item.get("path"):
            found.append(fields.required(f"{path}.path"))
        else:
            found += validate_relative(f"{path}.path", item["path"])
        if item.get("fieldRef") is None and item.get("resourceFieldRef") is None:
            found.append(fields.required(here, "one of fieldRef and resourceFieldRef is required"))
    return found


def _projected(path: str, source: dict[str, Any]) -> list[Cause]:
    found = _mode(f"{path}.defaultMode", source.get("defaultMode"))
    checks = {"secret": _config_map, "configMap": _config_map, "downwardAPI": _downward}
    for index, part in enumerate(source.get("sources") or ()):
        here = f"{path}.sources[{index}]"
        kinds = [k for k, v in part.items() if v is not None]
        if len(kinds) > 1:
            found.append(fields.forbidden(f"{here}.{kinds[1]}", "may not specify more than 1 volume type"))
        for kind in kinds[:1]:
            if kind in checks:
                found += checks[kind](f"{here}.{kind}", part[kind])
            elif kind == "serviceAccountToken":
                found += _token(f"{here}.{kind}", part[kind])
    return found


def _token(path: str, source: dict[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    seconds = source.get("expirationSeconds")
    if seconds is not None and seconds < 600:
        found.append(
            fields.invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
        )
    if not source.get("path"):
        found.append(fields.required(f"{path}.path"))
    else:
        found += validate_relative(f"{path}.path", source["path"])
    return found


def _nfs(path: str, source: dict[str, Any]) -> list[Cause]:
    found = [fields.required(f"{path}.{key}") for key in ("server", "path") if not source.get(key)]
    if source.get("path") and not source["path"].startswith("/"):
        found.append(fields.invalid(f"{path}.path", source["path"], "must be an absolute path"))
    return found


def _csi(path: str, source: dict[str, Any]) -> list[Cause]:
    return [] if source.get("driver") else [fields.required(f"{path}.driver")]


_CHECKS: dict[str, Callable[[str, dict[str, Any]], list[Cause]]] = {
    "hostPath": _host_path,
    "secret": _secret,
    "configMap": _config_map,
    "persistentVolumeClaim": _claim,
    "emptyDir": _empty_dir,
    "downwardAPI": _downward,
    "projected": _projected,
    "nfs": _nfs,
    "csi": _csi,
}
