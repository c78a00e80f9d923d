"""Extended resources that DeviceClasses stand for: a pod that asks for them gets a claim of its own making. Pure.

A class is for the resource that it names (`spec.extendedResourceName`), and for
`deviceclass.resource.kubernetes.io/<its name>`. Where a device plugin offers the resource the node's count is used;
else the scheduler makes the claim. Upstream: `dynamicresources/extendeddynamicresources.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from kumo.api import quantities
from kumo.api.objects import Object, annotations_of, controller_of, name_of
from kumo.api.pod_resources import is_sidecar
from kumo.kubernetes.scheduler.nodes import NodeInfo, PodInfo

ANNOTATION = "resource.kubernetes.io/extended-resource-claim"
PREFIX = "deviceclass.resource.kubernetes.io/"
UNMADE = "<extended-resources>"
"""The name of a claim that is still to be made."""
Share = dict[str, str]


@dataclass(frozen=True, slots=True)
class Extended:
    """A pod's resources that classes stand for: how many of each, each one's class, and the pod's claim for them."""

    amounts: Mapping[str, int]
    classes: Mapping[str, str]
    claim: Object
    wishes: dict[str, tuple[Object, list[Share]]] = field(default_factory=dict)
    """By node: the claim as it would be there, and which request is for which container."""


def is_extended(name: str) -> bool:
    """Whether a class may stand for the resource."""
    if name.startswith(PREFIX):
        return True
    return "/" in name and "kubernetes.io/" not in name and not name.startswith("requests.")


def class_for(name: str, classes: Iterable[Object]) -> str:
    """The class that stands for a resource (the newest of several), empty if none does."""
    best: tuple[str, str] | None = None
    for item in classes:
        if name == PREFIX + name_of(item):
            return name_of(item)
        if (item.get("spec") or {}).get("extendedResourceName") == name:
            made = item["metadata"].get("creationTimestamp") or ""
            if best is None or made > best[0] or (made == best[0] and name_of(item) < best[1]):
                best = (made, name_of(item))
    return best[1] if best is not None else ""


def extended_of(pod: PodInfo, classes: Sequence[Object], claims: Iterable[Object]) -> Extended | None:
    """What the pod asks for that classes stand for, None if nothing."""
    amounts = {n: v for n, v in pod.requests.items() if v and is_extended(n)}
    found = {n: c for n in amounts if (c := class_for(n, classes))}
    if not found:
        return None
    known = next((c for c in claims if is_special(c, pod)), None)
    return Extended(amounts, found, known or _claim(pod))


def is_special(claim: Object, pod: PodInfo) -> bool:
    """Whether the claim was made for the extended resources of the pod."""
    mine = (controller_of(claim) or {}).get("uid") == pod.uid
    return mine and annotations_of(claim).get(ANNOTATION) == "true"


def _claim(pod: PodInfo) -> Object:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid, "controller": True}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {
            "namespace": pod.namespace,
            "name": UNMADE,
            "uid": str(uuid4()),
            "generateName": f"{pod.name}-extended-resources-",
            "ownerReferences": [owner],
            "annotations": {ANNOTATION: "true"},
        },
        "spec": {},
    }


def on_node(extended: Extended, pod: PodInfo, info: NodeInfo) -> Object | str | None:
    """The claim that the pod needs there; None if plugins have it all, a reason if the node is out of question."""
    wanted = {}
    for name in extended.amounts:
        if name in extended.classes and not info.allocatable.get(name):
            wanted[name] = extended.classes[name]
        elif name not in info.allocatable:
            return "cannot fit resource"
    if not wanted:
        return None
    requests, mappings = requests_for(pod.pod, wanted)
    claim = {**extended.claim, "spec": {"devices": {"requests": requests}}}
    extended.wishes[info.name] = (claim, mappings)
    return claim


def requests_for(pod: Object, classes: Mapping[str, str]) -> tuple[list[Object], list[Share]]:
    """The requests of the claim, and which of them each container's resource is.

    Containers that end before others begin use devices of those, and only what they need beyond is asked for once.
    """
    first = pod["spec"].get("initContainers") or []
    containers = [*first, *(pod["spec"].get("containers") or ())]
    brief = [i for i, c in enumerate(first) if not is_sidecar(c)]
    made: list[Object] = []
    mappings: list[Share] = []
    for resource in sorted(classes):
        lasting: dict[int, Object] = {}
        told: list[Share] = []
        for i, container in enumerate(containers):
            if i not in brief:
                request, more = _request(i, container, resource, classes[resource], ())
                told += more
                if request is not None:
                    lasting[i] = request
        largest: Object | None = None
        names: set[str] = set()
        short: list[Share] = []
        for i in brief:
            later = [lasting[k] for k in sorted(lasting) if k >= i]
            request, more = _request(i, containers[i], resource, classes[resource], later)
            short += more
            if request is not None:
                names.add(request["name"])
                if largest is None or largest["exactly"]["count"] < request["exactly"]["count"]:
                    largest = request
        for item in short:
            if largest is not None and item["requestName"] in names:
                item["requestName"] = largest["name"]
        made += ([largest] if largest is not None else []) + [lasting[i] for i in sorted(lasting)]
        mappings += told + short
    return sorted(made, key=name_of_request), mappings


def name_of_request(request: Object) -> str:
    """A request's name."""
    return str(request["name"])


def _request(
    index: int, container: Object, resource: str, device_class: str, reusable: Iterable[Object]
) -> tuple[Object | None, list[Share]]:
    asked = (container.get("resources") or {}).get("requests") or {}
    count = quantities.whole(asked.get(resource) or 0)
    if not count:
        return None, []

    def mapping(name: str) -> Share:
        return {"containerName": container["name"], "resourceName": resource, "requestName": name}

    told: list[Share] = []
    has = 0
    for other in reusable:
        has += int(other["exactly"]["count"])
        told.append(mapping(other["name"]))
        if has >= count:
            return None, told
    name = f"container-{index}-request-{sorted(asked).index(resource)}"
    exactly = {"deviceClassName": device_class, "allocationMode": "ExactCount", "count": count - has}
    return {"name": name, "exactly": exactly}, [*told, mapping(name)]
