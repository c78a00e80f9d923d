"""LimitRanger: a namespace's LimitRange objects give containers default resources and bound what may be asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any

from kumo.api.objects import Object
from kumo.api.quota.amounts import Amount, Amounts, parse_amount, parse_amounts
from kumo.api.quota.usage import spec_total
from kumo.api.resources import core
from kumo.kubernetes.apiserver.admission.refusals import refused
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader

LIMITRANGES = core("limitranges")
ANNOTATION = "kubernetes.io/limit-ranger"


class LimitRanger:
    """Applies and enforces LimitRanges on pods and persistent volume claims."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def _ranges(self, namespace: str) -> Iterator[list[dict[str, Any]]]:
        for found in self._reader.objects(LIMITRANGES, namespace):
            yield (found.get("spec") or {}).get("limits") or []

    def mutate(self, attrs: AdmissionAttributes) -> None:
        """Give a pod's containers the default requests and limits, and note in an annotation what was given."""
        pod = attrs.object
        if pod is None or _ending(attrs):
            return
        for limits in self._ranges(attrs.namespace):
            requests: dict[str, Any] = {}
            defaults: dict[str, Any] = {}
            for limit in limits:
                if limit.get("type") == "Container":
                    requests |= limit.get("defaultRequest") or {}
                    defaults |= limit.get("default") or {}
            notes = _fill(pod.get("spec") or {}, requests, defaults)
            if notes:
                annotations = pod["metadata"].setdefault("annotations", {})
                annotations[ANNOTATION] = f"LimitRanger plugin set: {'; '.join(notes)}"

    def validate(self, attrs: AdmissionAttributes) -> None:
        """Raise 403 that lists every bound of a range which the pod or claim breaks."""
        if attrs.object is None or _ending(attrs):
            return
        spec = attrs.object.get("spec") or {}
        check = _pod_faults if attrs.gvr.resource == "pods" else _claim_faults
        for limits in self._ranges(attrs.namespace):
            faults = list(dict.fromkeys(fault for limit in limits for fault in check(spec, limit)))
            if faults:
                raise refused(attrs, faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]")


def _ending(attrs: AdmissionAttributes) -> bool:
    return bool(((attrs.old_object or {}).get("metadata") or {}).get("deletionTimestamp"))


def _fill(spec: Object, requests: dict[str, Any], limits: dict[str, Any]) -> list[str]:
    """Set what containers leave open; notes of what was set."""
    notes = []
    for part, word in (("containers", "container"), ("initContainers", "init container")):
        for container in spec.get(part) or ():
            for side, defaults in (("requests", requests), ("limits", limits)):
                stated = (container.get("resources") or {}).get(side) or {}
                missing = sorted(set(defaults) - set(stated))
                if missing:
                    values = {**stated, **{name: defaults[name] for name in missing}}
                    container.setdefault("resources", {})[side] = values
                    notes.append(f"{', '.join(missing)} {side[:-1]} for {word} {container.get('name', '')}")
    return notes


def _pod_faults(spec: Object, limit: dict[str, Any]) -> Iterator[str]:
    kind = limit.get("type")
    if kind == "Container":
        for part in ("containers", "initContainers"):
            for container in spec.get(part) or ():
                resources = container.get("resources") or {}
                asked, bound = parse_amounts(resources.get("requests")), parse_amounts(resources.get("limits"))
                yield from _judge("Container", limit, asked, bound)
    elif kind == "Pod":
        asked, bound = (spec_total(spec, side, overhead=False) for side in ("requests", "limits"))
        yield from _judge("Pod", limit, asked, bound)


def _claim_faults(spec: Object, limit: dict[str, Any]) -> Iterator[str]:
    if limit.get("type") != "PersistentVolumeClaim":
        return
    asked = parse_amounts((spec.get("resources") or {}).get("requests"))
    for name, bound in _bounds(limit, "min"):
        yield from _too_little("PersistentVolumeClaim", name, bound, asked, {})
    for name, bound in _bounds(limit, "max"):
        words = f"maximum {name} usage per PersistentVolumeClaim is {bound}"
        if name not in asked:
            yield f"{words}.  No request is specified"
        elif asked[name].value > bound.value:
            yield f"{words}, but request is {asked[name]}"


def _bounds(limit: dict[str, Any], key: str) -> Sequence[tuple[str, Amount]]:
    return sorted((name, parse_amount(value)) for name, value in (limit.get(key) or {}).items())


def _too_little(kind: str, name: str, bound: Amount, asked: Amounts, limits: Amounts) -> Iterator[str]:
    words = f"minimum {name} usage per {kind} is {bound}"
    if name not in asked:
        yield f"{words}.  No request is specified"
    elif asked[name].value < bound.value:
        yield f"{words}, but request is {asked[name]}"
    elif name in limits and limits[name].value < bound.value:
        yield f"{words}, but limit is {limits[name]}"


def _judge(kind: str, limit: dict[str, Any], asked: Amounts, limits: Amounts) -> Iterator[str]:
    for name, bound in _bounds(limit, "min"):
        yield from _too_little(kind, name, bound, asked, limits)
    for name, bound in _bounds(limit, "max"):
        words = f"maximum {name} usage per {kind} is {bound}"
        if name not in limits:
            yield f"{words}.  No limit is specified"
        elif limits[name].value > bound.value:
            yield f"{words}, but limit is {limits[name]}"
        elif name in asked and asked[name].value > bound.value:
            yield f"{words}, but request is {asked[name]}"
    for name, bound in _bounds(limit, "maxLimitRequestRatio"):
        words = f"{name} max limit to request ratio per {kind} is {bound}"
        if name not in asked or not asked[name].value:
            yield f"{words}, but no request is specified or request is 0"
        elif name not in limits or not limits[name].value:
            yield f"{words}, but no limit is specified or limit is 0"
        elif limits[name].value / asked[name].value > bound.value:
            # Upstream divides thousandths, rounded up.
            ratio = ceil(limits[name].value * 1000) / ceil(asked[name].value * 1000)
            yield f"{words}, but provided ratio is {ratio:f}"
