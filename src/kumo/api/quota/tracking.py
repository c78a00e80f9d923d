"""Which resources a quota's names are about, and which names an object of a resource counts for. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kumo.api import names as naming

STORAGE_CLASS = ".storageclass.storage.k8s.io/"
DEVICE_CLASS = ".deviceclass.resource.k8s.io/devices"
DEVICE_CLASS_RESOURCE = "deviceclass.resource.kubernetes.io/"
_REQUESTS = "requests."
_POD_NAMES = frozenset(
    (
        "pods",
        "count/pods",
        *(f"{side}{name}" for side in ("", "requests.", "limits.") for name in ("cpu", "memory", "ephemeral-storage")),
    )
)
_CLAIM_NAMES = ("persistentvolumeclaims", "requests.storage")
_SERVICE_NAMES = frozenset(("services", "count/services", "services.nodeports", "services.loadbalancers"))
_ALIASES = frozenset(("configmaps", "resourcequotas", "replicationcontrollers", "secrets"))
IGNORED = frozenset(
    (
        ("", "bindings"),
        ("", "componentstatuses"),
        ("", "events"),
        ("events.k8s.io", "events"),
        ("authentication.k8s.io", "tokenreviews"),
        ("authentication.k8s.io", "selfsubjectreviews"),
        ("authorization.k8s.io", "subjectaccessreviews"),
        ("authorization.k8s.io", "selfsubjectaccessreviews"),
        ("authorization.k8s.io", "localsubjectaccessreviews"),
        ("authorization.k8s.io", "selfsubjectrulesreviews"),
    )
)
"""Resources that no quota counts: those that are not stored, and events."""


class Resource(NamedTuple):
    """Group (empty for the core group) and plural."""

    group: str
    resource: str


PODS = Resource("", "pods")
SERVICES = Resource("", "services")
CLAIMS = Resource("", "persistentvolumeclaims")
DEVICE_CLAIMS = Resource("resource.k8s.io", "resourceclaims")


def count_name(resource: Resource) -> str:
    """`count/pods`, `count/deployments.apps`."""
    return f"count/{resource.resource}.{resource.group}" if resource.group else f"count/{resource.resource}"


def is_extended(name: str) -> bool:
    """Whether a container's resource is an extended one (`example.com/gpu`), as `helper.IsExtendedResourceName`."""
    if "/" not in name or "kubernetes.io/" in name or name.startswith(_REQUESTS):
        return False
    return not naming.check_qualified_name(f"{_REQUESTS}{name}")


def _of_pods(name: str) -> bool:
    if name in _POD_NAMES or name.startswith(("hugepages-", "requests.hugepages-")):
        return True
    if not name.startswith(_REQUESTS):
        return False
    return name.startswith(f"{_REQUESTS}{DEVICE_CLASS_RESOURCE}") or ("/" in name and "kubernetes.io/" not in name)


def _of_claims(name: str) -> bool:
    return name in _CLAIM_NAMES or name == "count/persistentvolumeclaims" or is_by_storage_class(name)


def is_by_storage_class(name: str) -> bool:
    """Whether the name counts the claims of one storage class."""
    return any(name.endswith(STORAGE_CLASS + suffix) for suffix in _CLAIM_NAMES)


def tracks(resource: Resource, name: str) -> bool:
    """Whether objects of the resource may count for the name."""
    if resource == PODS:
        return _of_pods(name)
    if resource == SERVICES:
        return name in _SERVICE_NAMES
    if resource == CLAIMS:
        return _of_claims(name)
    if resource == DEVICE_CLAIMS:
        return name == count_name(resource) or name.endswith(DEVICE_CLASS)
    if resource in IGNORED:
        return False
    return name == count_name(resource) or (not resource.group and name == resource.resource and name in _ALIASES)


def names_of(resource: Resource, hard: Iterable[str]) -> tuple[str, ...]:
    """Those of a quota's names that objects of the resource count for, sorted."""
    return tuple(sorted(name for name in hard if tracks(resource, name)))


def resources_of(hard: Iterable[str]) -> frozenset[Resource]:
    """The resources that a quota's names are about (whether or not there are such resources)."""
    found: set[Resource] = set()
    for name in hard:
        special = next((r for r in (PODS, SERVICES, CLAIMS, DEVICE_CLAIMS) if tracks(r, name)), None)
        if special is not None:
            found.add(special)
        elif name in _ALIASES:
            found.add(Resource("", name))
        elif name.startswith("count/"):
            plural, _, group = name.removeprefix("count/").partition(".")
            if (group, plural) not in IGNORED:
                found.add(Resource(group, plural))
    return frozenset(found)
