"""What a container gets with its devices, all plugins' answers together. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from kumo.kubernetes.kubelet.devices.stubs import deviceplugin_pb2 as pb

_log = structlog.get_logger("kumo.kubelet")


@dataclass(frozen=True, slots=True)
class DeviceOptions:
    """Environment, devices (path in the container -> path on the host, permissions), mounts (-> path, read-only)."""

    environment: Mapping[str, str] = field(default_factory=dict)
    devices: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    mounts: Mapping[str, tuple[str, bool]] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    cdi: tuple[str, ...] = ()
    """Names of CDI devices, whose specs say more."""


NOTHING = DeviceOptions()


def merge(responses: Iterable[bytes]) -> DeviceOptions:
    """The answers together. Of two that say different things of one name or place the first one is heard."""
    environment: dict[str, str] = {}
    annotations: dict[str, str] = {}
    devices: dict[str, tuple[str, str]] = {}
    mounts: dict[str, tuple[str, bool]] = {}
    cdi: dict[str, None] = {}
    for content in responses:
        answer = pb.ContainerAllocateResponse.FromString(content)
        for name, value in sorted(answer.envs.items()):
            _put(environment, name, value)
        for name, value in sorted(answer.annotations.items()):
            _put(annotations, name, value)
        for device in answer.devices:
            _put(devices, device.container_path, (device.host_path, device.permissions))
        for mount in answer.mounts:
            _put(mounts, mount.container_path, (mount.host_path, mount.read_only))
        cdi |= dict.fromkeys(d.name for d in answer.cdi_devices)
    return DeviceOptions(environment, devices, mounts, annotations, tuple(cdi))


def _put(found: dict[str, Any], key: str, value: Any) -> None:
    if found.setdefault(key, value) != value:
        _log.warning("device plugins contradict each other", name=key, used=found[key], ignored=value)
