"""Requests and limits of containers and of whole pods."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any

from kumo.api import fields, names, quantities
from kumo.api.errors import Cause
from kumo.api.pod_resources import needed
from kumo.kubernetes.apiserver.kinds.pod.visiting import visit

_CONTAINER = frozenset(("cpu", "memory", "ephemeral-storage"))
STANDARD = _CONTAINER | frozenset(
    (
        "requests.cpu",
        "requests.memory",
        "requests.ephemeral-storage",
        "limits.cpu",
        "limits.memory",
        "limits.ephemeral-storage",
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "storage",
        "requests.storage",
        "services.nodeports",
        "services.loadbalancers",
    )
)
_WHOLE = frozenset(
    (
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    )
)
_HUGE = "hugepages-"
_POD_LEVEL = ("cpu", "memory")
_FIXED = "Limit must be set for non overcommitable resources"
NameCheck = Callable[[str, str], list[Cause]]


def is_standard(name: str) -> bool:
    """Whether Kubernetes itself knows the resource (of containers, or in a quota)."""
    return name in STANDARD or name.startswith(("hugepages-", "requests.hugepages-"))


def is_native(name: str) -> bool:
    """Whether the resource has no prefix, or Kubernetes' own."""
    return "/" not in name or "kubernetes.io/" in name


def is_extended(name: str) -> bool:
    """Whether the resource is a device that somebody offers on nodes."""
    if is_native(name) or name.startswith("requests."):
        return False
    return not names.check_qualified_name(f"requests.{name}")


def check_resource_name(path: str, name: str) -> list[Cause]:
    """Any resource: a standard one, or a fully qualified name."""
    found = fields.each(path, name, names.check_qualified_name(name))
    if not found and "/" not in name and not is_standard(name):
        found.append(fields.invalid(path, name, "must be a standard resource type or fully qualified"))
    return found


def check_container_resource(path: str, name: str) -> list[Cause]:
    """A resource that a container may ask for."""
    if name in _CONTAINER:
        return []
    found = check_resource_name(path, name)
    if "/" not in name:
        if not name.startswith(_HUGE):
            found.append(fields.invalid(path, name, "must be a standard resource for containers"))
    elif not is_native(name) and not is_extended(name):
        found.append(fields.invalid(path, name, "doesn't follow extended resource name standard"))
    return found


def _check_pod_resource(path: str, name: str) -> list[Cause]:
    found = check_resource_name(path, name)
    if not found and name not in _POD_LEVEL and not name.startswith(_HUGE):
        found.append(fields.unsupported(path, name, ("cpu", _HUGE, "memory")))
    return found


def check_quantity(path: str, name: str, quantity: Any) -> list[Cause]:
    """An amount of a resource: not negative, whole for what comes in pieces."""
    value = quantities.parse(quantity)
    found = []
    if value < 0:
        found.append(fields.invalid(path, str(quantity), "must be greater than or equal to 0"))
    if value.denominator != 1 and (name in _WHOLE or is_extended(name)):
        found.append(fields.invalid(path, str(quantity), "must be an integer"))
    return found


def validate_resources(
    path: str, resources: Mapping[str, Any], claims: frozenset[str], check: NameCheck = check_container_resource
) -> list[Cause]:
    """What is wrong with `resources`; `claims` are the names of the pod's resource claims."""
    found: list[Cause] = []
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for name in sorted(limits):
        if _is_wrong(check, name, limits[name]):
            found += _amount(f"{path}.limits[{name}]", check, name, limits[name])
    for name in sorted(requests):
        here, limit = f"{path}.requests[{name}]", limits.get(name)
        if _is_wrong(check, name, requests[name]) or _exceeds(name, requests[name], limit):
            found += check(here, name)
            found += check_quantity(here, name, requests[name])
            found += _against_limit(path, name, requests[name], limit)
            found += _huge(here, name, requests[name])
    asked = (*limits, *requests)
    if any(n.startswith(_HUGE) for n in asked) and "cpu" not in asked and "memory" not in asked:
        found.append(fields.forbidden(path, "HugePages require cpu or memory"))
    if resources.get("claims"):
        found += _claims(f"{path}.claims", resources["claims"], claims)
    return found


def _amount(path: str, check: NameCheck, name: str, quantity: Any) -> list[Cause]:
    return [*check(path, name), *check_quantity(path, name, quantity), *_huge(path, name, quantity)]


@lru_cache(maxsize=4096)
def _is_wrong(check: NameCheck, name: str, quantity: Any) -> bool:
    """Whether there is anything to say of the amount: the same few are checked with every write."""
    return bool(_amount("", check, name, quantity))


@lru_cache(maxsize=4096)
def _exceeds(name: str, quantity: Any, limit: Any) -> bool:
    """Whether there is anything to say of a request beside its limit."""
    return bool(_against_limit("", name, quantity, limit))


def _huge(path: str, name: str, quantity: Any) -> list[Cause]:
    if not name.startswith(_HUGE):
        return []
    try:
        size = quantities.parse(name.removeprefix(_HUGE))
    except ValueError:
        size = Fraction(0)
    value = quantities.parse(quantity)
    if size > 0 and value % size == 0:
        return []
    return [fields.invalid(path, str(quantity), f"{quantity} is not positive integer multiple of {name}")]


def _against_limit(path: str, name: str, quantity: Any, limit: Any) -> list[Cause]:
    shared = is_native(name) and not name.startswith(_HUGE)
    if limit is None:
        return [] if shared else [fields.required(f"{path}.limits", _FIXED)]
    wanted, most = quantities.parse(quantity), quantities.parse(limit)
    if wanted != most and not shared:
        return [fields.invalid(f"{path}.requests", str(quantity), f"must be equal to {name} limit of {limit}")]
    if wanted > most:
        detail = f"must be less than or equal to {name} limit of {limit}"
        return [fields.invalid(f"{path}.requests", str(quantity), detail)]
    return []


def _claims(path: str, claims: Any, known: frozenset[str]) -> list[Cause]:
    found: list[Cause] = []
    taken: set[str] = set()
    for index, claim in enumerate(claims):
        here, name, request = f"{path}[{index}]", claim.get("name") or "", claim.get("request") or ""
        if not name:
            found.append(fields.required(here))
            continue
        if name in taken:
            found.append(fields.duplicate(here, name))
        else:
            key = name
            if request:
                found += fields.each(f"{here}.request", request, names.check_label(request))
                key = f"{name}/{request}"
            if key in taken:
                found.append(fields.duplicate(here, key))
            elif not request:
                found += [fields.duplicate(here, name) for k in taken if k.partition("/")[::2][0] == name and "/" in k]
            taken.add(key)
        if name not in known:
            tail = f": {', '.join(sorted(known))}" if known else " which is empty"
            found.append(fields.not_found(here, name, f"must be one of the names in pod.spec.resourceClaims{tail}"))
    return found


def validate_pod_resources(path: str, spec: Mapping[str, Any], claims: frozenset[str]) -> list[Cause]:
    """What is wrong with the resources of a whole pod."""
    resources = spec["resources"]
    here = f"{path}.resources"
    if (spec.get("os") or {}).get("name") == "windows":
        return [fields.forbidden(here, "may not be set for a windows pod")]
    found: list[Cause] = []
    if resources.get("claims") is not None:
        found.append(fields.forbidden(f"{here}.claims", "claims may not be set for Resources at pod-level"))
    found += validate_resources(here, resources, claims, _check_pod_resource)
    return found + list(_against_containers(here, spec, resources))


def _against_containers(path: str, spec: Mapping[str, Any], resources: Mapping[str, Any]) -> Iterator[Cause]:
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    asked = aggregate(spec, "requests")
    for name in sorted(set(asked) & set(requests)):
        if asked[name] > quantities.parse(requests[name]):
            total = quantities.to_text(asked[name], binary=name in _binary(spec))
            detail = f"must be greater than or equal to aggregate container requests of {total}"
            yield fields.invalid(f"{path}.requests[{name}]", str(requests[name]), detail)
    allowed = aggregate(spec, "limits")
    for name in sorted(n for n in set(allowed) & set(limits) if n.startswith(_HUGE)):
        if allowed[name] > quantities.parse(limits[name]):
            total = quantities.to_text(allowed[name], binary=quantities.is_binary(limits[name]))
            detail = f"must be greater than or equal to aggregate container limits of {total}"
            yield fields.invalid(f"{path}.limits[{name}]", str(limits[name]), detail)
    for index, container in enumerate(spec.get("containers") or ()):
        own = (container.get("resources") or {}).get("limits") or {}
        for name in sorted(set(own) & set(limits)):
            if quantities.parse(own[name]) > quantities.parse(limits[name]):
                detail = f"must be less than or equal to pod limits of {limits[name]}"
                yield fields.invalid(f"{path}.containers[{index}][{name}].limits", str(own[name]), detail)


def aggregate(spec: Mapping[str, Any], side: str) -> dict[str, Fraction]:
    """What the containers ask for together: `requests` or `limits`."""

    def of(container: Any) -> dict[str, Fraction]:
        return {n: quantities.parse(q) for n, q in ((container.get("resources") or {}).get(side) or {}).items()}

    return needed(dict(spec), of)


def default_pod_resources(spec: dict[str, Any]) -> None:
    """Pod-level limits of huge pages out of the containers', requests out of limits, in place."""
    resources = spec.get("resources")
    if not resources or not (resources.get("limits") or resources.get("requests")):
        return
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    for name, value in aggregate(spec, "limits").items():
        if name.startswith(_HUGE) and name not in requests:
            limits.setdefault(name, quantities.to_text(value, binary=True))
    if limits:
        resources["limits"] = limits
    if not limits:
        return
    binary = _binary(spec)
    for name, value in aggregate(spec, "requests").items():
        if name in _POD_LEVEL:
            requests.setdefault(name, quantities.to_text(value, binary=name in binary))
    for name, quantity in limits.items():
        if name in _POD_LEVEL or name.startswith(_HUGE):
            requests.setdefault(name, quantity)
    if requests:
        resources["requests"] = requests


def _binary(spec: Mapping[str, Any]) -> set[str]:
    """The resources that containers ask for in powers of 1024."""
    return {n for c, _ in visit(dict(spec)) for n, q in _requests(c).items() if quantities.is_binary(q)}


def _requests(container: Mapping[str, Any]) -> Mapping[str, Any]:
    return (container.get("resources") or {}).get("requests") or {}
