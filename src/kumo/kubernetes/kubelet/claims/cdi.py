"""CDI devices: what spec files say that containers with a device get, applied here because containerd 1.6 does not.

Container Device Interface 0.3 to 0.8: `/etc/cdi`, then `/var/run/cdi`; a device that both define is the later one's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kumo.kubernetes.kubelet.devices.options import DeviceOptions

FOLDERS = (Path("/etc/cdi"), Path("/var/run/cdi"))
_LARGEST = 4 << 20


class CdiError(OSError):
    """A device can't be had, or needs what can't be given."""


def specs(folders: Sequence[Path] = FOLDERS) -> list[Mapping[str, Any]]:
    """All specs, those that count more first. Files that can't be read are left out. Blocking."""
    found = []
    for folder in reversed(folders):
        files = sorted(folder.glob("*.json")) + sorted(folder.glob("*.yaml")) if folder.is_dir() else []
        for path in files:
            spec = _read(path)
            if isinstance(spec, Mapping) and isinstance(spec.get("kind"), str):
                found.append(spec)
    return found


def _read(path: Path) -> Any:
    try:
        if path.stat().st_size > _LARGEST:
            return None
        content = path.read_bytes()
        if path.suffix == ".json":
            import json

            return json.loads(content)
        import yaml

        return yaml.safe_load(content)
    except Exception:  # whatever is wrong with somebody's file: the device is not there
        return None


def options(ids: Iterable[str], known: Sequence[Mapping[str, Any]]) -> DeviceOptions:
    """What a container with these devices (`vendor.example/class=name`) gets. Raises CdiError."""
    environment: dict[str, str] = {}
    devices: dict[str, tuple[str, str]] = {}
    mounts: dict[str, tuple[str, bool]] = {}
    for name, edits in _edits(dict.fromkeys(ids), known):
        try:
            if edits.get("hooks"):
                raise CdiError("CDI hooks are not supported")
            for line in edits.get("env") or ():
                variable, _, value = line.partition("=")
                environment[variable] = value
            for node in edits.get("deviceNodes") or ():
                devices[node["path"]] = (node.get("hostPath") or node["path"], node.get("permissions") or "rwm")
            for mount in edits.get("mounts") or ():
                mounts[mount["containerPath"]] = (mount["hostPath"], "ro" in (mount.get("options") or ()))
        except (KeyError, TypeError, AttributeError) as error:
            raise CdiError(f"CDI device {name} is not described as it should be: {error!r}") from error
    return DeviceOptions(environment, devices, mounts)


def _edits(ids: Iterable[str], known: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The edits of each device; those of a whole spec once, before its devices'."""
    used: set[int] = set()
    for name in ids:
        kind, _, wanted = name.partition("=")
        found = next(
            (
                (spec, device)
                for spec in known
                if spec["kind"] == kind
                for device in spec.get("devices") or ()
                if device.get("name") == wanted
            ),
            None,
        )
        if found is None:
            raise CdiError(f"unresolvable CDI devices {name}")
        spec, device = found
        if id(spec) not in used:
            used.add(id(spec))
            yield name, spec.get("containerEdits") or {}
        yield name, device.get("containerEdits") or {}


def joined(first: DeviceOptions, second: DeviceOptions) -> DeviceOptions:
    """Both together; the first counts more."""
    return DeviceOptions(
        {**second.environment, **first.environment},
        {**second.devices, **first.devices},
        {**second.mounts, **first.mounts},
        {**second.annotations, **first.annotations},
    )
