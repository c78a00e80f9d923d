"""Validation of containers (`ValidateContainers` of `pkg/apis/core/validation`)."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.pod_resources import is_sidecar
from kumo.kubernetes.apiserver.kinds.probe_validation import validate_hook, validate_probe
from kumo.kubernetes.apiserver.kinds.resource_validation import validate_resources
from kumo.kubernetes.apiserver.kinds.volume_validation import validate_relative

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PROPAGATIONS = ("None", "HostToContainer", "Bidirectional")
_FIELD_PATHS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_USER_RANGE = "must be between 0 and 2147483647, inclusive"


class Context:
    """What a container is checked against: the pod's volumes, its host network, and the names taken already."""

    def __init__(self, volumes: dict[str, dict[str, Any]], host_network: bool) -> None:
        self.volumes = volumes
        self.host_network = host_network
        self.names: set[str] = set()


def validate_containers(path: str, containers: list[dict[str, Any]], context: Context, *, init: bool) -> list[Cause]:
    """What is wrong with a list of containers; `init` for init containers."""
    found: list[Cause] = []
    for index, container in enumerate(containers):
        here = f"{path}[{index}]"
        found += _identity(here, container, context)
        found += _ports(f"{here}.ports", container.get("ports") or (), context.host_network)
        found += validate_env(f"{here}.env", container.get("env") or ())
        found += _env_from(f"{here}.envFrom", container.get("envFrom") or ())
        found += _mounts(here, container, context.volumes)
        found += validate_resources(f"{here}.resources", container.get("resources"))
        found += _probes(here, container, init)
        found += _security(f"{here}.securityContext", container.get("securityContext"))
    return found


def _identity(path: str, container: dict[str, Any], context: Context) -> list[Cause]:
    found: list[Cause] = []
    name = container.get("name") or ""
    if not name:
        found.append(fields.required(f"{path}.name"))
    else:
        found += fields.each(f"{path}.name", name, names.check_label(name))
        if name in context.names:
            found.append(fields.duplicate(f"{path}.name", name))
        context.names.add(name)
    image = container.get("image") or ""
    if not image:
        found.append(fields.required(f"{path}.image"))
    elif image != image.strip():
        found.append(fields.invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))
    policy = container.get("terminationMessagePolicy")
    if policy not in ("File", "FallbackToLogsOnError"):
        supported = ("FallbackToLogsOnError", "File")
        found.append(
            fields.unsupported(f"{path}.terminationMessagePolicy", policy, supported)
            if policy
            else fields.required(f"{path}.terminationMessagePolicy")
        )
    pull = container.get("imagePullPolicy")
    if not pull:
        found.append(fields.required(f"{path}.imagePullPolicy"))
    elif pull not in PULL_POLICIES:
        found.append(fields.unsupported(f"{path}.imagePullPolicy", pull, PULL_POLICIES))
    return found


def _ports(path: str, ports: Any, host_network: bool) -> list[Cause]:
    found: list[Cause] = []
    taken: set[str] = set()
    for index, port in enumerate(ports):
        here = f"{path}[{index}]"
        name = port.get("name")
        if name:
            wrong = fields.each(f"{here}.name", name, names.check_port_name(name))
            if not wrong and name in taken:
                wrong = [fields.duplicate(f"{here}.name", name)]
            taken.add(name)
            found += wrong
        number, host = port.get("containerPort") or 0, port.get("hostPort") or 0
        if not number:
            found.append(fields.required(f"{here}.containerPort"))
        else:
            found += fields.each(f"{here}.containerPort", number, names.check_port(number))
        if host:
            found += fields.each(f"{here}.hostPort", host, names.check_port(host))
        if host_network and host != number:
            detail = "must match `containerPort` when `hostNetwork` is true"
            found.append(fields.invalid(f"{here}.hostPort", host, detail))
        protocol = port.get("protocol")
        if not protocol:
            found.append(fields.required(f"{here}.protocol"))
        elif protocol not in _PROTOCOLS:
            found.append(fields.unsupported(f"{here}.protocol", protocol, _PROTOCOLS))
    return found


def validate_env(path: str, variables: Any) -> list[Cause]:
    """What is wrong with environment variables."""
    found: list[Cause] = []
    for index, variable in enumerate(variables):
        here = f"{path}[{index}]"
        name = variable.get("name") or ""
        if not name:
            found.append(fields.required(f"{here}.name"))
        else:
            found += fields.each(f"{here}.name", name, names.check_env_name(name))
        source = variable.get("valueFrom")
        if source is not None:
            found += _env_source(f"{here}.valueFrom", variable, source)
    return found


def _env_source(path: str, variable: dict[str, Any], source: dict[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    kinds = [k for k in _SOURCES if source.get(k) is not None]
    if not kinds:
        detail = (
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        )
        return [fields.invalid(path, "", detail)]
    if variable.get("value"):
        found.append(fields.invalid(path, "", "may not be specified when `value` is not empty"))
    elif len(kinds) > 1:
        found.append(fields.invalid(path, "", "may not have more than one field specified at a time"))
    for kind in kinds:
        below, reference = f"{path}.{kind}", source[kind]
        if kind == "fieldRef":
            found += _field_ref(below, reference)
        elif kind == "resourceFieldRef":
            if not reference.get("resource"):
                found.append(fields.required(f"{below}.resource"))
        elif kind in ("configMapKeyRef", "secretKeyRef"):
            if not reference.get("name"):
                found.append(fields.required(f"{below}.name"))
            key = reference.get("key") or ""
            if not key:
                found.append(fields.required(f"{below}.key"))
            else:
                found += fields.each(f"{below}.key", key, names.check_config_key(key))
    return found


def _field_ref(path: str, reference: dict[str, Any]) -> list[Cause]:
    if not reference.get("apiVersion"):
        return [fields.required(f"{path}.apiVersion")]
    target = reference.get("fieldPath") or ""
    if not target:
        return [fields.required(f"{path}.fieldPath")]
    base, _, subscript = target.partition("[")
    if subscript and base in ("metadata.labels", "metadata.annotations"):
        return []
    if target not in _FIELD_PATHS:
        if target.startswith(("metadata.labels", "metadata.annotations")):
            return [fields.unsupported(f"{path}.fieldPath", target, sorted(_FIELD_PATHS))]
        detail = f"error converting fieldPath: field label not supported: {target}"
        return [fields.invalid(f"{path}.fieldPath", target, detail)]
    return []


def _env_from(path: str, sources: Any) -> list[Cause]:
    found: list[Cause] = []
    for index, source in enumerate(sources):
        here = f"{path}[{index}]"
        kinds = [k for k in ("configMapRef", "secretRef") if source.get(k) is not None]
        if not kinds:
            found.append(fields.invalid(here, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(kinds) > 1:
            found.append(fields.invalid(here, "", "may not have more than one field specified at a time"))
        for kind in kinds:
            if not source[kind].get("name"):
                found.append(fields.required(f"{here}.{kind}.name"))
        prefix = source.get("prefix")
        if prefix:
            found += fields.each(f"{here}.prefix", prefix, names.check_env_name(prefix))
    return found


def _mounts(path: str, container: dict[str, Any], volumes: dict[str, dict[str, Any]]) -> list[Cause]:
    found: list[Cause] = []
    places: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        here = f"{path}.volumeMounts[{index}]"
        name, place = mount.get("name") or "", mount.get("mountPath") or ""
        if not name:
            found.append(fields.required(f"{here}.name"))
        if name not in volumes:
            found.append(fields.not_found(f"{here}.name", name))
        if not place:
            found.append(fields.required(f"{here}.mountPath"))
        if place in places:
            found.append(fields.invalid(f"{here}.mountPath", place, "must be unique"))
        places.add(place)
        for key in ("subPath", "subPathExpr"):
            if mount.get(key):
                found += validate_relative(f"{here}.{key}", mount[key])
        if mount.get("subPath") and mount.get("subPathExpr"):
            found.append(
                fields.invalid(
                    f"{here}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive"
                )
            )
        propagation = mount.get("mountPropagation")
        if propagation is not None and propagation not in _PROPAGATIONS:
            found.append(fields.unsupported(f"{here}.mountPropagation", propagation, _PROPAGATIONS))
        privileged = (container.get("securityContext") or {}).get("privileged")
        if propagation == "Bidirectional" and not privileged:
            detail = "Bidirectional mount propagation is available only to privileged containers"
            found.append(fields.forbidden(f"{here}.mountPropagation", detail))
    for index, device in enumerate(container.get("volumeDevices") or ()):
        here = f"{path}.volumeDevices[{index}]"
        if (device.get("name") or "") not in volumes:
            found.append(fields.not_found(f"{here}.name", device.get("name") or ""))
        if not device.get("devicePath"):
            found.append(fields.required(f"{here}.devicePath"))
    return found


def _probes(path: str, container: dict[str, Any], init: bool) -> list[Cause]:
    found: list[Cause] = []
    sidecar = is_sidecar(container)
    if init and not sidecar:
        for key in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
            if container.get(key):
                detail = "may not be set for init containers without restartPolicy=Always"
                found.append(fields.forbidden(f"{path}.{key}", detail))
        return found
    for key in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(key)
        if probe is not None:
            found += validate_probe(f"{path}.{key}", probe, single_success=key != "readinessProbe")
    lifecycle = container.get("lifecycle") or {}
    for key in ("postStart", "preStop"):
        if lifecycle.get(key) is not None:
            found += validate_hook(f"{path}.lifecycle.{key}", lifecycle[key])
    return found


def _security(path: str, context: dict[str, Any] | None) -> list[Cause]:
    found: list[Cause] = []
    if not context:
        return found
    for key in ("runAsUser", "runAsGroup"):
        number = context.get(key)
        if number is not None and not 0 <= number < 1 << 31:
            found.append(fields.invalid(f"{path}.{key}", number, _USER_RANGE))
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            found.append(fields.invalid(path, context, detail))
        added = (context.get("capabilities") or {}).get("add") or ()
        if "CAP_SYS_ADMIN" in added:
            detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            found.append(fields.invalid(path, context, detail))
    return found
