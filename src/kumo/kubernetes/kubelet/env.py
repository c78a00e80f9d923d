"""A container's environment: values, references, service variables, `$(NAME)` expansion. Pure.

Upstream: `makeEnvironmentVariables` in `pkg/kubelet/kubelet_pods.go`, and `third_party/forked/golang/expansion`.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kumo.api import quantities
from kumo.api.objects import Object, annotations_of, labels_of, name_of, namespace_of, uid_of
from kumo.kubernetes.kubelet.env_files import BadFile, value_in
from kumo.kubernetes.kubelet.spec import Container, find_container


class ConfigError(Exception):
    """The container's configuration can't be made: reason CreateContainerConfigError."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What an environment is made from. Config maps and secrets by name, None for one that does not exist."""

    configmaps: Mapping[str, Object | None] = field(default_factory=dict)
    secrets: Mapping[str, Object | None] = field(default_factory=dict)
    services: Sequence[Object] = ()
    pod_ips: Sequence[str] = ()
    host_ips: Sequence[str] = ()
    allocatable: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[tuple[str, str], str | None] = field(default_factory=dict)
    """The texts of files in volumes, by volume and path; None for one that can't be read."""


def references(container: Container) -> tuple[set[str], set[str]]:
    """The names of the config maps and of the secrets that the environment needs."""
    maps: set[str] = set()
    secrets: set[str] = set()
    for source in container.get("envFrom") or ():
        if "configMapRef" in source:
            maps.add(source["configMapRef"].get("name", ""))
        if "secretRef" in source:
            secrets.add(source["secretRef"].get("name", ""))
    for variable in container.get("env") or ():
        value = variable.get("valueFrom") or {}
        if "configMapKeyRef" in value:
            maps.add(value["configMapKeyRef"].get("name", ""))
        if "secretKeyRef" in value:
            secrets.add(value["secretKeyRef"].get("name", ""))
    return maps, secrets


def environment(pod: Object, container: Container, sources: Sources) -> dict[str, str]:
    """The variables in order. Raises ConfigError when a reference that is not optional leads nowhere."""
    services = service_variables(pod, sources.services)
    result: dict[str, str] = {}
    for entry in container.get("envFrom") or ():
        result |= _from_object(entry, sources)
    known: dict[str, str] = dict(result)
    for variable in container.get("env") or ():
        name = variable["name"]
        if variable.get("valueFrom"):
            value = _referenced(pod, container, variable["valueFrom"], sources)
            if value is None:
                continue
        else:
            value = expand(variable.get("value") or "", known, services)
        known[name] = value
        result[name] = value
    return {k: v for k, v in services.items() if k not in result} | result


def _from_object(entry: Mapping[str, Any], sources: Sources) -> dict[str, str]:
    prefix = entry.get("prefix") or ""
    if "configMapRef" in entry:
        reference, kind, found = entry["configMapRef"], "configmap", sources.configmaps
    else:
        reference, kind, found = entry.get("secretRef") or {}, "secret", sources.secrets
    obj = found.get(reference.get("name", ""))
    if obj is None:
        if reference.get("optional"):
            return {}
        raise ConfigError(f'{kind} "{reference.get("name", "")}" not found')
    data = obj.get("data") or {}
    if kind == "secret":
        data = {k: base64.b64decode(v).decode(errors="replace") for k, v in data.items()}
    return {prefix + k: v for k, v in data.items()}


def file_references(container: Container) -> set[tuple[str, str]]:
    """The volumes and paths of the files that the environment needs."""
    found = [(v.get("valueFrom") or {}).get("fileKeyRef") for v in container.get("env") or ()]
    return {(f["volumeName"], f["path"]) for f in found if f}


def _from_file(reference: Mapping[str, Any], sources: Sources) -> str | None:
    volume, path, key = reference["volumeName"], reference["path"], reference["key"]
    if (volume, path) not in sources.files:
        raise ConfigError(f'cannot find the volume "{volume}" referenced by FileKeyRef')
    text = sources.files[volume, path]
    try:
        if text is None:
            raise BadFile(path)
        value = value_in(text, key)
    except BadFile as error:
        raise ConfigError("couldn't parse env file") from error
    if value:
        return value
    if reference.get("optional"):
        return None
    raise ConfigError(f'environment variable key "{key}" not found in file "{path}"')


def _referenced(pod: Object, container: Container, value: Mapping[str, Any], sources: Sources) -> str | None:
    if "fieldRef" in value:
        return pod_field(pod, value["fieldRef"]["fieldPath"], sources)
    if "fileKeyRef" in value:
        return _from_file(value["fileKeyRef"], sources)
    if "resourceFieldRef" in value:
        return resource_field(pod, container, value["resourceFieldRef"], sources.allocatable)
    for kind, found, title in (
        ("configMapKeyRef", sources.configmaps, "ConfigMap"),
        ("secretKeyRef", sources.secrets, "Secret"),
    ):
        if kind not in value:
            continue
        reference = value[kind]
        obj = found.get(reference.get("name", ""))
        if obj is None:
            if reference.get("optional"):
                return None
            raise ConfigError(f'{title.lower()} "{reference.get("name", "")}" not found')
        data = obj.get("data") or {}
        key = reference["key"]
        if key not in data:
            if reference.get("optional"):
                return None
            raise ConfigError(f"couldn't find key {key} in {title} {namespace_of(pod)}/{reference.get('name', '')}")
        return base64.b64decode(data[key]).decode(errors="replace") if title == "Secret" else str(data[key])
    return ""


def pod_field(pod: Object, path: str, sources: Sources) -> str:
    """The value of a downward API field. Raises ConfigError for a path that is not supported."""
    match = re.fullmatch(r"metadata\.(labels|annotations)\['(.*)'\]", path)
    if match:
        return (labels_of(pod) if match[1] == "labels" else annotations_of(pod)).get(match[2], "")
    simple: dict[str, Any] = {
        "metadata.name": lambda: name_of(pod),
        "metadata.namespace": lambda: namespace_of(pod),
        "metadata.uid": lambda: uid_of(pod),
        "metadata.labels": lambda: format_map(labels_of(pod)),
        "metadata.annotations": lambda: format_map(annotations_of(pod)),
        "spec.nodeName": lambda: pod["spec"].get("nodeName") or "",
        "spec.serviceAccountName": lambda: pod["spec"].get("serviceAccountName") or "",
        "status.hostIP": lambda: sources.host_ips[0] if sources.host_ips else "",
        "status.hostIPs": lambda: ",".join(sources.host_ips),
        "status.podIP": lambda: sources.pod_ips[0] if sources.pod_ips else "",
        "status.podIPs": lambda: ",".join(sources.pod_ips),
    }
    if path not in simple:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return str(simple[path]())


def format_map(values: Mapping[str, str]) -> str:
    """Labels or annotations as a downward API file shows them: `key="value"` a line, sorted."""
    lines = []
    for key in sorted(values):
        text = values[key].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
        lines.append(f'{key}="{text}"')
    return "\n".join(lines)


_DEFAULTED = ("cpu", "memory", "ephemeral-storage")


def resource_field(
    pod: Object, container: Container, reference: Mapping[str, Any], allocatable: Mapping[str, str]
) -> str:
    """A container's limit or request in units of the divisor, rounded up; without a limit the node's allocatable."""
    name = reference.get("containerName")
    if name:
        container = find_container(pod, name) or container
    kind, _, resource = reference["resource"].partition(".")
    values = (container.get("resources") or {}).get(kind) or {}
    text = values.get(resource)
    if kind == "limits" and (text is None or quantities.parse(text) == 0) and resource in _DEFAULTED:
        # Without a limit of its own the container may have the pod's, and without one that, the node's.
        whole = ((pod["spec"].get("resources") or {}).get("limits") or {}).get(resource)
        text = whole if whole and quantities.parse(whole) else allocatable.get(resource)
    text = "0" if text is None else text
    divisor = quantities.parse(reference.get("divisor") or "1") or 1
    return str(math.ceil(quantities.parse(text) / divisor))


_REFERENCE = re.compile(r"\$(?:\$|\(([^()]*)\)|)")


def expand(text: str, *scopes: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by the first scope's value of it; `$$` is a dollar sign; unknown names stay as they are."""

    def value(match: re.Match[str]) -> str:
        whole = match[0]
        if whole == "$$":
            return "$"
        if match[1] is None:
            return whole
        return next((s[match[1]] for s in scopes if match[1] in s), whole)

    return _REFERENCE.sub(value, text)


def expand_all(values: Iterable[str] | None, variables: Mapping[str, str]) -> list[str]:
    """A command or its arguments with the container's variables filled in."""
    return [expand(v, variables) for v in values or ()]


def service_variables(pod: Object, services: Iterable[Object]) -> dict[str, str]:
    """The variables of the namespace's services (unless enableServiceLinks is false) and of the API server's."""
    links = pod["spec"].get("enableServiceLinks")
    own = namespace_of(pod)
    chosen: dict[str, Object] = {}
    for service in services:
        address = service["spec"].get("clusterIP")
        if not address or address == "None":
            continue
        name, namespace = name_of(service), namespace_of(service)
        if namespace == own and links is not False:
            chosen[name] = service
        elif (namespace, name) == ("default", "kubernetes"):
            chosen.setdefault(name, service)
    result: dict[str, str] = {}
    for name in sorted(chosen):
        result |= _service(name, chosen[name])
    return result


def _service(name: str, service: Object) -> dict[str, str]:
    prefix = name.upper().replace("-", "_")
    host = service["spec"]["clusterIP"]
    ports = service["spec"].get("ports") or []
    result = {f"{prefix}_SERVICE_HOST": host}
    if ports:
        result[f"{prefix}_SERVICE_PORT"] = str(ports[0]["port"])
    for port in ports:
        if port.get("name"):
            result[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
    shown = f"[{host}]" if ":" in host else host
    for index, port in enumerate(ports):
        protocol = port.get("protocol") or "TCP"
        url = f"{protocol.lower()}://{shown}:{port['port']}"
        if index == 0:
            result[f"{prefix}_PORT"] = url
        stem = f"{prefix}_PORT_{port['port']}_{protocol}"
        result |= {
            stem: url,
            f"{stem}_PROTO": protocol.lower(),
            f"{stem}_PORT": str(port["port"]),
            f"{stem}_ADDR": host,
        }
    return result
