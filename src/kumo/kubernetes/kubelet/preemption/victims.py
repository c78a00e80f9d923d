"""Who ends so that a critical pod can run: as few as possible, of the least quality of service first. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kumo.api.objects import Object
from kumo.api.pod_requests import pod_requests
from kumo.kubernetes.kubelet.admission import PODS
from kumo.kubernetes.kubelet.resources import BEST_EFFORT, BURSTABLE, GUARANTEED, qos_class
from kumo.kubernetes.kubelet.spec import is_critical

Needs = Mapping[str, int]
"""How much of each resource is missing."""


class NoVictims(Exception):
    """Even without all the pods that may be ended there would be too little; the text names what is missing."""

    def __init__(self, needs: Needs) -> None:
        listed = "".join(f"(res: {name}, q: {amount}), " for name, amount in needs.items())
        super().__init__(f"no set of running pods found to reclaim resources: [{listed}]")


def victims(pod: Object, running: Sequence[Object], needs: Needs) -> list[Object]:
    """The pods that end for `pod`. Raises NoVictims."""
    classes: dict[str, list[Object]] = {BEST_EFFORT: [], BURSTABLE: [], GUARANTEED: []}
    for other in running:
        if preemptable(pod, other):
            classes[qos_class(other)].append(other)
    cheap, middle, dear = classes[BEST_EFFORT], classes[BURSTABLE], classes[GUARANTEED]
    left = _without(needs, [*cheap, *middle, *dear])
    if left:
        raise NoVictims(left)
    # Of each class only those without whom all of the cheaper classes would not do.
    guaranteed = _nearest(dear, _without(needs, [*cheap, *middle]))
    burstable = _nearest(middle, _without(needs, [*cheap, *guaranteed]))
    return [*_nearest(cheap, _without(needs, [*burstable, *guaranteed])), *burstable, *guaranteed]


def preemptable(pod: Object, other: Object) -> bool:
    """Whether `other` may end for `pod`."""
    if is_critical(pod) and not is_critical(other):
        return True
    mine, its = (p["spec"].get("priority") for p in (pod, other))
    return mine is not None and its is not None and mine > its


def request_of(pod: Object, resource: str) -> int:
    """How much of a resource the pod has asked for; a pod is one pod."""
    return 1 if resource == PODS else int(pod_requests(pod).get(resource, 0))


def _without(needs: Needs, pods: Sequence[Object]) -> dict[str, int]:
    """What is still missing when these pods have ended."""
    left = {name: amount - sum(request_of(p, name) for p in pods) for name, amount in needs.items()}
    return {name: amount for name, amount in left.items() if amount > 0}


def _nearest(pods: Sequence[Object], needs: Needs) -> list[Object]:
    """One pod after the other, each that leaves least missing; of equals the smaller. Raises NoVictims."""
    left, chosen = list(pods), []
    while needs:
        if not left:
            raise NoVictims(needs)
        best = 0
        for index, pod in enumerate(left):
            near, far = _distance(needs, pod), _distance(needs, left[best])
            if near < far or (near == far and _size(pod) <= _size(left[best])):
                best = index
        chosen.append(left[best])
        needs = _without(needs, [left[best]])
        left[best] = left[-1]
        left.pop()
    return chosen


def _distance(needs: Needs, pod: Object) -> float:
    rest = ((amount - request_of(pod, name)) / amount for name, amount in needs.items())
    return sum(part**2 for part in rest if part > 0)


def _size(pod: Object) -> tuple[int, int]:
    return request_of(pod, "memory"), request_of(pod, "cpu")
