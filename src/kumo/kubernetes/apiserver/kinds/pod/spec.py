"""A pod's spec as a whole, in a pod or in a template (`ValidatePodSpec` of `pkg/apis/core/validation`)."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.kinds.metadata import validate_labels
from kumo.kubernetes.apiserver.kinds.pod.containers import (
    Context,
    validate_containers,
    validate_ephemeral_containers,
    validate_init_containers,
)
from kumo.kubernetes.apiserver.kinds.pod.options import TEMPLATE, Options
from kumo.kubernetes.apiserver.kinds.pod.resources import validate_pod_resources, validate_resources
from kumo.kubernetes.apiserver.kinds.pod.scheduling import (
    validate_affinity,
    validate_gates,
    validate_spread,
    validate_tolerations,
)
from kumo.kubernetes.apiserver.kinds.pod.security import validate_pod_security
from kumo.kubernetes.apiserver.kinds.pod.visiting import visit
from kumo.kubernetes.apiserver.kinds.pod.volumes import validate_volumes
from kumo.kubernetes.apiserver.kinds.pod.windows import validate_host_process, validate_os

_RESTARTS = ("Always", "OnFailure", "Never")
_DNS = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_PREEMPTION = ("PreemptLowerPriority", "Never")
_SECONDS = "must be between 1 and 2147483647, inclusive"
_NO_USERS = "when `hostUsers` is false"


def validate_pod_spec(
    path: str, spec: dict[str, Any], meta: dict[str, Any] | None = None, options: Options = TEMPLATE
) -> list[Cause]:
    """What is wrong with a pod spec; `path` is where it stands, `meta` the pod's metadata (None in templates)."""
    found: list[Cause] = []
    get = spec.get
    grace = get("terminationGracePeriodSeconds")
    if grace is None:
        found.append(fields.required(f"{path}.terminationGracePeriodSeconds"))
    claims = frozenset(c["name"] for c in get("resourceClaims") or () if c.get("name"))
    pod_name = ((meta or {}).get("name") or "") if meta else ""
    volumes = validate_volumes(f"{path}.volumes", get("volumes") or (), pod_name, options, found)
    if get("resourceClaims"):
        _resource_claims(f"{path}.resourceClaims", spec["resourceClaims"], meta, found)
    context = Context(volumes, claims, grace, get("restartPolicy") or "", get("hostUsers") is not False)
    containers = get("containers") or ()
    validate_containers(f"{path}.containers", containers, context, found)
    if get("initContainers"):
        validate_init_containers(f"{path}.initContainers", spec["initContainers"], containers, context, found)
    if get("ephemeralContainers"):
        validate_ephemeral_containers(f"{path}.ephemeralContainers", spec["ephemeralContainers"], spec, context, found)
    if get("resources") is not None:
        found += validate_pod_resources(path, spec, claims)
    _policies(path, spec, options, found)
    if get("nodeSelector"):
        found += validate_labels(f"{path}.nodeSelector", spec["nodeSelector"])
    validate_pod_security(path, spec, options, found)
    if get("affinity"):
        validate_affinity(f"{path}.affinity", spec["affinity"], found)
    _dns(f"{path}.dnsConfig", spec, found)
    if get("readinessGates") or get("schedulingGates"):
        validate_gates(path, spec, found)
    if get("topologySpreadConstraints"):
        validate_spread(f"{path}.topologySpreadConstraints", spec["topologySpreadConstraints"], found)
    validate_host_process(path, spec, found)
    if get("hostUsers") is False:
        _own_users(path, spec, found)
    if get("hostnameOverride") is not None:
        _hostname(f"{path}.hostnameOverride", spec, found)
    _rest(path, spec, options, found)
    if get("os") is not None:
        validate_os(path, spec, found)
    _env_files(path, spec, found)
    return found


def _policies(path: str, spec: dict[str, Any], options: Options, found: list[Cause]) -> None:
    if spec.get("hostNetwork"):
        for index, container in enumerate(spec.get("containers") or ()):
            for number, port in enumerate(container.get("ports") or ()):
                host = port.get("hostPort") or 0
                if (options.is_pod or host) and host != (port.get("containerPort") or 0):
                    detail = "must match `containerPort` when `hostNetwork` is true"
                    where = f"{path}.containers[{index}].ports[{number}].hostPort"
                    found.append(fields.invalid(where, host, detail))
    for key, allowed in (("restartPolicy", _RESTARTS), ("dnsPolicy", _DNS)):
        value = spec.get(key)
        if value not in allowed:
            where = f"{path}.{key}"
            found.append(fields.unsupported(where, value, allowed) if value else fields.required(where))


def _resource_claims(path: str, claims: Any, meta: dict[str, Any] | None, found: list[Cause]) -> None:
    taken: set[str] = set()
    for index, claim in enumerate(claims):
        here, name = f"{path}[{index}]", claim.get("name") or ""
        if "kubernetes.io/config.mirror" in ((meta or {}).get("annotations") or ()):
            found.append(fields.forbidden("[]", "static pods do not support resource claims"))
            continue
        if not name:
            found.append(fields.required(f"{here}.name"))
        elif name in taken:
            found.append(fields.duplicate(f"{here}.name", name))
        else:
            found += fields.each(f"{here}.name", name, names.check_label(name))
            taken.add(name)
        direct, template = claim.get("resourceClaimName"), claim.get("resourceClaimTemplateName")
        shown = {"Name": name, "ResourceClaimName": direct, "ResourceClaimTemplateName": template}
        if direct is not None and template is not None:
            detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            found.append(fields.invalid(here, shown, detail))
        if direct is None and template is None:
            detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            found.append(fields.invalid(here, shown, detail))
        for key, value in (("resourceClaimName", direct), ("resourceClaimTemplateName", template)):
            if value is not None:
                found += fields.each(f"{here}.{key}", value, names.check_subdomain(value))


def _dns(path: str, spec: dict[str, Any], found: list[Cause]) -> None:
    config = spec.get("dnsConfig")
    if spec.get("dnsPolicy") == "None":
        if config is None:
            found.append(fields.required(path, "must provide `dnsConfig` when `dnsPolicy` is None"))
            return
        if not config.get("nameservers"):
            detail = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            found.append(fields.required(f"{path}.nameservers", detail))
            return
    if not config:
        return
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    if len(servers) > 3:
        found.append(fields.invalid(f"{path}.nameservers", servers, "must not have more than 3 nameservers"))
    for index, server in enumerate(servers):
        found += fields.each(f"{path}.nameservers[{index}]", server, names.check_ip(server))
    if len(searches) > 32:
        found.append(fields.invalid(f"{path}.searches", searches, "must not have more than 32 search paths"))
    if len(" ".join(searches)) > 2048:
        detail = "must not have more than 2048 characters (including spaces) in the search list"
        found.append(fields.invalid(f"{path}.searches", searches, detail))
    for index, search in enumerate(searches):
        if search != ".":
            name = search.removesuffix(".")
            found += fields.each(f"{path}.searches[{index}]", name, names.check_search_domain(name))
    for index, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            found.append(fields.required(f"{path}.options[{index}]", "must not be empty"))


def _own_users(path: str, spec: dict[str, Any], found: list[Cause]) -> None:
    for key, name in (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")):
        if spec.get(key):
            found.append(fields.forbidden(f"{path}.{name}", _NO_USERS))
    for container, here in visit(spec, path):
        if container.get("volumeDevices"):
            found.append(fields.forbidden(f"{here}.volumeDevices", _NO_USERS))


def _hostname(path: str, spec: dict[str, Any], found: list[Cause]) -> None:
    name = spec["hostnameOverride"]
    if spec.get("setHostnameAsFQDN"):
        found.append(fields.forbidden(path, "may not be specified when setHostnameAsFQDN is true"))
    if spec.get("hostNetwork"):
        found.append(fields.forbidden(path, "may not be specified when hostNetwork is true"))
    if len(name) > 64:
        found.append(fields.too_long(path, 64))
    found += fields.each(path, name, names.check_subdomain(name))


def _rest(path: str, spec: dict[str, Any], options: Options, found: list[Cause]) -> None:
    get = spec.get
    for key in ("serviceAccountName", "nodeName"):
        if get(key) and (wrong := names.check_subdomain(spec[key])):
            found += fields.each(f"{path}.{key}", spec[key], wrong)
    deadline = get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline < 1 << 31:
        found.append(fields.invalid(f"{path}.activeDeadlineSeconds", deadline, _SECONDS))
    for key in ("hostname", "subdomain"):
        if get(key):
            found += fields.each(f"{path}.{key}", spec[key], names.check_label(spec[key]))
    if get("tolerations"):
        validate_tolerations(f"{path}.tolerations", spec["tolerations"], options, found)
    for index, alias in enumerate(get("hostAliases") or ()):
        here, address = f"{path}.hostAliases[{index}]", alias.get("ip") or ""
        found += fields.each(f"{here}.ip", address, names.check_ip(address))
        for number, name in enumerate(alias.get("hostnames") or ()):
            found += fields.each(f"{here}.hostnames[{number}]", name, names.check_subdomain(name))
    if get("priorityClassName"):
        name = spec["priorityClassName"]
        found += fields.each(f"{path}.priorityClassName", name, names.check_subdomain(name))
    if get("runtimeClassName") is not None:
        name = spec["runtimeClassName"]
        found += fields.each(f"{path}.runtimeClassName", name, names.check_subdomain(name))
    preemption = get("preemptionPolicy")
    if preemption is not None and preemption not in _PREEMPTION:
        where = f"{path}.preemptionPolicy"
        found.append(fields.unsupported(where, preemption, _PREEMPTION) if preemption else fields.required(where))
    if get("overhead"):
        found += validate_resources(f"{path}.overhead", {"limits": spec["overhead"]}, frozenset())


def _env_files(path: str, spec: dict[str, Any], found: list[Cause]) -> None:
    volumes: dict[str, Any] | None = None
    for container, here in visit(spec, path):
        for index, variable in enumerate(container.get("env") or ()):
            source = variable.get("valueFrom")
            reference = source.get("fileKeyRef") if source else None
            if reference is None:
                continue
            if volumes is None:
                volumes = {v.get("name") or "": v for v in spec.get("volumes") or ()}
            name = reference.get("volumeName") or ""
            where = f"{here}.env[{index}].valueFrom.fileKeyRef.volumeName"
            if name not in volumes:
                found.append(fields.not_found(where, name))
            elif volumes[name].get("emptyDir") is None:
                found.append(fields.invalid(where, name, "referenced volume must be of type emptyDir"))
