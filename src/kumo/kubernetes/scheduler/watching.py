"""How changes of objects reach the scheduler: into its cache, and to the waiting pods that they could help."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kumo.api.objects import Key, Object, is_deleting, key_of, labels_of, name_of, uid_of
from kumo.kubernetes.scheduler.filters import Change
from kumo.kubernetes.scheduler.nodes import TERMINAL_PHASES, Cache
from kumo.kubernetes.scheduler.queue import SchedulingQueue


def wants_node(pod: Object, scheduler_name: str) -> bool:
    """Whether the pod waits for this scheduler: unbound, running, not gated, not on its way out."""
    spec = pod.get("spec") or {}
    return (
        not spec.get("nodeName")
        and not spec.get("schedulingGates")
        and (spec.get("schedulerName") or "default-scheduler") == scheduler_name
        and not is_deleting(pod)
        and not has_ended(pod)
    )


def has_ended(pod: Object) -> bool:
    """Whether the pod has run to its end and holds nothing any more."""
    return (pod.get("status") or {}).get("phase") in TERMINAL_PHASES


def node_matters(old: Object | None, new: Object) -> bool:
    """Whether a node changed in a way that decisions look at (heartbeats do not)."""
    return old is None or _seen_of(old) != _seen_of(new)


def _seen_of(node: Object) -> tuple[Any, ...]:
    spec, status = node.get("spec") or {}, node.get("status") or {}
    return (labels_of(node), spec.get("taints"), spec.get("unschedulable"), status.get("allocatable"))


@dataclass(slots=True)
class Watching:
    """Handlers for the informers of pods and nodes. `pending` says where each waiting pod is found."""

    cache: Cache
    queue: SchedulingQueue
    scheduler_name: str
    pending: dict[str, Key] = field(default_factory=dict)

    def pod_changed(self, old: Object | None, new: Object | None) -> None:
        """A pod was added, changed or deleted."""
        if new is None:
            if old is not None:
                self._pod_gone(old)
            return
        placed_before = self.cache.is_placed(uid_of(new))
        self.cache.set_pod(new)
        if wants_node(new, self.scheduler_name):
            self._pod_waits(old, new)
            return
        self._drop(uid_of(new))
        if self.cache.is_placed(uid_of(new)):
            if not placed_before or old is None or labels_of(old) != labels_of(new):
                self.queue.changed(Change.POD_PLACED)
        elif placed_before:
            self.queue.changed(Change.POD_GONE)

    def node_changed(self, old: Object | None, new: Object | None) -> None:
        """A node was added, changed or deleted."""
        if new is None:
            if old is not None:
                self.cache.remove_node(name_of(old))
            return
        self.cache.set_node(new)
        if node_matters(old, new):
            self.queue.changed(Change.NODE)

    def volume_changed(self, old: Object | None, new: Object | None) -> None:
        """A claim, a volume or a storage class was added, changed or deleted."""
        self.queue.changed(Change.VOLUME)

    def _pod_waits(self, old: Object | None, new: Object) -> None:
        uid = uid_of(new)
        if self.cache.is_placed(uid):
            return
        changed = old is None or old.get("spec") != new.get("spec") or labels_of(old) != labels_of(new)
        if uid not in self.pending or changed:
            self.pending[uid] = key_of(new)
            self.queue.add(uid, int((new.get("spec") or {}).get("priority") or 0))

    def _pod_gone(self, pod: Object) -> None:
        placed = self.cache.is_placed(uid_of(pod))
        self.cache.remove_pod(uid_of(pod))
        self._drop(uid_of(pod))
        if placed:
            self.queue.changed(Change.POD_GONE)

    def _drop(self, uid: str) -> None:
        self.pending.pop(uid, None)
        self.queue.remove(uid)
