"""The security settings of sandboxes and containers as CRI wants them. Pure. Upstream: `security_context.go`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kumo.api.objects import Object, name_of, namespace_of
from kumo.host.containerd.stubs import cri_pb2 as cri
from kumo.kubernetes.kubelet.env import ConfigError
from kumo.kubernetes.kubelet.spec import (
    Container,
    container_security,
    every_container,
    host_network,
    pod_security,
)

POD, CONTAINER, NODE, TARGET = 0, 1, 2, 3
_RUNTIME_DEFAULT, _UNCONFINED, _LOCALHOST = 0, 1, 2

_MASKED = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def namespaces(pod: Object, target: str = "") -> cri.NamespaceOption:
    """Whose namespaces the pod's containers share; `target` is the container whose processes one of them is to see."""
    spec = pod["spec"]
    pid = NODE if spec.get("hostPID") else POD if spec.get("shareProcessNamespace") else CONTAINER
    return cri.NamespaceOption(
        network=NODE if host_network(pod) else POD,
        pid=TARGET if target else pid,
        ipc=NODE if spec.get("hostIPC") else POD,
        target_id=target,
    )


def sandbox_context(pod: Object) -> cri.LinuxSandboxSecurityContext:
    """The sandbox's security context."""
    wanted = pod_security(pod)
    context = cri.LinuxSandboxSecurityContext(
        namespace_options=namespaces(pod),
        privileged=any(container_security(c).get("privileged") for c in every_container(pod)),
        seccomp=cri.SecurityProfile(profile_type=_RUNTIME_DEFAULT),
        supplemental_groups=_groups(wanted),
        supplemental_groups_policy=int(wanted.get("supplementalGroupsPolicy") == "Strict"),
    )
    if wanted.get("runAsUser") is not None:
        context.run_as_user.value = int(wanted["runAsUser"])
        if wanted.get("runAsGroup") is not None:
            context.run_as_group.value = int(wanted["runAsGroup"])
    return context


def _groups(wanted: Mapping[str, Any]) -> list[int]:
    groups = [int(g) for g in wanted.get("supplementalGroups") or ()]
    if wanted.get("fsGroup") is not None:
        groups.append(int(wanted["fsGroup"]))
    return groups


def container_context(
    pod: Object,
    container: Container,
    profiles: Path,
    target: str = "",
    image: cri.Image | None = None,
    *,
    seccomp_default: bool = False,
) -> cri.LinuxContainerSecurityContext:
    """A container's security context; `profiles` is the directory of seccomp profiles of type Localhost.

    `seccomp_default`: who says nothing of seccomp gets the runtime's own profile.
    """
    own, shared = container_security(container), pod_security(pod)
    masked = own.get("procMount") != "Unmasked"
    capabilities = own.get("capabilities") or {}
    context = cri.LinuxContainerSecurityContext(
        capabilities=cri.Capability(
            add_capabilities=capabilities.get("add") or (), drop_capabilities=capabilities.get("drop") or ()
        ),
        privileged=bool(own.get("privileged")),
        namespace_options=namespaces(pod, target),
        readonly_rootfs=bool(own.get("readOnlyRootFilesystem")),
        no_new_privs=own.get("allowPrivilegeEscalation") is False,
        supplemental_groups=_groups(shared),
        masked_paths=_MASKED if masked else (),
        readonly_paths=_READ_ONLY if masked else (),
        seccomp=_seccomp(own, shared, profiles, confined=seccomp_default),
    )
    user = run_as(container, pod, "runAsUser")
    group = run_as(container, pod, "runAsGroup")
    if user is not None:
        context.run_as_user.value = user
    elif group is not None and image is not None:
        # CRI wants a user whenever a group is given: the image's.
        if image.HasField("uid"):
            context.run_as_user.value = image.uid.value
        else:
            context.run_as_username = image.username or "root"
    if group is not None:
        context.run_as_group.value = group
    profile = own.get("appArmorProfile") or shared.get("appArmorProfile")
    if profile and not own.get("privileged"):
        context.apparmor.CopyFrom(_apparmor(profile))
    context.supplemental_groups_policy = int(shared.get("supplementalGroupsPolicy") == "Strict")
    return context


def run_as(container: Container, pod: Object, name: str) -> int | None:
    """runAsUser or runAsGroup: the container's own, else the pod's."""
    own, shared = container_security(container), pod_security(pod)
    value = own.get(name)
    value = shared.get(name) if value is None else value
    return None if value is None else int(value)


def _apparmor(profile: Mapping[str, Any]) -> cri.SecurityProfile:
    kind = {"RuntimeDefault": _RUNTIME_DEFAULT, "Localhost": _LOCALHOST}.get(profile.get("type") or "", _UNCONFINED)
    return cri.SecurityProfile(profile_type=kind, localhost_ref=str(profile.get("localhostProfile") or ""))


def wants_apparmor(pod: Object) -> bool:
    """Whether any container is to be confined by AppArmor."""
    found = [pod_security(pod).get("appArmorProfile")]
    found += [container_security(c).get("appArmorProfile") for c in every_container(pod)]
    return any(p and p.get("type") != "Unconfined" for p in found)


def _seccomp(
    own: Mapping[str, Any], shared: Mapping[str, Any], profiles: Path, *, confined: bool
) -> cri.SecurityProfile:
    wanted = own.get("seccompProfile") or shared.get("seccompProfile") or {}
    kind = wanted.get("type") or ("RuntimeDefault" if confined else "Unconfined")
    if own.get("privileged") or kind == "Unconfined":
        return cri.SecurityProfile(profile_type=_UNCONFINED)
    if kind == "Localhost":
        return cri.SecurityProfile(
            profile_type=_LOCALHOST, localhost_ref=str(profiles / str(wanted.get("localhostProfile") or ""))
        )
    return cri.SecurityProfile(profile_type=_RUNTIME_DEFAULT)


def verify_non_root(pod: Object, container: Container, image: cri.Image | None) -> None:
    """Refuse a container that must not run as root but would. Raises ConfigError with upstream's message."""
    own, shared = container_security(container), pod_security(pod)
    wanted = own.get("runAsNonRoot")
    wanted = shared.get("runAsNonRoot") if wanted is None else wanted
    if not wanted:
        return
    where = (
        f'(pod: "{name_of(pod)}_{namespace_of(pod)}({pod["metadata"].get("uid", "")})", container: {container["name"]})'
    )
    user = run_as(container, pod, "runAsUser")
    if user is not None:
        if user == 0:
            raise ConfigError(f"container's runAsUser breaks non-root policy {where}")
        return
    if image is None:
        return
    if image.HasField("uid"):
        if image.uid.value == 0:
            raise ConfigError(f"container has runAsNonRoot and image will run as root {where}")
    elif image.username:
        raise ConfigError(
            f"container has runAsNonRoot and image has non-numeric user ({image.username}), "
            f"cannot verify user is non-root {where}"
        )
    else:
        raise ConfigError(f"container has runAsNonRoot and image will run as root {where}")
