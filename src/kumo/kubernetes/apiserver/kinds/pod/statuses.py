"""What a write of a pod's status may say."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.kubernetes.apiserver.kinds.pod.options import options_for
from kumo.kubernetes.apiserver.kinds.pod.template import validate_pod_annotations
from kumo.kubernetes.apiserver.kinds.pod.updates import check_annotations

_CONTAINERS = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
_HEALTH = ("Healthy", "Unhealthy", "Unknown")
_SYSTEM_CONDITIONS = ("PodScheduled", "Ready", "Initialized")
_RANGE = "must be between 0 and 2147483647, inclusive"
_STAY = "may not be transitioned to non-terminated state"
_FAMILIES = "may specify no more than one IP for each IP family"


def prepare_status(new: Object, old: Object) -> None:
    """Keep what a status write leaves unsaid: the class of service, and which generation was seen."""
    new.setdefault("metadata", {}).pop("ownerReferences", None)  # Which belong to controllers, not to nodes.
    if owners := (old.get("metadata") or {}).get("ownerReferences"):
        new["metadata"]["ownerReferences"] = owners
    fresh, stale = new.setdefault("status", {}), old.get("status") or {}
    if not fresh.get("qosClass") and stale.get("qosClass"):
        fresh["qosClass"] = stale["qosClass"]
    if not fresh.get("observedGeneration") and stale.get("observedGeneration"):
        fresh["observedGeneration"] = stale["observedGeneration"]
    if not stale.get("nodeAllocatableResourceClaimStatuses"):
        fresh.pop("nodeAllocatableResourceClaimStatuses", None)  # Of a feature that is off.
    before: dict[str, list[int]] = {}
    for condition in stale.get("conditions") or ():
        before.setdefault(condition.get("type") or "", []).append(condition.get("observedGeneration") or 0)
    for condition in fresh.get("conditions") or ():
        seen = before.get(condition.get("type") or "")
        generation = seen.pop(0) if seen else 0
        if not condition.get("observedGeneration") and generation:
            condition["observedGeneration"] = generation


def validate_status(new: Object, old: Object) -> list[Cause]:
    """What is wrong with a pod's new status."""
    fresh, stale = new.get("status") or {}, old.get("status") or {}
    spec: dict[str, Any] = old.get("spec") or {}
    found = check_annotations(new, old)
    annotations = (new.get("metadata") or {}).get("annotations")
    if annotations:
        found += validate_pod_annotations("metadata.annotations", annotations, spec, options_for(spec, is_pod=True))
    for index, condition in enumerate(fresh.get("conditions") or ()):
        kind, generation = condition.get("type") or "", condition.get("observedGeneration") or 0
        if generation < 0:
            path = f"status.conditions[{index}].observedGeneration"
            found.append(fields.invalid(path, generation, "must be a non-negative integer"))
        if kind not in _SYSTEM_CONDITIONS:
            found += fields.each(f"status.conditions[{index}].Type", kind, names.check_qualified_name(kind))
    nominated = fresh.get("nominatedNodeName") or ""
    if nominated and nominated != (stale.get("nominatedNodeName") or ""):
        found += fields.each("status.nominatedNodeName", nominated, names.check_subdomain(nominated))
        if spec.get("nodeName"):
            text = "may not be set on pods that are already bound to a node"
            found.append(fields.forbidden("status.nominatedNodeName", text))
    if (fresh.get("observedGeneration") or 0) < 0:
        text = "must be a non-negative integer"
        found.append(fields.invalid("status.observedGeneration", fresh["observedGeneration"], text))
    if (fresh.get("qosClass") or "") != (stale.get("qosClass") or ""):
        found.append(fields.immutable("status.qosClass", fresh.get("qosClass") or ""))
    for key in _CONTAINERS:
        _transitions(key, fresh, stale, spec, found)
    _claim_statuses(fresh, spec, found)
    _extended_claim(fresh.get("extendedResourceClaimStatus"), spec, found)
    _addresses(fresh, stale, found)
    for key in _CONTAINERS:
        _users(f"status.{key}", fresh.get(key) or (), spec, found)
    _resources("status.containerStatuses", fresh.get("containerStatuses"), spec.get("containers"), found)
    _resources("status.initContainerStatuses", fresh.get("initContainerStatuses"), spec.get("initContainers"), found)
    for index, container in enumerate(fresh.get("ephemeralContainerStatuses") or ()):
        if container.get("allocatedResourcesStatus"):
            path = f"status.ephemeralContainerStatuses[{index}].allocatedResourcesStatus"
            found.append(fields.forbidden(path, "must not be specified in container status"))
    return found


def _transitions(
    key: str, fresh: dict[str, Any], stale: dict[str, Any], spec: dict[str, Any], found: list[Cause]
) -> None:
    """A container that ended for good stays ended."""
    kind = {"containerStatuses": "containers", "initContainerStatuses": "initContainers"}.get(key)
    if kind is not None and _all_may_restart(spec):
        return
    now = {c.get("name"): c for c in reversed(fresh.get(key) or ())}
    for index, status in enumerate(stale.get(key) or ()):
        ended = (status.get("state") or {}).get("terminated")
        other = now.get(status.get("name"))
        if ended is None or other is None or (other.get("state") or {}).get("terminated") is not None:
            continue
        container = next((c for c in spec.get(kind or "") or () if c.get("name") == status.get("name")), None)
        if container is None or not _restarts(container, spec, ended.get("exitCode") or 0):
            found.append(fields.forbidden(f"status.{key}[{index}].state", _STAY))


def _all_may_restart(spec: dict[str, Any]) -> bool:
    return any(
        rule.get("action") == "RestartAllContainers"
        for key in ("containers", "initContainers")
        for container in spec.get(key) or ()
        for rule in container.get("restartPolicyRules") or ()
    )


def _restarts(container: dict[str, Any], spec: dict[str, Any], code: int) -> bool:
    rules = container.get("restartPolicyRules") or () if container.get("restartPolicy") is not None else ()
    for rule in rules:
        codes = rule.get("exitCodes") or {}
        if (code in (codes.get("values") or ())) == (codes.get("operator") == "In"):
            return True
    policy = container.get("restartPolicy") or spec.get("restartPolicy")
    return policy == "Always" or (policy == "OnFailure" and code != 0)


def _claim_statuses(status: dict[str, Any], spec: dict[str, Any], found: list[Cause]) -> None:
    known = {claim.get("name") for claim in spec.get("resourceClaims") or ()}
    taken: set[str] = set()
    for index, item in enumerate(status.get("resourceClaimStatuses") or ()):
        path, name, claim = (
            f"status.resourceClaimStatuses[{index}]",
            item.get("name") or "",
            item.get("resourceClaimName"),
        )
        if name not in known:
            text = "must match the name of an entry in `spec.resourceClaims`"
            found.append(fields.invalid(f"{path}.name", name, text))
        if name in taken:
            found.append(fields.duplicate(f"{path}.name", name))
        taken.add(name)
        if claim is not None:
            found += fields.each(f"{path}.resourceClaimName", claim, names.check_subdomain(claim))


def _extended_claim(claim: dict[str, Any] | None, spec: dict[str, Any], found: list[Cause]) -> None:
    """The claim that stands for extended resources which containers ask for."""
    if claim is None:
        return
    path, taken = "status.extendedResourceClaimStatus", set[tuple[str, str, str]]()
    asked = {
        container.get("name"): (container.get("resources") or {}).get("requests") or {}
        for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
    }
    mappings = claim.get("requestMappings") or ()
    if not mappings:
        found.append(fields.required(f"{path}.requestMappings", "at least one request mapping is required"))
    for index, mapping in enumerate(mappings):
        here = f"{path}.requestMappings[{index}]"
        key = tuple(mapping.get(k) or "" for k in ("containerName", "resourceName", "requestName"))
        container, resource, request = key
        if container not in asked:
            text = "must match the name of an entry in spec.initContainers.name or spec.containers.name"
            found.append(fields.invalid(f"{here}.containerName", container, text))
        elif resource not in asked[container]:
            text = (
                "must match the extended resource name of an entry in spec.initContainers.resources.requests or "
                "spec.containers.resources.requests"
            )
            found.append(fields.invalid(f"{here}.resourceName", resource, text))
        found += fields.each(f"{path}.requestName", request, names.check_label(request))
        if key in taken:
            found += [
                fields.duplicate(f"{here}.{k}", mapping.get(k) or "")
                for k in ("containerName", "resourceName", "requestName")
            ]
        taken.add((container, resource, request))
    name = claim.get("resourceClaimName") or ""
    if not name:
        found.append(fields.required(f"{path}.resourceClaimName"))
    else:
        found += fields.each(f"{path}.resourceClaimName", name, names.check_subdomain(name))


def _addresses(fresh: dict[str, Any], stale: dict[str, Any], found: list[Cause]) -> None:
    hosts = fresh.get("hostIPs") or ()
    _families("status.podIPs", fresh.get("podIPs") or (), stale.get("podIPs") or (), found)
    if hosts and (fresh.get("hostIP") or "") != (hosts[0].get("ip") or ""):
        found.append(fields.invalid("status.hostIPs[0].ip", hosts[0].get("ip") or "", "must be equal to `hostIP`"))
    _families("status.hostIPs", hosts, stale.get("hostIPs") or (), found)


def _families(path: str, items: Any, before: Any, found: list[Cause]) -> None:
    known = {item.get("ip") for item in before}
    texts = [item.get("ip") or "" for item in items]
    for index, text in enumerate(texts):
        if text not in known:
            found += fields.each(f"{path}[{index}]", text, names.check_ip(text))
    if len(texts) > 1:
        versions = [address.version for address in _parsed(texts)]
        if len(versions) < len(texts):
            bad = next(text for text in texts if names.sloppy_ip(text) is None)
            text = f"failed to check for dual stack with error:invalid IP: {bad}"
            found.append(Cause(path, f"Internal error: {text}", "InternalError"))
        if set(versions) != {4, 6} or len(texts) > 2:
            found.append(fields.invalid(path, [{"IP": text} for text in texts], _FAMILIES))


def _parsed(texts: Iterable[str]) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    return [address for address in map(names.sloppy_ip, texts) if address is not None]


def _users(path: str, statuses: Any, spec: dict[str, Any], found: list[Cause]) -> None:
    for index, status in enumerate(statuses):
        user = (status.get("user") or {}).get("linux")
        if user is None:
            continue
        here = f"{path}[{index}].user.linux"
        if (spec.get("os") or {}).get("name") == "windows":
            found.append(fields.forbidden(here, "cannot be set for a windows pod"))
            continue
        numbers = [("uid", user.get("uid") or 0), ("gid", user.get("gid") or 0)]
        numbers += [(f"supplementalGroups[{i}]", n) for i, n in enumerate(user.get("supplementalGroups") or ())]
        for key, number in numbers:
            if not 0 <= number < 1 << 31:
                found.append(fields.invalid(f"{here}.{key}", number, _RANGE))


def _resources(path: str, statuses: Any, containers: Any, found: list[Cause]) -> None:
    known = {container.get("name"): container.get("resources") or {} for container in containers or ()}
    for index, status in enumerate(statuses or ()):
        for number, item in enumerate(status.get("allocatedResourcesStatus") or ()):
            here, name = f"{path}[{index}].allocatedResourcesStatus[{number}]", item.get("name") or ""
            resources = known.get(status.get("name"))
            if resources is not None:
                _matches(here, name, resources, found)
            taken: set[str] = set()
            for place, device in enumerate(item.get("resources") or ()):
                health, key = device.get("health") or "", device.get("resourceID") or ""
                if health not in _HEALTH:
                    found.append(fields.unsupported(f"{here}.resources[{place}].health", health, _HEALTH))
                message = device.get("message")
                if message == "":
                    text = "must be non-empty if specified"
                    found.append(fields.required(f"{here}.resources[{place}].message", text))
                if key in taken:
                    found.append(fields.duplicate(f"{here}.resources[{place}].resourceID", key))
                taken.add(key)


def _matches(path: str, name: str, resources: dict[str, Any], found: list[Cause]) -> None:
    if name.startswith("claim:"):
        claims = {
            f"claim:{c.get('name')}" + (f"/{c['request']}" if c.get("request") else "")
            for c in resources.get("claims") or ()
        }
        if name not in claims:
            text = (
                "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or "
                "'claim:<claimName>' if request is empty"
            )
            found.append(fields.invalid(f"{path}.name", name, text))
    elif name not in (resources.get("requests") or {}):
        found.append(fields.invalid(f"{path}.name", name, "must match one of the container's resource requests"))
