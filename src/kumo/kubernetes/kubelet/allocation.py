"""What resources each pod was given on this node, what its containers have, and what is said of a resize.

A pod's books are a file in its directory (`allocation.json`), so that a restarted kubelet neither forgets a resize nor
refuses a pod that runs already. Upstream: `pkg/kubelet/allocation`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from kumo.api.objects import Object, timestamp, uid_of
from kumo.kubernetes.kubelet.admission import Refusal, judge, lacking, shortages
from kumo.kubernetes.kubelet.events import NORMAL, WARNING, PodEvents
from kumo.kubernetes.kubelet.phase import TERMINAL
from kumo.kubernetes.kubelet.podstate import PodState
from kumo.kubernetes.kubelet.resizing import Resources, differs, in_progress, resources_of, summary, with_resources
from kumo.kubernetes.kubelet.sysctls import Allowlist

PENDING, IN_PROGRESS = "PodResizePending", "PodResizeInProgress"
_FILE = "allocation.json"


class Book:
    """One pod's resources and the conditions about its resize."""

    def __init__(self, allocated: Resources, actuated: Resources | None = None) -> None:
        self.allocated = allocated
        self.actuated: Resources = actuated or {"containers": {}, "pod": allocated.get("pod")}
        self.conditions: dict[str, dict[str, Any]] = {}

    def condition(self, kind: str, reason: str, message: str, generation: int) -> bool:
        """Set a condition; whether it is another one than before."""
        old = self.conditions.get(kind)
        new = {"type": kind, "status": "True", "lastProbeTime": None, "observedGeneration": generation}
        new |= {k: v for k, v in (("reason", reason), ("message", message)) if v}
        same = old is not None and old.get("reason") == new.get("reason")
        new["lastTransitionTime"] = old["lastTransitionTime"] if old is not None and same else timestamp()
        self.conditions[kind] = new
        return old is None or any(old.get(k) != new.get(k) for k in ("reason", "observedGeneration"))


class Allocations:
    """The books of all pods of this node.

    `pods` gives the pods that are bound here, `node` the Node object as far as it is known.
    """

    def __init__(
        self,
        root: Path,
        events: PodEvents,
        pods: Callable[[], Iterable[Object]],
        node: Callable[[], Object | None],
        *,
        apparmor: bool = False,
        allowed: Allowlist | None = None,
    ) -> None:
        self._root = root
        self._events = events
        self._pods = pods
        self._node = node
        self._apparmor = apparmor
        self._allowed = allowed or Allowlist()
        self._books: dict[str, Book] = {}
        self._fresher: Object | None = None
        self.pressure: Callable[[Object], Refusal | None] = lambda pod: None
        """Why a pod is not taken while the node is short of something."""
        self.roomy: Callable[[Object, Object], Object] = lambda pod, node: node
        """The Node as it is for a pod that was given devices of it already."""

        self.unresizable: Callable[[Object, Object], str] = lambda old, new: ""
        """Why a pod (as it has its resources, and as it wants them) can't be resized, if so."""

    def refresh(self, node: Object) -> None:
        """Here is the Node as the API server has it, in case what `node` gave is older."""
        self._fresher = node

    def _seen(self) -> Object | None:
        known, fresher = self._node(), self._fresher
        if known is None or fresher is None:
            return known or fresher
        versions = [int(n["metadata"].get("resourceVersion") or 0) for n in (known, fresher)]
        return known if versions[0] >= versions[1] else fresher

    def book(self, uid: str) -> Book | None:
        """The pod's book, if it was admitted."""
        return self._books.get(uid)

    def given(self, pod: Object) -> Object:
        """The pod with the resources that it was given."""
        book = self._books.get(uid_of(pod))
        return pod if book is None else with_resources(pod, book.allocated)

    def admit(self, pod: Object) -> Refusal | None:
        """Take the pod, or say why not. One that ran under the kubelet before this one is taken as it is."""
        uid = uid_of(pod)
        if uid in self._books:
            return None
        known = self._load(uid)
        if known is None and (pod.get("status") or {}).get("phase") == "Running":
            known = Book(resources_of(pod))
        if known is not None:
            self._books[uid] = known
            for found in (pod.get("status") or {}).get("conditions") or ():
                if found.get("type") in (PENDING, IN_PROGRESS):
                    known.conditions[found["type"]] = dict(found)
            return None
        short = self.pressure(pod)
        if short is not None:
            return short
        node = self._seen()
        if node is not None:
            refusal = judge(
                pod, self.roomy(pod, node), self._others(uid), apparmor=self._apparmor, allowed=self._allowed
            )
            if refusal is not None:
                return refusal
        self._books[uid] = Book(resources_of(pod))
        self._save(uid)
        return None

    def missing(self, pod: Object) -> dict[str, int]:
        """What the node has too little of for the pod, by resource: how much."""
        node = self._seen()
        if node is None:
            return {}
        return {s.resource: s.missing for s in shortages(pod, self.roomy(pod, node), self._others(uid_of(pod)))}

    def resize(self, pod: Object) -> None:
        """Give the pod what its spec asks for now, if the node has it; else note that it has to wait."""
        uid = uid_of(pod)
        book = self._books[uid]
        generation = int(pod["metadata"].get("generation") or 0)
        if not differs(pod, book.allocated):
            book.conditions.pop(PENDING, None)
            return
        why = self.unresizable(with_resources(pod, book.allocated), pod)
        if why:
            if book.condition(PENDING, "Infeasible", why, generation):
                text = f"Pod resize Infeasible: {summary(pod, generation, why)}"
                self._events.record(pod, WARNING, "ResizeInfeasible", text)
            return
        node = self._seen()
        refusal = lacking(pod, self.roomy(pod, node), self._others(uid)) if node is not None else None
        if refusal is not None:
            if book.condition(PENDING, "Deferred", refusal.message, generation):
                text = f"Pod resize Deferred: {summary(pod, generation, refusal.message)}"
                self._events.record(pod, WARNING, "ResizeDeferred", text)
            return
        book.allocated = resources_of(pod)
        book.conditions.clear()
        book.condition(IN_PROGRESS, "", "", generation)
        self._save(uid)
        text = f"Pod resize started: {summary(pod, generation)}"
        self._events.record(pod, NORMAL, "ResizeStarted", text)

    def progress(self, pod: Object, state: PodState) -> None:
        """Note whether the pod (with what it was given) is still being resized."""
        book = self._books[uid_of(pod)]
        found = book.conditions.get(IN_PROGRESS)
        if in_progress(pod, state, book.actuated):
            if found is None:
                book.condition(IN_PROGRESS, "", "", int(pod["metadata"].get("generation") or 0))
        elif found is not None:
            del book.conditions[IN_PROGRESS]
            generation = int(found.get("observedGeneration") or 0)
            text = f"Pod resize completed: {summary(pod, generation)}"
            self._events.record(pod, NORMAL, "ResizeCompleted", text)

    def failed(self, pod: Object, message: str) -> None:
        """Note that the node could not do what it has agreed to; it will try again."""
        book = self._books[uid_of(pod)]
        before = book.conditions.get(IN_PROGRESS) or {}
        generation = int(before.get("observedGeneration") or pod["metadata"].get("generation") or 0)
        if book.condition(IN_PROGRESS, "Error", message, generation):
            text = f"Pod resize error: {summary(pod, generation, message)}"
            self._events.record(pod, WARNING, "ResizeError", text)

    def started(self, pod: Object, name: str) -> None:
        """A container was started with the resources in the pod's spec."""
        given = resources_of(pod)["containers"].get(name)
        if given is not None:
            self.actuate(pod, name, given)

    def actuate(self, pod: Object, name: str, resources: Resources) -> None:
        """A container has these resources now."""
        book = self._books.get(uid_of(pod))
        if book is not None and book.actuated["containers"].get(name) != resources:
            book.actuated["containers"][name] = resources
            self._save(uid_of(pod))

    def actuate_pod(self, pod: Object) -> None:
        """The pod as a whole has the resources in its spec now."""
        book = self._books.get(uid_of(pod))
        wanted = pod["spec"].get("resources")
        if book is not None and book.actuated.get("pod") != wanted:
            book.actuated["pod"] = wanted
            self._save(uid_of(pod))

    def waiting(self) -> list[str]:
        """The uids of the pods whose resize waits for room."""
        return [uid for uid, book in self._books.items() if PENDING in book.conditions]

    def forget(self, uid: str) -> None:
        """The pod uses nothing any more."""
        self._books.pop(uid, None)

    def _others(self, uid: str) -> list[Object]:
        """The pods that were admitted and have not ended."""
        return [
            self.given(p)
            for p in self._pods()
            if uid_of(p) != uid and uid_of(p) in self._books and (p.get("status") or {}).get("phase") not in TERMINAL
        ]

    def _path(self, uid: str) -> Path:
        return self._root / uid / _FILE

    def _load(self, uid: str) -> Book | None:
        try:
            found = msgspec.json.decode(self._path(uid).read_bytes())
            return Book(found["allocated"], found["actuated"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _save(self, uid: str) -> None:
        book = self._books[uid]
        path = self._path(uid)
        fresh = path.with_suffix(".new")
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(msgspec.json.encode({"allocated": book.allocated, "actuated": book.actuated}))
            fresh.replace(path)
