"""Validation of pod specs and templates (`ValidatePodSpec` of `pkg/apis/core/validation`)."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.kinds.affinity_validation import (
    validate_affinity,
    validate_spread,
    validate_tolerations,
)
from kumo.kubernetes.apiserver.kinds.container_validation import Context, validate_containers
from kumo.kubernetes.apiserver.kinds.metadata import validate_annotations, validate_labels
from kumo.kubernetes.apiserver.kinds.resource_validation import validate_resources
from kumo.kubernetes.apiserver.kinds.volume_validation import validate_volumes

RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_SECONDS = "must be between 1 and 2147483647, inclusive"


def validate_pod_spec(path: str, spec: dict[str, Any] | None) -> list[Cause]:
    """What is wrong with a pod spec; `path` is where it stands (`spec`, `spec.template.spec`)."""
    spec = spec or {}
    volumes, found = validate_volumes(f"{path}.volumes", spec.get("volumes") or [])
    found += _containers(path, spec, volumes)
    found += _choices(path, spec)
    found += _names(path, spec)
    found += validate_labels(f"{path}.nodeSelector", spec.get("nodeSelector"))
    found += _security(f"{path}.securityContext", spec.get("securityContext"))
    found += validate_affinity(f"{path}.affinity", spec.get("affinity"))
    if spec.get("tolerations"):
        found += validate_tolerations(f"{path}.tolerations", spec["tolerations"])
    if spec.get("topologySpreadConstraints"):
        found += validate_spread(f"{path}.topologySpreadConstraints", spec["topologySpreadConstraints"])
    found += _lists(path, spec)
    found += _dns(path, spec)
    found += validate_resources(f"{path}.resources", spec.get("resources"))
    return found


def _containers(path: str, spec: dict[str, Any], volumes: dict[str, dict[str, Any]]) -> list[Cause]:
    context = Context(volumes, bool(spec.get("hostNetwork")))
    # A volume that is wrong itself is reported once; mounts of it are not reported again.
    for volume in spec.get("volumes") or ():
        volumes.setdefault(volume.get("name") or "", volume)
    found: list[Cause] = []
    if not spec.get("containers"):
        found.append(fields.required(f"{path}.containers"))
    found += validate_containers(f"{path}.containers", spec.get("containers") or [], context, init=False)
    found += validate_containers(f"{path}.initContainers", spec.get("initContainers") or [], context, init=True)
    found += validate_containers(
        f"{path}.ephemeralContainers", spec.get("ephemeralContainers") or [], context, init=False
    )
    return found


def _choices(path: str, spec: dict[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    policy = spec.get("restartPolicy") or ""
    if not policy:
        found.append(fields.required(f"{path}.restartPolicy"))
    elif policy not in RESTART_POLICIES:
        found.append(fields.unsupported(f"{path}.restartPolicy", policy, RESTART_POLICIES))
    dns = spec.get("dnsPolicy") or ""
    if not dns:
        found.append(fields.required(f"{path}.dnsPolicy"))
    elif dns not in _DNS_POLICIES:
        found.append(fields.unsupported(f"{path}.dnsPolicy", dns, _DNS_POLICIES))
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline < 1 << 31:
        found.append(fields.invalid(f"{path}.activeDeadlineSeconds", deadline, _SECONDS))
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is None:
        found.append(fields.required(f"{path}.terminationGracePeriodSeconds"))
    elif grace < 0:
        detail = "must be greater than or equal to 0"
        found.append(fields.invalid(f"{path}.terminationGracePeriodSeconds", grace, detail))
    preemption = spec.get("preemptionPolicy")
    if preemption is not None and preemption not in ("Never", "PreemptLowerPriority"):
        supported = ("PreemptLowerPriority", "Never")
        found.append(fields.unsupported(f"{path}.preemptionPolicy", preemption, supported))
    system = (spec.get("os") or {}).get("name")
    if spec.get("os") is not None and system not in ("linux", "windows"):
        found.append(
            fields.unsupported(f"{path}.os.name", system, ("linux", "windows"))
            if system
            else fields.required(f"{path}.os.name", "cannot be empty")
        )
    return found


def _names(path: str, spec: dict[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    for key, check in (
        ("serviceAccountName", names.check_subdomain),
        ("nodeName", names.check_subdomain),
        ("hostname", names.check_label),
        ("subdomain", names.check_label),
        ("runtimeClassName", names.check_subdomain),
        ("priorityClassName", names.check_subdomain),
    ):
        value = spec.get(key)
        if value:
            found += fields.each(f"{path}.{key}", value, check(value))
    scheduler = spec.get("schedulerName")
    if scheduler:
        found += fields.each(f"{path}.schedulerName", scheduler, names.check_qualified_name(scheduler))
    return found


def _security(path: str, context: dict[str, Any] | None) -> list[Cause]:
    found: list[Cause] = []
    for key in ("runAsUser", "runAsGroup", "fsGroup"):
        number = (context or {}).get(key)
        if number is not None and not 0 <= number < 1 << 31:
            found.append(fields.invalid(f"{path}.{key}", number, "must be between 0 and 2147483647, inclusive"))
    for index, number in enumerate((context or {}).get("supplementalGroups") or ()):
        if not 0 <= number < 1 << 31:
            here = f"{path}.supplementalGroups[{index}]"
            found.append(fields.invalid(here, number, "must be between 0 and 2147483647, inclusive"))
    return found


def _lists(path: str, spec: dict[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        address = alias.get("ip") or ""
        found += fields.each(f"{path}.hostAliases[{index}].ip", address, names.check_ip(address))
        for name in alias.get("hostnames") or ():
            found += fields.each(f"{path}.hostAliases[{index}].hostnames", name, names.check_subdomain(name))
    for index, gate in enumerate(spec.get("readinessGates") or ()):
        kind = gate.get("conditionType") or ""
        here = f"{path}.readinessGates[{index}].conditionType"
        found += fields.each(here, kind, names.check_qualified_name(kind))
    seen: set[str] = set()
    for index, gate in enumerate(spec.get("schedulingGates") or ()):
        name = gate.get("name") or ""
        here = f"{path}.schedulingGates[{index}]"
        found += fields.each(here, name, names.check_qualified_name(name))
        if name in seen:
            found.append(fields.duplicate(here, name))
        seen.add(name)
    return found


def _dns(path: str, spec: dict[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    config = spec.get("dnsConfig") or {}
    servers, searches = config.get("nameservers") or (), config.get("searches") or ()
    if spec.get("dnsPolicy") == "None" and not servers:
        detail = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        found.append(fields.required(f"{path}.dnsConfig.nameservers", detail))
    if len(servers) > 3:
        found.append(
            fields.invalid(f"{path}.dnsConfig.nameservers", list(servers), "must not have more than 3 nameservers")
        )
    for index, server in enumerate(servers):
        found += fields.each(f"{path}.dnsConfig.nameservers[{index}]", server, names.check_ip(server))
    if len(searches) > 32:
        found.append(
            fields.invalid(f"{path}.dnsConfig.searches", list(searches), "must not have more than 32 search paths")
        )
    for index, search in enumerate(searches):
        name = search.removesuffix(".")
        if name:
            found += fields.each(f"{path}.dnsConfig.searches[{index}]", search, names.check_subdomain(name))
    return found


def validate_template(path: str, template: dict[str, Any] | None) -> list[Cause]:
    """What is wrong with a pod template."""
    meta = (template or {}).get("metadata") or {}
    found = validate_labels(f"{path}.metadata.labels", meta.get("labels"))
    found += validate_annotations(f"{path}.metadata.annotations", meta.get("annotations"))
    spec = (template or {}).get("spec") or {}
    found += validate_pod_spec(f"{path}.spec", spec)
    if spec.get("ephemeralContainers"):
        detail = "ephemeral containers not allowed in pod template"
        found.append(fields.forbidden(f"{path}.spec.ephemeralContainers", detail))
    return found
