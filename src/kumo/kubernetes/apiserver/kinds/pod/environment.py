"""Environment variables of containers, and the references to fields, resources, keys and files that they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.kinds.pod.paths import no_backsteps

ENV_FIELDS = (
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
VOLUME_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_KNOWN_FIELDS = frozenset(
    (*ENV_FIELDS, *VOLUME_FIELDS, "spec.host", "spec.restartPolicy", "spec.schedulerName", "status.phase")
)
_RESOURCES = (
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
)
_HUGE = ("requests.hugepages-", "limits.hugepages-")
_BYTES = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")


def validate_env(path: str, variables: Any, found: list[Cause]) -> None:
    """What is wrong with environment variables."""
    for index, variable in enumerate(variables):
        name = variable.get("name") or ""
        if not name:
            found.append(fields.required(f"{path}[{index}].name"))
        else:
            wrong = names.check_env_name(name)
            if wrong:
                found += fields.each(f"{path}[{index}].name", name, wrong)
        source = variable.get("valueFrom")
        if source is not None:
            _value_from(f"{path}[{index}].valueFrom", variable, source, found)


def _value_from(path: str, variable: dict[str, Any], source: dict[str, Any], found: list[Cause]) -> None:
    kinds = [kind for kind in _SOURCES if source.get(kind) is not None]
    for kind in kinds:
        below, reference = f"{path}.{kind}", source[kind]
        if kind == "fieldRef":
            found += validate_field_ref(below, reference, ENV_FIELDS)
        elif kind == "resourceFieldRef":
            found += validate_resource_ref(below, reference, container_needed=False)
        elif kind == "fileKeyRef":
            found += _file_key(below, reference)
        else:
            name = reference.get("name") or ""
            found += fields.each(f"{below}.name", name, names.check_subdomain(name))
            found += _key(below, reference)
    if not kinds:
        detail = (
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        )
        found.append(fields.invalid(path, "", detail))
    elif variable.get("value"):
        found.append(fields.invalid(path, "", "may not be specified when `value` is not empty"))
    elif len(kinds) > 1:
        found.append(fields.invalid(path, "", "may not have more than one field specified at a time"))


def _key(path: str, reference: dict[str, Any]) -> list[Cause]:
    key = reference.get("key") or ""
    if not key:
        return [fields.required(f"{path}.key")]
    return fields.each(f"{path}.key", key, names.check_config_key(key))


def _file_key(path: str, reference: dict[str, Any]) -> list[Cause]:
    key, volume, where = (reference.get(k) or "" for k in ("key", "volumeName", "path"))
    found = fields.each(f"{path}.key", key, names.check_env_name(key)) if key else [fields.required(f"{path}.key")]
    if not volume:
        found.append(fields.required(f"{path}.volumeName"))
    else:
        found += fields.each(f"{path}.volumeName", volume, names.check_label(volume))
    return found + (no_backsteps(f"{path}.path", where) if where else [fields.required(f"{path}.path")])


def validate_field_ref(path: str, reference: dict[str, Any], allowed: Sequence[str]) -> list[Cause]:
    """A reference to a field of the pod itself."""
    version, target = reference.get("apiVersion") or "", reference.get("fieldPath") or ""
    if not version:
        return [fields.required(f"{path}.apiVersion")]
    if not target:
        return [fields.required(f"{path}.fieldPath")]
    wrong = ""
    base, key = _subscripted(target)
    if version != "v1":
        wrong = f"unsupported pod version: {version}"
    elif key is not None and base not in ("metadata.annotations", "metadata.labels"):
        wrong = f"field label does not support subscript: {target}"
    elif key is None and target not in _KNOWN_FIELDS:
        wrong = f"field label not supported: {target}"
    if wrong:
        return [fields.invalid(f"{path}.fieldPath", target, f"error converting fieldPath: {wrong}")]
    if key is not None:
        key = key.lower() if base == "metadata.annotations" else key
        return fields.each(path, key, names.check_qualified_name(key))
    target = "spec.nodeName" if target == "spec.host" else target
    return [] if target in allowed else [fields.unsupported(f"{path}.fieldPath", target, allowed)]


def _subscripted(path: str) -> tuple[str, str | None]:
    """`metadata.labels['a']` as its path and key; without a key, None for it."""
    if not path.endswith("']"):
        return path, None
    base, bracket, key = path[:-2].partition("['")
    return (base, key) if bracket and base else (path, None)


def validate_resource_ref(path: str, reference: dict[str, Any], *, container_needed: bool) -> list[Cause]:
    """A reference to a container's limit or request."""
    found: list[Cause] = []
    resource = reference.get("resource") or ""
    if container_needed and not reference.get("containerName"):
        found.append(fields.required(f"{path}.containerName"))
    elif not resource:
        found.append(fields.required(f"{path}.resource"))
    elif resource not in _RESOURCES and not resource.startswith(_HUGE):
        found.append(fields.unsupported(f"{path}.resource", resource, _RESOURCES))
    divisor = str(reference.get("divisor") or "0")
    if divisor == "0":
        return found
    if resource in ("limits.cpu", "requests.cpu"):
        if divisor not in ("1m", "1"):
            detail = "only divisor's values 1m and 1 are supported with the cpu resource"
            found.append(fields.invalid(f"{path}.divisor", resource, detail))
        return found
    kind = {"memory": "memory", "ephemeral-storage": "local ephemeral storage"}.get(resource.partition(".")[2])
    if resource.startswith(_HUGE):
        kind = "hugepages"
    if kind and divisor not in _BYTES:
        detail = f"only divisor's values {', '.join(_BYTES)} are supported with the {kind} resource"
        found.append(fields.invalid(f"{path}.divisor", resource, detail))
    return found


def validate_env_from(path: str, sources: Any, found: list[Cause]) -> None:
    """What is wrong with `envFrom`."""
    for index, source in enumerate(sources):
        here = f"{path}[{index}]"
        prefix = source.get("prefix")
        if prefix:
            found += fields.each(f"{here}.prefix", prefix, names.check_env_name(prefix))
        kinds = [k for k in ("configMapRef", "secretRef") if source.get(k) is not None]
        for kind in kinds:
            name = source[kind].get("name") or ""
            if not name:
                found.append(fields.required(f"{here}.{kind}.name"))
            else:
                found += fields.each(f"{here}.{kind}.name", name, names.check_subdomain(name))
        if not kinds:
            found.append(fields.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(kinds) > 1:
            found.append(fields.invalid(path, "", "may not have more than one field specified at a time"))
