"""What one object counts for in a quota: `pkg/quota/v1/evaluator/core`. Pure."""

from __future__ import annotations

import time
from collections.abc import Mapping
from fractions import Fraction
from math import ceil
from typing import Any, Literal

from kumo.api.objects import Object, annotations_of, parse_timestamp
from kumo.api.pod_resources import is_sidecar
from kumo.api.quota.amounts import NOTHING, ONE, Amount, Amounts, add, parse_amounts
from kumo.api.quota.tracking import (
    CLAIMS,
    DEVICE_CLAIMS,
    DEVICE_CLASS,
    DEVICE_CLASS_RESOURCE,
    PODS,
    SERVICES,
    STORAGE_CLASS,
    Resource,
    count_name,
    is_extended,
)

Side = Literal["requests", "limits"]
_LARGEST_ALLOCATION = 32
"""How many devices a request for all devices of a class counts for (`AllocationResultsMaxSize`)."""
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"


def usage(resource: Resource, obj: Object, now: float | None = None) -> Amounts:
    """What the object counts for, under every name a quota's `hard` may use. `now`: seconds since the epoch."""
    if resource == PODS:
        return _pod(obj, time.time() if now is None else now)
    if resource == SERVICES:
        return _service(obj.get("spec") or {})
    if resource == CLAIMS:
        return _claim(obj)
    if resource == DEVICE_CLAIMS:
        return _devices(obj.get("spec") or {})
    found: Amounts = {count_name(resource): ONE}
    if not resource.group:
        found[resource.resource] = ONE
    return found


def counted_until(obj: Object) -> float | None:
    """When a pod that is being deleted stops to count even if it stays (its grace period once more), or None."""
    meta = obj.get("metadata") or {}
    if not meta.get("deletionTimestamp") or meta.get("deletionGracePeriodSeconds") is None:
        return None
    return parse_timestamp(meta["deletionTimestamp"]) + float(meta["deletionGracePeriodSeconds"])


def _pod(pod: Object, now: float) -> Amounts:
    found: Amounts = {"count/pods": ONE}
    until = counted_until(pod)
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed") or (until is not None and now > until):
        return found
    return {**found, **compute(pod_total(pod, "requests"), pod_total(pod, "limits"))}


def compute(requests: Mapping[str, Amount], limits: Mapping[str, Amount]) -> Amounts:
    """The quota's names for requests and limits (of a pod or of one container)."""
    found: Amounts = {"pods": ONE}
    for name in ("cpu", "memory", "ephemeral-storage"):
        if name in requests:
            found[name] = found[f"requests.{name}"] = requests[name]
        if name in limits:
            found[f"limits.{name}"] = limits[name]
    for name, amount in requests.items():
        if name.startswith("hugepages-"):
            found[name] = found[f"requests.{name}"] = amount
        elif name.startswith(DEVICE_CLASS_RESOURCE) or is_extended(name):
            found[f"requests.{name}"] = amount
    return found


def pod_total(pod: Object, side: Side) -> Amounts:
    """A pod's requests or limits: the larger of what is wanted and what the node has given (in-place resize)."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    infeasible = any(
        c.get("type") == "PodResizePending" and c.get("reason") == "Infeasible" for c in status.get("conditions") or ()
    )
    given = {
        s.get("name"): s for part in ("containerStatuses", "initContainerStatuses") for s in status.get(part) or ()
    }

    def of(container: Object, *, resizable: bool) -> Amounts:
        wanted = parse_amounts((container.get("resources") or {}).get(side))
        found = given.get(container.get("name")) if resizable else None
        if not found or found.get("resources") is None:
            return wanted
        actual = parse_amounts(found["resources"].get(side))
        promised = parse_amounts(found.get("allocatedResources")) if side == "requests" else {}
        return _largest(actual, promised) if infeasible else _largest(_largest(wanted, actual), promised)

    return _with_overhead(_aggregate(spec, of), spec, side)


def spec_total(spec: Object, side: Side, *, overhead: bool = True) -> Amounts:
    """A pod spec's requests or limits, whatever the node has given."""

    def of(container: Object, *, resizable: bool) -> Amounts:
        return parse_amounts((container.get("resources") or {}).get(side))

    return _with_overhead(_aggregate(spec, of), spec, side, overhead=overhead)


def _aggregate(spec: Object, of: Any) -> Amounts:
    """Containers and sidecars add up; an init container runs beside the sidecars before it (KEP-753)."""
    total: Amounts = {}
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("containers") or ():
        total = add(total, of(container, resizable=True))
    for container in spec.get("initContainers") or ():
        sidecar = is_sidecar(container)
        wanted = of(container, resizable=sidecar)
        if sidecar:
            total = add(total, wanted)
            sidecars = wanted = add(sidecars, wanted)
        else:
            wanted = add(wanted, sidecars)
        peak = _largest(peak, wanted)
    return _largest(total, peak)


def _with_overhead(found: Amounts, spec: Object, side: Side, *, overhead: bool = True) -> Amounts:
    for name, amount in parse_amounts((spec.get("resources") or {}).get(side)).items():
        if is_pod_level(name):
            found[name] = amount
    if overhead:
        more = parse_amounts(spec.get("overhead"))
        if side == "limits":
            more = {name: amount for name, amount in more.items() if name in found and found[name].value}
        found = add(found, more)
    return found


def is_pod_level(name: str) -> bool:
    """Whether the resource can be stated for the pod as a whole (`spec.resources`)."""
    return name in ("cpu", "memory") or name.startswith("hugepages-")


def _largest(left: Amounts, right: Amounts) -> Amounts:
    found = dict(left)
    for name, amount in right.items():
        if name not in found or amount.value > found[name].value:
            found[name] = amount
    return found


def _service(spec: Object) -> Amounts:
    ports = spec.get("ports") or ()
    found = {
        "count/services": ONE,
        "services": ONE,
        "services.loadbalancers": NOTHING,
        "services.nodeports": NOTHING,
    }
    kind = spec.get("type")
    if kind == "LoadBalancer":
        found["services.loadbalancers"] = ONE
        if spec.get("allocateLoadBalancerNodePorts") is False:
            ports = [port for port in ports if port.get("nodePort")]
    if kind in ("NodePort", "LoadBalancer"):
        found["services.nodeports"] = Amount(Fraction(len(ports)))
    return found


def _claim(claim: Object) -> Amounts:
    spec, status = claim.get("spec") or {}, claim.get("status") or {}
    found: Amounts = {"persistentvolumeclaims": ONE, "count/persistentvolumeclaims": ONE}
    chosen = storage_class_of(claim)
    if chosen:
        found[f"{chosen}{STORAGE_CLASS}persistentvolumeclaims"] = ONE
    storage = parse_amounts((spec.get("resources") or {}).get("requests")).get("storage")
    if storage is not None:
        allocated = parse_amounts(status.get("allocatedResources")).get("storage")
        if allocated is not None and allocated.value > storage.value:
            storage = allocated
        if storage.value.denominator != 1:
            storage = Amount(Fraction(ceil(storage.value)), storage.form)
        found["requests.storage"] = storage
        if chosen:
            found[f"{chosen}{STORAGE_CLASS}requests.storage"] = storage
    return found


def storage_class_of(claim: Object) -> str:
    """The claim's storage class, by the old annotation too; empty for none."""
    return annotations_of(claim).get(_BETA_CLASS) or (claim.get("spec") or {}).get("storageClassName") or ""


def _devices(spec: Object) -> Amounts:
    found: Amounts = {"count/resourceclaims.resource.k8s.io": ONE}
    for request in (spec.get("devices") or {}).get("requests") or ():
        most: dict[str, int] = {}
        for choice in request.get("firstAvailable") or filter(None, (request.get("exactly"),)):
            name = f"{choice.get('deviceClassName', '')}{DEVICE_CLASS}"
            mode = choice.get("allocationMode") or "ExactCount"
            number = {"ExactCount": int(choice.get("count") or 1), "All": _LARGEST_ALLOCATION}.get(mode, 0)
            most[name] = max(most.get(name, 0), number)
        found = add(found, {name: Amount(Fraction(number)) for name, number in most.items()})
    return found
