"""How changes of objects reach the scheduler: into its cache, and to the waiting pods that they could help."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from kumo.api.objects import Key, Object, is_deleting, key_of, labels_of, name_of, uid_of
from kumo.api.pod_requests import pod_requests
from kumo.kubernetes.scheduler.cache import Cache
from kumo.kubernetes.scheduler.cluster_events import Action, Happening, Resource, node_actions, pod_actions
from kumo.kubernetes.scheduler.nodes import TERMINAL_PHASES
from kumo.kubernetes.scheduler.profile import DEFAULT_NAME, Profile
from kumo.kubernetes.scheduler.queue import SchedulingQueue

Handler = Callable[[Object | None, Object | None], None]


def scheduler_of(pod: Object) -> str:
    """The name of the scheduler that the pod wants."""
    return (pod.get("spec") or {}).get("schedulerName") or DEFAULT_NAME


def wants_node(pod: Object) -> bool:
    """Whether the pod waits for some scheduler: unbound, not over, not on its way out."""
    return not (pod.get("spec") or {}).get("nodeName") and not is_deleting(pod) and not has_ended(pod)


def has_ended(pod: Object) -> bool:
    """Whether the pod has run to its end and holds nothing any more."""
    return (pod.get("status") or {}).get("phase") in TERMINAL_PHASES


def is_gated(pod: Object) -> bool:
    """Whether something else must happen before the pod may be scheduled."""
    return bool((pod.get("spec") or {}).get("schedulingGates"))


def asks_for_less(old: Object, new: Object) -> bool:
    """Whether a pod asks for less of something than before."""
    before, after = pod_requests(old), pod_requests(new)
    return any(value > after.get(name, 0) for name, value in before.items())


@dataclass(slots=True)
class Watching:
    """Handlers for informers. `pending` says where each waiting pod is found."""

    cache: Cache
    queue: SchedulingQueue
    profiles: Mapping[str, Profile]
    pending: dict[str, Key] = field(default_factory=dict)

    def pod_changed(self, old: Object | None, new: Object | None) -> None:
        """A pod was added, changed or deleted."""
        if new is None:
            if old is not None:
                self._pod_gone(old)
            return
        uid = uid_of(new)
        placed_before = self.cache.is_placed(uid)
        self.cache.set_pod(new)
        if wants_node(new):
            self._pod_waits(old, new)
            return
        self._drop(uid)
        if not self.cache.is_placed(uid):
            if placed_before or (old is not None and wants_node(old)):
                self._tell(Resource.POD, Action.DELETE, new, None)
        elif not placed_before or old is None or not (old.get("spec") or {}).get("nodeName"):
            self._tell(Resource.POD, Action.ADD, None, new)
        elif action := pod_actions(old, new, asks_for_less):
            self._tell(Resource.POD, action, old, new)

    def node_changed(self, old: Object | None, new: Object | None) -> None:
        """A node was added, changed or deleted."""
        if new is None:
            if old is not None:
                self.cache.remove_node(name_of(old))
                self._tell(Resource.NODE, Action.DELETE, old, None)
            return
        known = old if old is not None and name_of(old) in self.cache.nodes else None
        action = Action.ADD if known is None else node_actions(known, new)
        if known is None or _seen(known) != _seen(new):
            self.cache.set_node(new)
        else:  # a heartbeat
            self.cache.nodes[name_of(new)].node = new
        if action:
            self._tell(Resource.NODE, action, known, new)

    def handler(self, resource: Resource) -> Handler:
        """A handler for objects of another kind."""
        return partial(self._changed, resource)

    def _changed(self, resource: Resource, old: Object | None, new: Object | None) -> None:
        action = Action.DELETE if new is None else Action.ADD if old is None else Action.UPDATE
        self._tell(resource, action, old, new)

    def _tell(self, resource: Resource, action: Action, old: Object | None, new: Object | None) -> None:
        self.queue.happened(Happening(resource, action, old, new))

    def _pod_waits(self, old: Object | None, new: Object) -> None:
        uid, name = uid_of(new), scheduler_of(new)
        profile = self.profiles.get(name)
        if profile is None or self.cache.is_placed(uid):
            return
        if profile.gates and is_gated(new):
            self._drop(uid)
            return
        priority = int((new.get("spec") or {}).get("priority") or 0)
        if uid not in self.pending:
            self.pending[uid] = key_of(new)
            self.queue.add(uid, priority, new, name)
        elif old is not None:
            action = pod_actions(old, new, asks_for_less)
            self.queue.changed_itself(uid, priority, Happening(Resource.POD, action, old, new))

    def _pod_gone(self, pod: Object) -> None:
        uid = uid_of(pod)
        mattered = self.cache.is_placed(uid) or uid in self.cache.nominated
        self.cache.remove_pod(uid)
        self._drop(uid)
        if mattered:
            self._tell(Resource.POD, Action.DELETE, pod, None)

    def _drop(self, uid: str) -> None:
        self.pending.pop(uid, None)
        self.queue.remove(uid)


def _seen(node: Object) -> tuple[object, ...]:
    """What the cache works out of a node."""
    status = node.get("status") or {}
    return node.get("spec"), labels_of(node), status.get("allocatable"), status.get("images")
