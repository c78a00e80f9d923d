"""The launcher pod of a VirtualMachineInstance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from typing import Any

from kumo.api.objects import NAME_SUFFIX_ALPHABET, Object, name_of, namespace_of, owner_reference, uid_of
from kumo.kubevirt.common import launcher_contract as contract
from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.common.names import API_VERSION, UNPAUSED_GATE
from kumo.kubevirt.common.specs import Spec, devices, interfaces, networks, serial_console, volumes
from kumo.kubevirt.virt_controller.launcher import metadata, resources
from kumo.kubevirt.virt_controller.launcher.overhead import memory_overhead
from kumo.kubevirt.virt_controller.launcher.volumes import LAUNCHER_VOLUME, PodVolumes, pod_volumes

GRACE_PADDING = 15
"""Seconds that the launcher gets beyond the guest's, and the pod beyond the launcher's."""
DEFAULT_GRACE = 30
_QEMU_TIMEOUT = (240, 360)
_SUFFIX = 5
_LONGEST_NAME = 63


@dataclass(frozen=True, slots=True)
class LauncherConfig:
    """What the nodes have: kumo's version and package directory, the directory of libvirt's capabilities files."""

    version: str
    package_dir: str
    capabilities_dir: str = ""

    @property
    def image(self) -> str:
        """The launcher image."""
        return contract.image_reference(self.version)


def launcher_pod(
    vmi: Object,
    config: ClusterConfig,
    launcher: LauncherConfig,
    *,
    claims: Mapping[str, Object] | None = None,
    random: Random | None = None,
) -> Object:
    """The pod to create for a VMI that has its defaults. Raises ClaimNotFound.

    As upstream's RenderLaunchManifest; kumo's own are the image, the command, three hostPath volumes, the shell in
    `guest-console-log`, and less memory. `random` spreads the time-outs for QEMU's start.
    """
    spec: Spec = vmi["spec"]
    overhead = memory_overhead(spec, emulated=config.use_emulation, ratio=config.overhead_ratio)
    mounted = pod_volumes(
        spec,
        image=launcher.image,
        package_dir=launcher.package_dir,
        capabilities_dir=launcher.capabilities_dir,
        pull_policy=config.image_pull_policy,
        claims=claims or {},
    )
    compute = _compute(vmi, config, launcher, mounted, overhead, random or Random())
    owner = owner_reference({"apiVersion": API_VERSION, "kind": "VirtualMachineInstance", "metadata": vmi["metadata"]})
    prefix = f"virt-launcher-{name_of(vmi)}-"
    pod: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": prefix,
            "name": pod_name(prefix, uid_of(vmi)),
            "namespace": namespace_of(vmi),
            "labels": metadata.pod_labels(vmi),
            "annotations": metadata.pod_annotations(vmi, overhead),
            "ownerReferences": [owner],
        },
        "spec": {
            "restartPolicy": "Never",
            "hostname": metadata.sanitized_hostname(vmi),
            "securityContext": {
                "runAsUser": contract.UID,
                "runAsGroup": contract.UID,
                "runAsNonRoot": True,
                "fsGroup": contract.UID,
            },
            "automountServiceAccountToken": _wants_token(spec),
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": _grace(spec) + 2 * GRACE_PADDING,
            "readinessGates": [{"conditionType": UNPAUSED_GATE}],
            "nodeSelector": metadata.node_selector(vmi, config),
            "containers": [compute],
            "initContainers": _init_containers(vmi, config, launcher),
            "volumes": mounted.volumes,
        },
    }
    _add_optional(pod["spec"], vmi, config)
    return pod


def pod_name(prefix: str, uid: str) -> str:
    """The pod's name: as an API server would generate it, but always the same for the same instance.

    Thereby a controller that takes over from another, or sees the world a moment too late, cannot make a second pod.
    """
    number = int.from_bytes(sha256(uid.encode()).digest()[:8], "big")
    letters = []
    for _ in range(_SUFFIX):
        number, index = divmod(number, len(NAME_SUFFIX_ALPHABET))
        letters.append(NAME_SUFFIX_ALPHABET[index])
    return prefix[: _LONGEST_NAME - _SUFFIX] + "".join(letters)


def _grace(spec: Spec) -> int:
    seconds = spec.get("terminationGracePeriodSeconds")
    return DEFAULT_GRACE if seconds is None else int(seconds)


def _account(spec: Spec) -> str:
    if spec.get("serviceAccountName"):
        return str(spec["serviceAccountName"])
    found = (v["serviceAccount"].get("serviceAccountName", "") for v in volumes(spec) if v.get("serviceAccount"))
    return next(found, "")


def _wants_token(spec: Spec) -> bool:
    return any(v.get("serviceAccount") is not None for v in volumes(spec))


def _add_optional(pod_spec: dict[str, Any], vmi: Object, config: ClusterConfig) -> None:
    spec = vmi["spec"]
    names = ("subdomain", "dnsConfig", "dnsPolicy", "schedulerName", "tolerations", "topologySpreadConstraints",
             "priorityClassName", "resourceClaims")  # fmt: skip
    for name in names:
        if spec.get(name):
            pod_spec[name] = spec[name]
    affinity = metadata.affinity(vmi)
    if affinity:
        pod_spec["affinity"] = affinity
    if config.default_runtime_class:
        pod_spec["runtimeClassName"] = config.default_runtime_class
    if _account(spec):
        pod_spec["serviceAccountName"] = _account(spec)
    secrets = {str((v.get("containerDisk") or {}).get("imagePullSecret") or "") for v in volumes(spec)} - {""}
    if secrets:
        pod_spec["imagePullSecrets"] = [{"name": name} for name in sorted(secrets)]


def _compute(
    vmi: Object, config: ClusterConfig, launcher: LauncherConfig, mounted: PodVolumes, overhead: int, random: Random
) -> dict[str, Any]:
    environment: list[dict[str, Any]] = [{"name": k, "value": v} for k, v in contract.ENVIRONMENT.items()]
    environment.append({"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})
    container: dict[str, Any] = {
        "name": contract.COMPUTE,
        "image": launcher.image,
        "imagePullPolicy": config.image_pull_policy,
        "command": list(contract.COMMAND),
        "args": _arguments(vmi, config, random),
        "env": environment,
        "resources": resources.compute_resources(vmi["spec"], config, overhead),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsUser": contract.UID,
            "runAsGroup": contract.UID,
            "runAsNonRoot": True,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounted.mounts,
    }
    if mounted.devices:
        container["volumeDevices"] = mounted.devices
    ports = _ports(vmi["spec"])
    if ports:
        container["ports"] = ports
    return container


def _arguments(vmi: Object, config: ClusterConfig, random: Random) -> list[str]:
    spec = vmi["spec"]
    pairs = {
        "--qemu-timeout": f"{random.randrange(*_QEMU_TIMEOUT)}s",
        "--name": name_of(vmi),
        "--uid": uid_of(vmi),
        "--namespace": namespace_of(vmi),
        "--kubevirt-share-dir": contract.SHARE_DIR,
        "--ephemeral-disk-dir": contract.EPHEMERAL_DISK_DIR,
        "--container-disk-dir": contract.CONTAINER_DISK_DIR,
        "--grace-period-seconds": str(_grace(spec) + GRACE_PADDING),
        "--hook-sidecars": "0",
        "--ovmf-path": contract.OVMF_PATH,
        "--disk-memory-limit": str(config.disk_memory_limit),
        "--hypervisor": "kvm",
    }
    flags = ["--run-as-nonroot", "--image-volume", "--upgrade-ordinal-ifaces"]
    if config.use_emulation:
        flags.append("--allow-emulation")
    return [word for pair in pairs.items() for word in pair] + flags


def _ports(spec: Spec) -> list[dict[str, Any]]:
    on_pod = {n.get("name") for n in networks(spec) if n.get("pod") is not None}
    found = []
    for interface in interfaces(spec):
        for port in (interface.get("ports") or ()) if interface.get("name") in on_pod else ():
            made = {"containerPort": port["port"], "protocol": port.get("protocol") or "TCP"}
            found.append({"name": port["name"], **made} if port.get("name") else made)
    return found


def _unprivileged() -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsUser": contract.UID,
        "runAsNonRoot": True,
    }


def logs_serial_console(spec: Spec, config: ClusterConfig) -> bool:
    """Whether the guest's serial console is kept as a log: unless the VM or the cluster says no."""
    wanted = devices(spec).get("logSerialConsole")
    asked = bool(wanted) if wanted is not None else not config.disable_serial_console_log
    return asked and serial_console(spec)


def _init_containers(vmi: Object, config: ClusterConfig, launcher: LauncherConfig) -> list[dict[str, Any]]:
    spec, found = vmi["spec"], []
    if logs_serial_console(spec, config):
        command = contract.console_log_command(uid_of(vmi))
        found.append(
            {
                "name": contract.CONSOLE_LOG,
                "image": launcher.image,
                "imagePullPolicy": config.image_pull_policy,
                "restartPolicy": "Always",
                "command": command[:-1],
                "args": command[-1:],
                "resources": resources.CONSOLE_LOG,
                "securityContext": _unprivileged(),
                "volumeMounts": [
                    {"name": "private", "mountPath": contract.PRIVATE_DIR, "readOnly": True},
                    {"name": "host-usr", "mountPath": contract.HOST_USR, "readOnly": True},
                ],
            }
        )
    for volume in volumes(spec):
        disk = volume.get("containerDisk")
        if disk is not None:
            found.append(_no_op(f"volume{volume['name']}", disk))
    return found


def _no_op(name: str, disk: dict[str, Any]) -> dict[str, Any]:
    container = {
        "name": name,
        "image": disk["image"],
        "command": [f"/container-disk-binary{contract.NO_OP_BINARY}"],
        "args": ["--no-op"],
        "resources": resources.NO_OP,
        "securityContext": _unprivileged(),
        "volumeMounts": [{"name": LAUNCHER_VOLUME, "mountPath": "/container-disk-binary", "readOnly": True}],
    }
    if disk.get("imagePullPolicy"):
        container["imagePullPolicy"] = disk["imagePullPolicy"]
    return container
