"""ResourceQuota: a namespace may not hold more than its quotas allow.

What is used is counted from the cache at each write (a namespace's objects of the kinds that a quota names), so that
no counter can drift; `status` is left to the quota controller. Counting and storing are one step per namespace only as
long as the writes of it pass one at a time here: a promise made to a write is counted until its object shows or ten
seconds have gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from kumo.api import quantities
from kumo.api.objects import Object, is_deleting, name_of
from kumo.api.pod_resources import add
from kumo.api.resources import core
from kumo.kubernetes.apiserver.admission.pod_requests import Amounts, amounts, total
from kumo.kubernetes.apiserver.admission.refusals import object_name, refused
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader

QUOTAS = core("resourcequotas")
_PLAIN = {
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
}
_PROMISE = 10.0


class ResourceQuota:
    """Refuses creations that would exceed a quota."""

    def __init__(self, reader: Reader, clock: Callable[[], float] = time.monotonic) -> None:
        self._reader = reader
        self._clock = clock
        self._promised: dict[tuple[str, str], list[tuple[float, str, Object]]] = {}

    def validate(self, attrs: AdmissionAttributes) -> None:
        """Raise 403 with what was asked, used and limited, as upstream words it."""
        obj = attrs.object
        if attrs.operation != "CREATE" or attrs.subresource or not attrs.namespace or obj is None:
            return
        resource = attrs.gvr.group_resource
        for quota in self._reader.objects(QUOTAS, attrs.namespace):
            hard = amounts((quota.get("spec") or {}).get("hard"))
            asked = {n: v for n, v in usage(resource, obj).items() if n in hard}
            if not in_scope(quota, resource, obj):
                continue
            missing = _unstated(resource, obj, hard)
            if missing:
                raise refused(attrs, f"failed quota: {name_of(quota)}: must specify {','.join(missing)}")
            if not asked:
                continue
            used = self._used(attrs, quota)
            over = sorted(n for n, v in asked.items() if used.get(n, Fraction(0)) + v > hard[n] and v > 0)
            if over:
                why = (
                    f"exceeded quota: {name_of(quota)}, requested: {_listed(asked, over)}, "
                    f"used: {_listed(used, over)}, limited: {_listed(hard, over)}"
                )
                raise refused(attrs, why)
        if not attrs.dry_run and self._reader.objects(QUOTAS, attrs.namespace):
            promises = self._promised.setdefault((attrs.namespace, resource), [])
            promises.append((self._clock() + _PROMISE, object_name(attrs), obj))

    def _used(self, attrs: AdmissionAttributes, quota: Object) -> Amounts:
        resource = attrs.gvr.group_resource
        stored = self._reader.objects(attrs.gvr, attrs.namespace)
        names = {name_of(o) for o in stored}
        now = self._clock()
        waiting = self._promised.get((attrs.namespace, resource), [])
        waiting[:] = [w for w in waiting if w[0] > now and w[1] not in names]
        used: Amounts = {}
        for obj in (*stored, *(w[2] for w in waiting)):
            if in_scope(quota, resource, obj) and not _finished(resource, obj):
                add(used, usage(resource, obj))
        return used


def _finished(resource: str, obj: Object) -> bool:
    if resource != "pods":
        return False
    return (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed") or (
        is_deleting(obj) and not (obj.get("spec") or {}).get("nodeName")
    )


def usage(resource: str, obj: Object) -> Amounts:
    """What the object counts for in a quota, under the names that a quota's `hard` may use."""
    one = Fraction(1)
    found: Amounts = {f"count/{resource}": one}
    if resource in _PLAIN:
        found[resource] = one
    spec = obj.get("spec") or {}
    if resource == "pods":
        for name, value in total(spec, "requests").items():
            found[f"requests.{name}"] = value
            if name in ("cpu", "memory", "ephemeral-storage"):
                found[name] = value
        for name, value in total(spec, "limits").items():
            found[f"limits.{name}"] = value
    elif resource == "services":
        if spec.get("type") == "LoadBalancer":
            found["services.loadbalancers"] = one
        if spec.get("type") in ("NodePort", "LoadBalancer"):
            found["services.nodeports"] = Fraction(sum(1 for p in spec.get("ports") or () if p.get("nodePort")))
    elif resource == "persistentvolumeclaims":
        storage = amounts((spec.get("resources") or {}).get("requests")).get("storage", Fraction(0))
        found["requests.storage"] = storage
        chosen = spec.get("storageClassName")
        if chosen:
            found[f"{chosen}.storageclass.storage.k8s.io/requests.storage"] = storage
            found[f"{chosen}.storageclass.storage.k8s.io/persistentvolumeclaims"] = one
    return found


def in_scope(quota: Object, resource: str, obj: Object) -> bool:
    """Whether the quota's scopes take in the object; scopes are about pods only."""
    spec = quota.get("spec") or {}
    terms: list[dict[str, Any]] = [{"scopeName": s, "operator": "Exists"} for s in spec.get("scopes") or ()]
    terms += (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    if not terms:
        return True
    if resource != "pods":
        return False
    pod = obj.get("spec") or {}
    best_effort = not any(_asks(c) for f in ("containers", "initContainers") for c in pod.get(f) or ())
    terminating = pod.get("activeDeadlineSeconds") is not None
    priority = pod.get("priorityClassName") or ""
    facts = {
        "BestEffort": best_effort,
        "NotBestEffort": not best_effort,
        "Terminating": terminating,
        "NotTerminating": not terminating,
    }
    for term in terms:
        name, operator, values = term.get("scopeName", ""), term.get("operator"), term.get("values") or ()
        if name == "PriorityClass":
            holds = {
                "In": priority in values,
                "NotIn": priority not in values,
                "Exists": bool(priority),
                "DoesNotExist": not priority,
            }.get(str(operator), False)
        else:
            holds = facts.get(name, False)
        if not holds:
            return False
    return True


def _asks(container: dict[str, Any]) -> bool:
    resources = container.get("resources") or {}
    return bool(resources.get("requests") or resources.get("limits"))


def _unstated(resource: str, obj: Object, hard: Amounts) -> list[str]:
    """The compute resources that a quota limits and a container does not state."""
    if resource != "pods":
        return []
    wanted = {n for n in hard if n in ("cpu", "memory") or n.startswith(("requests.cpu", "requests.memory"))}
    wanted |= {n for n in hard if n in ("limits.cpu", "limits.memory")}
    missing: dict[str, list[str]] = {}
    spec = obj.get("spec") or {}
    for field in ("initContainers", "containers"):
        for container in spec.get(field) or ():
            resources = container.get("resources") or {}
            for name in wanted:
                section = "limits" if name.startswith("limits.") else "requests"
                if name.removeprefix("requests.").removeprefix("limits.") not in (resources.get(section) or {}):
                    missing.setdefault(name, []).append(container.get("name", ""))
    return [f"{name} for: {','.join(sorted(missing[name]))}" for name in sorted(missing)]


def _listed(found: Amounts, names: list[str]) -> str:
    def text(name: str) -> str:
        value = found.get(name, Fraction(0))
        binary = value >= 1024 and value.denominator == 1 and value % 1024 == 0
        return quantities.to_text(value, binary=binary)

    return ",".join(f"{name}={text(name)}" for name in names)


__all__ = ["QUOTAS", "ResourceQuota", "in_scope", "usage"]
