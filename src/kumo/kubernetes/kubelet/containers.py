"""A container as CRI wants it described: command, environment, mounts, devices, limits.

Everything is decided here from values; only the files that are mounted into every container are written (termination
log, /etc/hosts), by `write_files`. Upstream: `kuberuntime_container.go`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kumo.api import quantities
from kumo.api.objects import Object
from kumo.host.containerd.stubs import cri_pb2 as cri
from kumo.kubernetes.kubelet import labels
from kumo.kubernetes.kubelet.config import DeviceResource
from kumo.kubernetes.kubelet.devices.options import NOTHING, DeviceOptions
from kumo.kubernetes.kubelet.env import ConfigError, expand, expand_all
from kumo.kubernetes.kubelet.placement.place import ANYWHERE, Place
from kumo.kubernetes.kubelet.resources import CPU_PERIOD, container_limits, oom_score
from kumo.kubernetes.kubelet.security import container_context
from kumo.kubernetes.kubelet.spec import Container, container_security
from kumo.kubernetes.kubelet.volumes.directories import sub_path
from kumo.kubernetes.kubelet.volumes.files import VolumeError
from kumo.kubernetes.kubelet.volumes.manager import Volume

_PROPAGATION = {"HostToContainer": 1, "Bidirectional": 2}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a container's description needs from its node and pod."""

    pod_directory: Path
    volumes: Mapping[str, Volume]
    environment: Mapping[str, str]
    devices: Mapping[str, DeviceResource]
    node_memory: int
    profiles: Path
    target: str = ""
    """The id of the container whose process namespace this one joins."""
    image: cri.Image | None = None
    given: DeviceOptions = NOTHING
    """What comes with the devices of device plugins; `environment` has its variables already."""
    place: Place = ANYWHERE
    seccomp_default: bool = False
    """Whether a container that says nothing of seccomp gets the runtime's profile."""
    group: Mapping[str, str] = field(default_factory=dict)
    """Files of its control group, by name, and what is written into them (version 2 alone)."""


def log_path(container: str, restarts: int) -> str:
    """The log file's path within the pod's log directory."""
    return f"{container}/{restarts}.log"


def hosts_path(pod_directory: Path) -> Path:
    """The pod's /etc/hosts."""
    return pod_directory / "etc-hosts"


def termination_file(pod_directory: Path, container: str) -> Path:
    """A new file for a container's last words."""
    return pod_directory / "containers" / container / secrets.token_hex(4)


def write_files(pod_directory: Path, termination: Path, hosts: str) -> None:
    """Write what every container gets mounted. Blocking."""
    termination.parent.mkdir(parents=True, exist_ok=True)
    termination.touch()
    termination.chmod(0o666)
    path = hosts_path(pod_directory)
    if not path.exists() or path.read_text() != hosts:
        path.write_text(hosts)
        path.chmod(0o644)


def container_config(
    pod: Object, container: Container, restarts: int, around: Surroundings, termination: Path
) -> cri.ContainerConfig:
    """The container's configuration. Makes missing subPath directories (blocking). Raises ConfigError."""
    limits = container_limits(pod, container)
    return cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name=container["name"], attempt=restarts),
        image=cri.ImageSpec(image=container["image"], user_specified_image=container["image"]),
        command=expand_all(container.get("command"), around.environment),
        args=expand_all(container.get("args"), around.environment),
        working_dir=container.get("workingDir") or "",
        envs=[cri.KeyValue(key=k, value=v.encode()) for k, v in around.environment.items()],
        mounts=_mounts(container, around, termination),
        devices=[
            *_devices(container, around.devices),
            *_given_devices(around.given),
            *_block_devices(container, around.volumes),
        ],
        labels={**labels.pod_labels(pod), labels.CONTAINER_NAME: container["name"]},
        annotations={**around.given.annotations, **_annotations(pod, container, restarts, termination)},
        log_path=log_path(container["name"], restarts),
        stdin=bool(container.get("stdin")),
        stdin_once=bool(container.get("stdinOnce")),
        tty=bool(container.get("tty")),
        linux=cri.LinuxContainerConfig(
            resources=cri.LinuxContainerResources(
                cpu_period=CPU_PERIOD if limits.cpu_quota else 0,
                # Processors of its own may be used in full.
                cpu_quota=-1 if around.place.exclusive else limits.cpu_quota,
                cpuset_cpus=around.place.cpus,
                cpuset_mems=around.place.memory,
                cpu_shares=limits.cpu_shares,
                memory_limit_in_bytes=limits.memory,
                oom_score_adj=oom_score(pod, container, around.node_memory),
                unified=around.group,
            ),
            security_context=container_context(
                pod,
                container,
                around.profiles,
                around.target,
                around.image,
                seccomp_default=around.seccomp_default,
            ),
        ),
    )


def _annotations(pod: Object, container: Container, restarts: int, termination: Path) -> dict[str, str]:
    return {
        labels.RESTART_COUNT: str(restarts),
        labels.HASH: labels.container_hash(container),
        labels.TERMINATION_PATH: container.get("terminationMessagePath") or "",
        labels.TERMINATION_POLICY: container.get("terminationMessagePolicy") or "",
        labels.TERMINATION_FILE: str(termination),
        labels.GRACE_PERIOD: str(pod["spec"].get("terminationGracePeriodSeconds", 30)),
    }


def _mounts(container: Container, around: Surroundings, termination: Path) -> list[cri.Mount]:
    found = []
    places = set()
    for mount in container.get("volumeMounts") or ():
        found.append(_volume_mount(mount, around, container))
        places.add(mount["mountPath"].rstrip("/"))
    if "/etc/hosts" not in places:
        found.append(cri.Mount(container_path="/etc/hosts", host_path=str(hosts_path(around.pod_directory))))
    path = container.get("terminationMessagePath") or "/dev/termination-log"
    if path not in places:
        found.append(cri.Mount(container_path=path, host_path=str(termination)))
    for place, (source, read_only) in around.given.mounts.items():
        found.append(cri.Mount(container_path=place, host_path=source, readonly=read_only))
    # A mount below another one has to come after it.
    return sorted(found, key=lambda m: m.container_path.rstrip("/").count("/"))


def _volume_mount(mount: Mapping[str, Any], around: Surroundings, container: Container) -> cri.Mount:
    name = mount["name"]
    volume = around.volumes.get(name)
    if volume is None:
        raise ConfigError(f'cannot find volume "{name}" to mount into container "{container["name"]}"')
    path = volume.path
    inner = mount.get("subPath") or expand(mount.get("subPathExpr") or "", around.environment)
    if inner:
        try:
            path = sub_path(path, inner)
        except (VolumeError, OSError) as error:
            raise ConfigError(
                f'failed to create subPath directory for volumeMount "{name}" of container "{container["name"]}"'
            ) from error
    return cri.Mount(
        container_path=mount["mountPath"],
        host_path=str(path),
        readonly=bool(mount.get("readOnly")) or volume.read_only,
        propagation=_PROPAGATION.get(mount.get("mountPropagation") or "", 0),
    )


def _block_devices(container: Container, volumes: Mapping[str, Volume]) -> list[cri.Device]:
    found = []
    for device in container.get("volumeDevices") or ():
        volume = volumes.get(device["name"])
        if volume is None or not volume.block:
            raise ConfigError(f'cannot find volume "{device["name"]}" to pass into container "{container["name"]}"')
        permissions = "r" if volume.read_only else "mrw"
        found.append(
            cri.Device(host_path=str(volume.path), container_path=device["devicePath"], permissions=permissions)
        )
    return found


def _given_devices(given: DeviceOptions) -> list[cri.Device]:
    return [
        cri.Device(host_path=source, container_path=place, permissions=permissions)
        for place, (source, permissions) in given.devices.items()
    ]


def _devices(container: Container, offered: Mapping[str, DeviceResource]) -> list[cri.Device]:
    found = []
    limits = (container.get("resources") or {}).get("limits") or {}
    for name, resource in offered.items():
        if name in limits and quantities.parse(limits[name]) > 0:
            found += [
                cri.Device(host_path=n.host_path, container_path=n.container_path, permissions=n.permissions)
                for n in resource.nodes
            ]
    if container_security(container).get("privileged"):
        return []  # it has every device of the host
    return found
