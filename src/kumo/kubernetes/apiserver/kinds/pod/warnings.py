"""What the writer of a pod or a template is told though it is good: what is deprecated, hidden, or matches nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kumo.api import names, quantities
from kumo.api.objects import Object
from kumo.kubernetes.apiserver.kinds.node_labels import node_label_warning, term_warnings
from kumo.kubernetes.apiserver.kinds.pod.known_specs import KnownSpecs
from kumo.kubernetes.apiserver.kinds.pod.security import APPARMOR_CONTAINER, SECCOMP_CONTAINER, SECCOMP_POD
from kumo.kubernetes.apiserver.kinds.pod.visiting import visit
from kumo.kubernetes.apiserver.kinds.pod.volume_warnings import overlap_warnings, volume_warnings

_SYSCTLS = 'non-functional in v1.11+; use the "sysctls" field instead'
_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": (
        'non-functional in v1.16+; use the "priorityClassName" field instead'
    ),
    "security.alpha.kubernetes.io/sysctls": _SYSCTLS,
    "security.alpha.kubernetes.io/unsafe-sysctls": _SYSCTLS,
}
_PROFILES = (SECCOMP_POD, SECCOMP_CONTAINER, APPARMOR_CONTAINER)
"""What the annotations begin with that count beside the spec."""
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_NULL_SELECTOR = "a null labelSelector results in matching no pod"
_SECCOMP = 'non-functional in v1.27+; use the "seccompProfile" field instead'
_APPARMOR = 'deprecated since v1.30; use the "appArmorProfile" field instead'


def warn_of_pod(new: Object, old: Object | None, known: KnownSpecs | None = None) -> list[str]:
    """Of a new pod; updates are silent. Specs that are `known` need no second look."""
    if old is not None:
        return []
    name = (new.get("metadata") or {}).get("name") or ""
    found = []
    if wrong := names.check_label(name):
        text = "this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended"
        found.append(f"metadata.name: {text}: [{' '.join(wrong)}]")
    annotations = (new.get("metadata") or {}).get("annotations") or ()
    if known is None or any(key in _ANNOTATIONS or key.startswith(_PROFILES) for key in annotations):
        return found + list(_warnings("", new))
    spec = new.get("spec") or {}
    said = [] if known.is_silent(spec) else list(_warnings("", new))
    if not said:
        known.add_silent(spec)
    return found + said


def warn_of_template(path: str, template: dict[str, Any] | None) -> list[str]:
    """Of a template that stands at `path`."""
    return list(_warnings(f"{path}.", template)) if template else []


def warn_of_status(new: Object, old: Object) -> list[str]:
    """Of the addresses in a pod's status."""
    status, found = new.get("status") or {}, []
    for key in ("podIPs", "hostIPs"):
        for index, item in enumerate(status.get(key) or ()):
            if text := names.ip_warning(item.get("ip") or ""):
                found.append(f"status.{key}[{index}].ip: {text}")
    return found


def _warnings(at: str, template: dict[str, Any]) -> Iterator[str]:
    spec, annotations = template.get("spec") or {}, (template.get("metadata") or {}).get("annotations") or {}
    path = f"{at}spec"
    if spec.get("nodeSelector"):
        for key in sorted(spec["nodeSelector"]):
            if text := node_label_warning(key):
                yield f"{path}.nodeSelector[{key}]: {text}"
    affinity = spec.get("affinity")
    if affinity:
        yield from _node_affinity(f"{path}.affinity.nodeAffinity", affinity.get("nodeAffinity") or {})
    for index, item in enumerate(spec.get("topologySpreadConstraints") or ()):
        here, key = f"{path}.topologySpreadConstraints[{index}]", item.get("topologyKey") or ""
        if text := node_label_warning(key):
            yield f"{here}.topologyKey: {key} is {text}"
        if item.get("labelSelector") is None:
            yield f"{here}.labelSelector: {_NULL_SELECTOR}"
    for key, text in _ANNOTATIONS.items():
        if key in annotations:
            yield f"{at}metadata.annotations[{key}]: {text}"
    if spec.get("volumes"):
        yield from volume_warnings(f"{path}.volumes", spec["volumes"])
        yield from overlap_warnings(spec["volumes"])
    yield from _lists(path, spec)
    yield from _amounts(f"{path}.overhead", spec.get("overhead"))
    if SECCOMP_POD in annotations and (spec.get("securityContext") or {}).get("seccompProfile") is None:
        yield f"{at}metadata.annotations[{SECCOMP_POD}]: {_SECCOMP}"
    for container, here in visit(spec, path):
        yield from _container(at, here, container, annotations, spec)
    yield from _ports(path, spec)
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        text = "must be >= 0; negative values are invalid and will be treated as 1"
        yield f"{path}.terminationGracePeriodSeconds: {text}"
    if affinity:
        yield from _pod_affinity(f"{path}.affinity", affinity)
    yield from _addresses(path, spec)


def _node_affinity(path: str, affinity: dict[str, Any]) -> Iterator[str]:
    for index, term in enumerate((affinity.get(_REQUIRED) or {}).get("nodeSelectorTerms") or ()):
        yield from term_warnings(f"{path}.{_REQUIRED}.nodeSelectorTerms[{index}]", term, weighted=False)
    for index, item in enumerate(affinity.get(_PREFERRED) or ()):
        yield from term_warnings(
            f"{path}.{_PREFERRED}[{index}].preference", item.get("preference") or {}, weighted=True
        )


def _lists(path: str, spec: dict[str, Any]) -> Iterator[str]:
    for key, field, what in (("hostAliases", "ip", "duplicate ip"), ("imagePullSecrets", "name", "duplicate name")):
        seen: set[str] = set()
        for index, item in enumerate(spec.get(key) or ()):
            value = item.get(field) or ""
            if value in seen:
                yield f'{path}.{key}[{index}].{field}: {what} "{value}"'
            seen.add(value)
    for index, item in enumerate(spec.get("imagePullSecrets") or ()):
        if not item.get("name"):
            yield f'{path}.imagePullSecrets[{index}].name: invalid empty name ""'


def _amounts(path: str, amounts: dict[str, Any] | None) -> Iterator[str]:
    for name in ("memory", "ephemeral-storage"):
        text = (amounts or {}).get(name)
        if text is not None and quantities.milli(text) % 1000:
            yield f'{path}[{name}]: fractional byte value "{text}" is invalid, must be an integer'


def _container(
    at: str, path: str, container: dict[str, Any], annotations: dict[str, str], spec: dict[str, Any]
) -> Iterator[str]:
    context, name = container.get("securityContext") or {}, container.get("name") or ""
    if annotations:
        key = SECCOMP_CONTAINER + name
        if key in annotations and context.get("seccompProfile") is None:
            yield f"{at}metadata.annotations[{key}]: {_SECCOMP}"
        key = APPARMOR_CONTAINER + name
        if key in annotations and context.get("appArmorProfile") is None:
            whole = (spec.get("securityContext") or {}).get("appArmorProfile")
            field = apparmor_field(annotations[key])
            if (field != whole or whole is None) if at else field is None:
                yield f"{at}metadata.annotations[{key}]: {_APPARMOR}"
    resources = container.get("resources")
    if resources:
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        for kind in ("memory", "ephemeral-storage"):
            for side, amounts in (("limits", limits), ("requests", requests)):
                if kind in amounts:
                    yield from _amounts(f"{path}.resources.{side}", {kind: amounts[kind]})
    variables = container.get("env") or ()
    if len({variable.get("name") or "" for variable in variables}) == len(variables):
        return
    seen: set[str] = set()
    for index, variable in enumerate(variables):
        name = variable.get("name") or ""
        if name in seen:
            value, reference = variable.get("value") or "", f"$({name})"
            if variable.get("valueFrom") is not None or value == reference or reference not in value:
                text = f'hides previous definition of "{name}", which may be dropped when using apply'
                yield f"{path}.env[{index}]: {text}"
        seen.add(name)


def apparmor_field(annotation: str) -> dict[str, Any] | None:
    """The profile that an annotation stands for; None for a bad one."""
    if annotation == "unconfined":
        return {"type": "Unconfined"}
    if annotation == "runtime/default":
        return {"type": "RuntimeDefault"}
    local = annotation.removeprefix("localhost/")
    if local != annotation and local and local == local.strip():
        return {"type": "Localhost", "localhostProfile": local}
    return None


def _ports(path: str, spec: dict[str, Any]) -> Iterator[str]:
    taken: dict[tuple[Any, Any], list[tuple[str, dict[str, Any]]]] = {}
    named: dict[str, str] = {}
    told: list[str] = []
    for container, below in visit(spec, path):
        for index, port in enumerate(container.get("ports") or ()):
            here, host, address = f"{below}.ports[{index}]", port.get("hostPort") or 0, port.get("hostIP") or ""
            if address and not host:
                yield f"{here}: hostIP set without hostPort: {_struct(port)}"
            others = taken.setdefault((port.get("containerPort") or 0, port.get("protocol")), [])
            for where, other in others:
                theirs, their_address = other.get("hostPort") or 0, other.get("hostIP") or ""
                if address == their_address and host == theirs:
                    yield f"{here}: duplicate port definition with {where}"
                elif not host or not theirs:
                    yield f"{here}: overlapping port definition with {where}"
                elif host == theirs and (not address) != (not their_address):
                    yield f"{here}: dangerously ambiguous port definition with {where}"
            others.append((here, port))
            name = port.get("name")
            if name in named:
                first = named[name]
                text = f"services and probes that select ports by name will use {first}"
                told.append(f'{here}: duplicate port name "{name}" with {first}, {text}')
            elif name:
                named[name] = here
    yield from told


def _struct(port: dict[str, Any]) -> str:
    keys = ("Name", "HostPort", "ContainerPort", "Protocol", "HostIP")
    values = (port.get(key[0].lower() + key[1:]) for key in keys)
    zeros = ("", 0, 0, "", "")
    return "{" + " ".join(f"{k}:{z if v is None else v}" for k, v, z in zip(keys, values, zeros)) + "}"


def _pod_affinity(path: str, affinity: dict[str, Any]) -> Iterator[str]:
    for kind in ("podAffinity", "podAntiAffinity"):
        terms = affinity.get(kind) or {}
        for index, term in enumerate(terms.get(_REQUIRED) or ()):
            if term.get("labelSelector") is None:
                yield f"{path}.{kind}.{_REQUIRED}[{index}].labelSelector: {_NULL_SELECTOR}"
        for index, item in enumerate(terms.get(_PREFERRED) or ()):
            if (item.get("podAffinityTerm") or {}).get("labelSelector") is None:
                yield f"{path}.{kind}.{_PREFERRED}[{index}].podAffinityTerm.labelSelector: {_NULL_SELECTOR}"


def _addresses(path: str, spec: dict[str, Any]) -> Iterator[str]:
    for index, server in enumerate((spec.get("dnsConfig") or {}).get("nameservers") or ()):
        if text := names.ip_warning(server):
            yield f"{path}.dnsConfig.nameservers[{index}]: {text}"
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        if text := names.ip_warning(alias.get("ip") or ""):
            yield f"{path}.hostAliases[{index}].ip: {text}"
