"""Containers, init containers and ephemeral containers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.kinds.pod.environment import validate_env, validate_env_from
from kumo.kubernetes.apiserver.kinds.pod.handlers import validate_lifecycle, validate_probes
from kumo.kubernetes.apiserver.kinds.pod.mounts import Volumes, validate_devices, validate_mounts
from kumo.kubernetes.apiserver.kinds.pod.resources import validate_resources
from kumo.kubernetes.apiserver.kinds.pod.restarts import validate_resize_policy, validate_restart_rules
from kumo.kubernetes.apiserver.kinds.pod.security import validate_container_security
from kumo.kubernetes.apiserver.kinds.pod.visiting import Container, is_sidecar
from kumo.kubernetes.apiserver.kinds.pod.volumes import PULL_POLICIES, check_pull_policy

_MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_NOT_INIT = "may not be set for init containers without restartPolicy=Always"
_NOT_EPHEMERAL = "cannot be set for an Ephemeral Container"
_NEVER_EPHEMERAL = (
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
)
_SPACE = "must not have leading or trailing whitespace"


@dataclass(frozen=True, slots=True)
class Context:
    """What the containers of one pod are checked against."""

    volumes: Volumes
    claims: frozenset[str]
    grace: int | None
    restart_policy: str
    host_users: bool


def validate_containers(path: str, containers: Any, context: Context, found: list[Cause]) -> None:
    """The plain containers."""
    if not containers:
        found.append(fields.required(path))
        return
    taken: set[str] = set()
    for index, container in enumerate(containers):
        here = f"{path}[{index}]"
        _common(here, container, context, found)
        name = container.get("name") or ""
        if name in taken:
            found.append(fields.duplicate(f"{here}.name", name))
        taken.add(name)
        if container.get("lifecycle") is not None:
            validate_lifecycle(f"{here}.lifecycle", container["lifecycle"], context.grace, found)
        validate_probes(here, container, context.grace, found)
        validate_restart_rules(here, container, found)
    _host_ports(path, containers, found)


def validate_init_containers(path: str, containers: Any, plain: Any, context: Context, found: list[Cause]) -> None:
    """The init containers, sidecars among them; `plain` are the pod's other containers."""
    taken = {container.get("name") or "" for container in plain}
    for index, container in enumerate(containers):
        here = f"{path}[{index}]"
        _common(here, container, context, found)
        validate_restart_rules(here, container, found)
        name = container.get("name") or ""
        if name in taken:
            found.append(fields.duplicate(f"{here}.name", name))
        elif name:
            taken.add(name)
        _host_ports(path, (container,), found)
        if is_sidecar(container):
            if container.get("lifecycle") is not None:
                validate_lifecycle(f"{here}.lifecycle", container["lifecycle"], context.grace, found)
            validate_probes(here, container, context.grace, found)
            continue
        for key in ("lifecycle", *_PROBES):
            if container.get(key) is not None:
                found.append(fields.forbidden(f"{here}.{key}", _NOT_INIT))
        for number, policy in enumerate(container.get("resizePolicy") or ()):
            if policy.get("restartPolicy") == "RestartContainer":
                detail = "must not be set to 'RestartContainer' for non-sidecar initContainers"
                where = f"{here}.resizePolicy[{number}].restartPolicy"
                found.append(fields.invalid(where, "RestartContainer", detail))


def validate_ephemeral_containers(
    path: str, containers: Any, spec: dict[str, Any], context: Context, found: list[Cause]
) -> None:
    """The ephemeral containers, for debugging a running pod."""
    others = {c.get("name") or "" for key in ("containers", "initContainers") for c in spec.get(key) or ()}
    taken = set(others)
    for index, container in enumerate(containers):
        here, name = f"{path}[{index}]", container.get("name") or ""
        _common(here, container, context, found)
        found += image_space(here, container)
        if name in taken:
            found.append(fields.duplicate(f"{here}.name", name))
        taken.add(name)
        target = container.get("targetContainerName")
        if target and target not in others:
            found.append(fields.not_found(f"{here}.targetContainerName", target))
        for key in _NEVER_EPHEMERAL:
            if container.get(key):
                found.append(fields.forbidden(f"{here}.{key}", _NOT_EPHEMERAL))
        for number, mount in enumerate(container.get("volumeMounts") or ()):
            for key in ("subPath", "subPathExpr"):
                if mount.get(key):
                    found.append(fields.forbidden(f"{here}.volumeMounts[{number}].{key}", _NOT_EPHEMERAL))


def image_space(path: str, container: Container) -> list[Cause]:
    """An image with spaces around it (refused in pods, not in templates)."""
    image = container.get("image") or ""
    return [fields.invalid(f"{path}.image", image, _SPACE)] if image != image.strip() else []


def _common(path: str, container: Container, context: Context, found: list[Cause]) -> None:
    get = container.get
    name = get("name") or ""
    if not name:
        found.append(fields.required(f"{path}.name"))
    elif wrong := names.check_label(name):
        found += fields.each(f"{path}.name", name, wrong)
    if not get("image"):
        found.append(fields.required(f"{path}.image"))
    policy = get("terminationMessagePolicy")
    if policy not in _MESSAGE_POLICIES:
        where = f"{path}.terminationMessagePolicy"
        found.append(fields.unsupported(where, policy, _MESSAGE_POLICIES) if policy else fields.required(where))
    if get("ports"):
        _ports(f"{path}.ports", container["ports"], found)
    if get("env"):
        validate_env(f"{path}.env", container["env"], found)
    if get("envFrom"):
        validate_env_from(f"{path}.envFrom", container["envFrom"], found)
    if get("volumeMounts"):
        validate_mounts(path, container, context.volumes, found)
    if get("volumeDevices"):
        validate_devices(path, container, context.volumes, found)
    if get("imagePullPolicy") not in PULL_POLICIES:
        check_pull_policy(f"{path}.imagePullPolicy", get("imagePullPolicy"), found)
    if get("resources"):
        found += validate_resources(f"{path}.resources", container["resources"], context.claims)
    if get("resizePolicy"):
        validate_resize_policy(f"{path}.resizePolicy", container["resizePolicy"], context.restart_policy, found)
    if get("securityContext"):
        validate_container_security(f"{path}.securityContext", container["securityContext"], context.host_users, found)


def _ports(path: str, ports: Any, found: list[Cause]) -> None:
    taken: set[str] = set()
    for index, port in enumerate(ports):
        name = port.get("name")
        if name:
            if wrong := names.check_port_name(name):
                found += fields.each(f"{path}[{index}].name", name, wrong)
            elif name in taken:
                found.append(fields.duplicate(f"{path}[{index}].name", name))
            else:
                taken.add(name)
        number, host = port.get("containerPort") or 0, port.get("hostPort") or 0
        if not number:
            found.append(fields.required(f"{path}[{index}].containerPort"))
        elif not 1 <= number <= 65535:
            found += fields.each(f"{path}[{index}].containerPort", number, names.check_port(number))
        if host and not 1 <= host <= 65535:
            found += fields.each(f"{path}[{index}].hostPort", host, names.check_port(host))
        protocol = port.get("protocol")
        if protocol not in _PROTOCOLS:
            where = f"{path}[{index}].protocol"
            found.append(fields.unsupported(where, protocol, _PROTOCOLS) if protocol else fields.required(where))


def _host_ports(path: str, containers: Any, found: list[Cause]) -> None:
    taken: set[str] = set()
    for index, container in enumerate(containers):
        for number, port in enumerate(container.get("ports") or ()):
            if not port.get("hostPort"):
                continue
            text = f"{port.get('protocol') or ''}/{port.get('hostIP') or ''}/{port['hostPort']}"
            if text in taken:
                found.append(fields.duplicate(f"{path}[{index}].ports[{number}].hostPort", text))
            taken.add(text)
