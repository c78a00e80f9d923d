"""LimitRanger: a namespace's LimitRange objects give containers default resources and bound what may be asked for."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from kumo.api import quantities
from kumo.api.objects import Object
from kumo.api.resources import core
from kumo.kubernetes.apiserver.admission.pod_requests import Amounts, amounts, total
from kumo.kubernetes.apiserver.admission.refusals import refused
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader

LIMITRANGES = core("limitranges")


class LimitRanger:
    """Applies and enforces LimitRanges on pods and persistent volume claims."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def _limits(self, namespace: str) -> list[dict[str, Any]]:
        found = self._reader.objects(LIMITRANGES, namespace)
        return [item for obj in found for item in (obj.get("spec") or {}).get("limits") or ()]

    def mutate(self, attrs: AdmissionAttributes) -> None:
        """Give a new pod's containers the default requests and limits."""
        if attrs.operation != "CREATE" or attrs.subresource or attrs.object is None:
            return
        spec = attrs.object.get("spec") or {}
        for limit in self._limits(attrs.namespace):
            if limit.get("type") == "Container":
                for field in ("initContainers", "containers"):
                    for container in spec.get(field) or ():
                        _fill(container, limit)

    def validate(self, attrs: AdmissionAttributes) -> None:
        """Raise 403 that lists every bound which the pod or claim breaks."""
        if attrs.subresource or attrs.object is None or attrs.operation not in ("CREATE", "UPDATE"):
            return
        pods = attrs.gvr.resource == "pods"
        if pods and attrs.operation == "UPDATE":
            return
        spec = attrs.object.get("spec") or {}
        check = _pod_faults if pods else _claim_faults
        faults = [fault for limit in self._limits(attrs.namespace) for fault in check(spec, limit)]
        if faults:
            raise refused(attrs, faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]")


def _fill(container: dict[str, Any], limit: dict[str, Any]) -> None:
    default, requests = limit.get("default") or {}, limit.get("defaultRequest") or {}
    if not default and not requests:
        return
    resources = container.setdefault("resources", {})
    for name, value in requests.items():
        asked = resources.setdefault("requests", {})
        if name not in asked:
            # A stated limit is the request's default before the range's (as upstream's pod defaults).
            asked[name] = (resources.get("limits") or {}).get(name, value)
    for name, value in default.items():
        resources.setdefault("limits", {}).setdefault(name, value)


def _pod_faults(spec: Object, limit: dict[str, Any]) -> Iterator[str]:
    if limit.get("type") == "Container":
        for field in ("initContainers", "containers"):
            for container in spec.get(field) or ():
                resources = container.get("resources") or {}
                yield from _faults("Container", limit, resources.get("requests"), resources.get("limits"))
    elif limit.get("type") == "Pod":
        yield from _judge("Pod", limit, total(spec, "requests"), total(spec, "limits"))


def _claim_faults(spec: Object, limit: dict[str, Any]) -> Iterator[str]:
    if limit.get("type") == "PersistentVolumeClaim":
        requests = amounts((spec.get("resources") or {}).get("requests"))
        for name, bound in (limit.get("min") or {}).items():
            if name in requests and requests[name] < quantities.parse(bound):
                yield (
                    f"minimum {name} usage per PersistentVolumeClaim is {bound}, but request is {_text(requests[name])}"
                )
        for name, bound in (limit.get("max") or {}).items():
            if name in requests and requests[name] > quantities.parse(bound):
                yield (
                    f"maximum {name} usage per PersistentVolumeClaim is {bound}, but request is {_text(requests[name])}"
                )


def _faults(kind: str, limit: dict[str, Any], requests: Any, limits: Any) -> Iterator[str]:
    yield from _judge(kind, limit, amounts(requests), amounts(limits))


def _text(value: Fraction) -> str:
    return quantities.to_text(value, binary=value.denominator == 1 and value >= 1024 and value % 1024 == 0)


def _judge(kind: str, limit: dict[str, Any], requests: Amounts, limits: Amounts) -> Iterator[str]:
    for name, bound in (limit.get("min") or {}).items():
        low = quantities.parse(bound)
        if name not in requests:
            yield f"minimum {name} usage per {kind} is {bound}.  No request is specified"
        elif requests[name] < low:
            yield f"minimum {name} usage per {kind} is {bound}, but request is {_text(requests[name])}"
        elif name in limits and limits[name] < low:
            yield f"minimum {name} usage per {kind} is {bound}, but limit is {_text(limits[name])}"
    for name, bound in (limit.get("max") or {}).items():
        high = quantities.parse(bound)
        if name not in limits:
            yield f"maximum {name} usage per {kind} is {bound}.  No limit is specified"
        elif limits[name] > high:
            yield f"maximum {name} usage per {kind} is {bound}, but limit is {_text(limits[name])}"
        elif name in requests and requests[name] > high:
            yield f"maximum {name} usage per {kind} is {bound}, but request is {_text(requests[name])}"
    for name, bound in (limit.get("maxLimitRequestRatio") or {}).items():
        if not requests.get(name):
            yield (
                f"{name} max limit to request ratio per {kind} is {bound}, but no request is specified or request is 0"
            )
        elif name not in limits:
            yield f"{name} max limit to request ratio per {kind} is {bound}, but no limit is specified or limit is 0"
        elif limits[name] / requests[name] > quantities.parse(bound):
            ratio = float(limits[name] / requests[name])
            yield f"{name} max limit to request ratio per {kind} is {bound}, but provided ratio is {ratio:f}"
