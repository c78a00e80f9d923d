"""Which pods a hollow node refuses, as the kubelet does on its own when a pod comes that does not fit. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kumo.api.objects import Object, uid_of
from kumo.api.pod_requests import Amounts, amounts, host_ports, pod_requests, ports_conflict

ACCEPTED = ("", "")


def refusal(pod: Object, others: Iterable[Object], capacity: Mapping[str, str]) -> tuple[str, str]:
    """Why the node does not take the pod beside `others` (its running pods): reason and message; empty if it does."""
    there = [o for o in others if uid_of(o) != uid_of(pod)]
    mine = host_ports(pod)
    if mine and ports_conflict(mine, (p for o in there for p in host_ports(o))):
        return "NodePorts", "Predicate NodePorts failed"
    room = amounts(capacity)
    most = room.get("pods", 0)
    if len(there) + 1 > most:
        return (
            "OutOfpods",
            f"Node didn't have enough resource: pods, requested: 1, used: {len(there)}, capacity: {most}",
        )
    wanted = {name: value for name, value in pod_requests(pod).items() if value}
    used: Amounts = {}
    for other in there if wanted else ():
        for name, value in pod_requests(other).items():
            used[name] = used.get(name, 0) + value
    for name, value in wanted.items():
        total, taken = room.get(name, 0), used.get(name, 0)
        if value > total - taken:
            text = f"Node didn't have enough resource: {name}, requested: {value}, used: {taken}, capacity: {total}"
            return f"OutOf{name}", text
    return ACCEPTED
