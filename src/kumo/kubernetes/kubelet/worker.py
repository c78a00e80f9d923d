"""One pod's worker: looks, decides, acts, says; until the pod is gone.

It is woken by changes of the pod object, by containerd's events, by probes and by time. It works on one thing at a
time; only the wish to end the pod interrupts it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Object, is_deleting, name_of, namespace_of, parse_timestamp, timestamp, uid_of
from kumo.api.resources import NODES, PODS
from kumo.host.containerd.rpc import EngineError
from kumo.kubernetes.kubelet import resizer
from kumo.kubernetes.kubelet.actions import PodActions, StartFailed
from kumo.kubernetes.kubelet.admission import Refusal
from kumo.kubernetes.kubelet.backoff import Backoff
from kumo.kubernetes.kubelet.conditions import OWNED, RESIZE
from kumo.kubernetes.kubelet.ending import Ending
from kumo.kubernetes.kubelet.events import WARNING
from kumo.kubernetes.kubelet.images import duration
from kumo.kubernetes.kubelet.live_references import LiveReferences, mounted
from kumo.kubernetes.kubelet.phase import FAILED, TERMINAL
from kumo.kubernetes.kubelet.plan import Plan, make_plan, reset_order, restart_for_resize, sandbox_changed
from kumo.kubernetes.kubelet.podstate import Observer, PodState
from kumo.kubernetes.kubelet.probes import Prober
from kumo.kubernetes.kubelet.resizing import Resize, plan_resize, with_actuated
from kumo.kubernetes.kubelet.resources import qos_class
from kumo.kubernetes.kubelet.restarts import restarts_all
from kumo.kubernetes.kubelet.spec import (
    Container,
    every_container,
    find_container,
    full_name,
    grace_period,
    host_network,
    is_static,
)
from kumo.kubernetes.kubelet.stats.families import rejection_class
from kumo.kubernetes.kubelet.status import Trouble, View, make_status
from kumo.kubernetes.kubelet.status_writer import StatusWriter
from kumo.kubernetes.kubelet.volumes.manager import FailedVolume, Volume
from kumo.machinery.client import Client

_log = structlog.get_logger("kumo.kubelet")

_RETRY_BASE, _RETRY_CEILING = 0.2, 10.0
_RESIZE_RETRY = 10.0
_SETTLE = 0.01
"""Seconds until containerd is asked again whether it has noticed what its event said."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What all workers of a kubelet share."""

    client: Client
    actions: PodActions
    observer: Observer
    writer: StatusWriter
    crashes: Backoff
    released: Callable[[str], None]
    """Hears of each pod (its uid) that uses nothing any more."""
    live: LiveReferences
    published: Callable[[Object], Object | None] = lambda pod: pod
    """The object that shows a pod: itself, or a static pod's mirror."""
    make_room: Callable[[Object, Refusal], Awaitable[Refusal | None]] | None = None
    """Takes a pod after all for which others can end, or says why not."""


class PodWorker:
    """The worker of the pod with that uid. `run` returns when nothing is left of the pod."""

    def __init__(self, pod: Object, shared: Shared) -> None:
        self.uid = uid_of(pod)
        self.state = PodState()
        self._pod = pod
        self._shared = shared
        self._gone = False
        self._ended = False
        self._wake = asyncio.Event()
        self._interrupt = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._status: dict[str, Any] = {}
        self._troubles: dict[str, Trouble] = {}
        self._exits: set[str] = set()
        self._volumes: Mapping[str, Volume] | None = None
        self._refreshed = time.monotonic()
        self._retry = 0.0
        self._outdated = False
        self._cause: Ending | None = None
        self.over = asyncio.Event()
        """Set once nothing of the pod runs any more, and what it used is free."""
        tools = shared.actions.tools
        self._kind = "create"
        tools.times.seen(pod)
        self.prober = Prober(tools.engine.runtime, tools.events, self.wake, tools.probes)
        self.wake()

    # -- what is told to it -----------------------------------------------------------------------------------------

    @property
    def pod(self) -> Object:
        """The pod object as it was last seen."""
        return self._pod

    @property
    def status(self) -> Mapping[str, Any]:
        """The newest status, written or about to be."""
        return self._status

    def wake(self) -> None:
        """Look again."""
        self._wake.set()

    def update(self, pod: Object | None) -> None:
        """The pod object has changed, or (None) is no longer there."""
        before = (self._ending, self._grace)
        if pod is None:
            self._gone = True
        else:
            if any(pod["metadata"].get(k) != self._pod["metadata"].get(k) for k in ("labels", "annotations")):
                self._outdated = True  # files of the downward API show them
            self._pod = pod
        if self._ending and before != (self._ending, self._grace):
            self._interrupt.set()
        self._kind = "update"
        self.wake()

    def outdated(self) -> None:
        """An object that the pod has mounted is another one now."""
        self._outdated = True
        self.wake()

    def exited(self, container: str) -> None:
        """containerd said that a container's process has ended."""
        self._exits.add(container)
        self.wake()

    def evict(self, reason: str, message: str, *, for_node: bool, grace: float = 1.0) -> None:
        """End the pod, as Failed; `for_node`: the node is short of something, which is no fault of the pod."""
        self.end(Ending(reason, message, timestamp(), message if for_node else "", grace), event=reason)

    def end(self, cause: Ending, *, event: str = "") -> None:
        """End the pod before its time; `event` is the reason of an event that says so, if there is to be one."""
        if self._cause is None and not self._ended and self._status.get("phase") not in TERMINAL:
            if event:
                self._shared.actions.tools.events.record(self._pod, WARNING, event, cause.message)
            self._cause = cause
            self._interrupt.set()
            self.wake()

    @property
    def is_evicted(self) -> bool:
        """Whether the pod is being ended by `end`."""
        return self._cause is not None and not self._ended

    @property
    def runs(self) -> bool:
        """Whether something of the pod runs, and nobody has told it to end."""
        return self._cause is None and not self._ending and not self._ended and self.state.any_running

    @property
    def _ending(self) -> bool:
        return self._gone or is_deleting(self._pod)

    @property
    def _grace(self) -> float:
        if self._gone and not is_deleting(self._pod):
            return 0.0
        wanted = float(grace_period(self._pod))
        return wanted if self._cause is None else min(wanted, self._cause.seconds(wanted))

    # -- the loop ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until the pod has ended and is forgotten."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                self._interrupt.clear()
                step = self._end if self._ending else self._sync
                if await self._interruptible(step):
                    return
        finally:
            self.prober.stop()
            if self._timer is not None:
                self._timer.cancel()

    async def _interruptible(self, step: Callable[[], Awaitable[bool]]) -> bool:
        """Run a step unless the pod is to end meanwhile; whether the pod is done with."""
        work = asyncio.ensure_future(self._guarded(step))
        interrupt = asyncio.ensure_future(self._interrupt.wait())
        try:
            await asyncio.wait([work, interrupt], return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                work.cancel()
                await asyncio.wait([work])
                self.wake()
                return False
            return work.result()
        finally:
            interrupt.cancel()
            if not work.done():
                work.cancel()
                await asyncio.wait([work])

    async def _guarded(self, step: Callable[[], Awaitable[bool]]) -> bool:
        began, kind = time.monotonic(), "kill" if self._ending else self._kind
        self._kind = "sync"
        try:
            done = await step()
            self._shared.actions.tools.times.stepped(self.uid, kind, began)
            self._retry = 0.0
            return done
        except (EngineError, StatusError, OSError, TimeoutError) as error:
            self._retry = min(max(self._retry * 2, _RETRY_BASE), _RETRY_CEILING)
            _log.info("pod will be retried", pod=full_name(self._pod), error=str(error), delay=self._retry)
            self._wake_after(self._retry)
        except FailedVolume as error:
            self._retry = min(max(self._retry * 2, 0.5), _RETRY_CEILING)
            _log.info("volumes are not ready", pod=full_name(self._pod), error=str(error))
            self._say_without_image(error)
            self._wake_after(self._retry)
        except Exception:
            _log.exception("pod worker failed", pod=full_name(self._pod))
            self._wake_after(5.0)
        return False

    def _say_without_image(self, error: FailedVolume) -> None:
        """Let the containers that mount the volume wait for its image, for the same reasons as for their own."""
        if error.no_image is None:
            return
        trouble = Trouble(error.no_image.reason, error.no_image.message)
        for container in every_container(self._pod):
            if any(m["name"] == error.name for m in container.get("volumeMounts") or ()):
                self._troubles[container["name"]] = trouble
        self._say(self._pod, self.state)

    def _wake_after(self, delay: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + delay
        if self._timer is not None:  # one that is overdue counts too: it rings when the loop comes to it
            if self._due <= due:
                return
            self._timer.cancel()
        self._due = due
        self._timer = loop.call_at(due, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self.wake()

    # -- a pod that is to run ---------------------------------------------------------------------------------------

    async def _sync(self) -> bool:
        pod = self._pod
        if self._ended or (pod.get("status") or {}).get("phase") in TERMINAL:
            await self._finish()
            return False
        if not await self._admit(pod):
            await self._finish()
            return False
        allocations = self._shared.actions.tools.allocations
        allocations.resize(pod)
        pod = allocations.given(pod)
        state = await self._observe()
        if restarts_all(pod, state, self._status or pod.get("status")):
            await self._restart_all(pod, state)
            return False
        allocations.progress(pod, state)
        status = self._say(pod, state)
        if status["phase"] in TERMINAL or self._evicted() or self._past_deadline(pod, status):
            await self._finish()
            return False
        self.prober.sync(pod, state, self._ips(pod, state))
        plan = make_plan(pod, state, self.prober.health)
        await self._carry_out(pod, state, plan)
        await self._refresh_volumes(pod, state)
        return False

    async def _admit(self, pod: Object) -> bool:
        """Whether the node takes the pod; if not, its status and an event say why."""
        tools = self._shared.actions.tools
        refusal = None
        if tools.placement.waits(pod):
            state = await self._observe()
            refusal = await tools.placement.admit(pod, {c.name for c in state.containers if c.running})
            if refusal is not None and state.sandboxes:
                # It ran before the node lost its devices.
                await self._shared.actions.stop_pod(pod, state, float(grace_period(pod)))
                await self._shared.actions.release(self.uid)
        refusal = refusal or tools.allocations.admit(pod)
        if refusal is not None and refusal.reason == "NodeAffinity":
            # The node may have got its labels a moment ago.
            tools.allocations.refresh(await self._shared.client.get(NODES, tools.config.node_name))
            refusal = tools.allocations.admit(pod)
        if refusal is not None and self._shared.make_room is not None:
            refusal = await self._shared.make_room(pod, refusal)
        if refusal is None:
            return True
        tools.placement.forget(self.uid)
        tools.events.record(pod, WARNING, refusal.reason, refusal.message)
        tools.meter.count("kubelet_admission_rejections_total", rejection_class(refusal.reason))
        message = f"Pod was rejected: {refusal.message}"
        self._status = {
            "phase": FAILED,
            "reason": refusal.reason,
            "message": message,
            "qosClass": qos_class(pod),
            "conditions": [],
            "startTime": (pod.get("status") or {}).get("startTime") or timestamp(),
        }
        generation = pod["metadata"].get("generation")
        if generation is not None:
            self._status["observedGeneration"] = generation
        self._write(pod, self._status)
        self._ended = True
        return False

    async def _restart_all(self, pod: Object, state: PodState) -> None:
        """Remove all containers, so that the pod begins anew in its sandbox."""
        self._say(pod, state)
        for found in reset_order(pod, state):
            await self._shared.actions.reset(pod, found)
            self._troubles.pop(found.name, None)
        self._say(pod, await self._observe())
        self.wake()

    async def _observe(self) -> PodState:
        state = await self._shared.observer.observe(self.uid)
        # containerd tells of an exit a moment before its CRI part knows, of a quick one before it shows the start.
        self._exits -= {c.id for c in state.containers if c.exited} | {s.id for s in state.sandboxes if not s.ready}
        if any(c.running and c.id in self._exits for c in state.containers) or any(
            s.id in self._exits for s in state.sandboxes
        ):
            self._wake_after(_SETTLE)
        self.state = state
        return state

    async def _carry_out(self, pod: Object, state: PodState, plan: Plan) -> None:
        actions = self._shared.actions
        book = actions.tools.allocations.book(self.uid)
        resize = plan_resize(pod, state, book.actuated) if book is not None else Resize()
        restart_for_resize(pod, plan, resize)
        for kill in plan.kill:
            grace = self._probe_grace(pod, kill.container.name, kill.reason)
            await actions.stop_container(pod, kill.container, grace, kill.message, self._ips(pod, state))
        if plan.kill_pod:
            await actions.stop_pod(pod, state, float(grace_period(pod)))
            self.wake()
        if plan.create_sandbox:
            if plan.kill_pod:
                actions.sandbox_changed_event(pod)
                await actions.prune_sandboxes(state)
            self._volumes = await self._prepare_volumes(pod, state)
            await actions.create_sandbox(pod, plan.attempt)
            state = await self._observe()
            if sandbox_changed(pod, state):
                self.wake()
                return
            self._say(pod, state)
        elif plan.kill:
            state = await self._observe()
        for container in plan.debug:
            if await self._start(pod, container, state):
                self.wake()
        if not (plan.kill_pod or plan.create_sandbox):
            await self._resize(pod, state, resize)
        for container in plan.start:
            if await self._start(pod, container, state):
                self.wake()
        if plan.start:
            await actions.prune(state)

    async def _prepare_volumes(self, pod: Object, state: PodState) -> Mapping[str, Volume]:
        self._shared.live.want(self.uid, mounted(pod))
        return await self._shared.actions.prepare_volumes(pod, self._ips(pod, state))

    async def _resize(self, pod: Object, state: PodState, resize: Resize) -> None:
        """Give the containers that run what the pod was given."""
        tools = self._shared.actions.tools
        book = tools.allocations.book(self.uid)
        if resize.empty or book is None:
            return
        why = await resizer.carry_out(tools, pod, book, resize)
        if why:
            tools.allocations.failed(pod, why)
            self._wake_after(_RESIZE_RETRY)
        else:
            tools.allocations.progress(pod, state)
        self._say(pod, state)

    def _probe_grace(self, pod: Object, name: str, reason: str) -> float:
        field = "livenessProbe" if reason == "LivenessProbe" else "startupProbe"
        probe = (find_container(pod, name) or {}).get(field) or {}
        own = probe.get("terminationGracePeriodSeconds")
        return float(grace_period(pod) if own is None else own)

    async def _start(self, pod: Object, container: Container, state: PodState) -> bool:
        """Start a container unless it has to wait; whether something has changed."""
        name = container["name"]
        last = state.container(name)
        key = (self.uid, name, container.get("image"), str(container.get("resources")))
        crashes = self._shared.crashes
        if last is not None and last.exited:
            wait = crashes.remaining(key, last.finished_at)
            if wait > 0:
                self._wake_after(wait)
                return self._crash_looping(pod, container, crashes.delay(key))
        if self._volumes is None or any(m["name"] not in self._volumes for m in container.get("volumeMounts") or ()):
            self._volumes = await self._prepare_volumes(pod, state)
        if last is not None and last.exited:
            crashes.next(key, last.finished_at)
        restarts = self._restarts(pod, name, state)
        try:
            await self._shared.actions.start_container(
                pod, container, state, self._volumes, restarts, self._ips(pod, state)
            )
        except StartFailed as error:
            return self._start_failed(pod, name, error)
        self._troubles.pop(name, None)
        return True

    def _start_failed(self, pod: Object, name: str, error: StartFailed) -> bool:
        trouble = Trouble(error.reason, error.message)
        before = self._troubles.get(name)
        self._troubles[name] = trouble
        self._wake_after(error.retry or (0.5 if error.reason == "RunContainerError" else 3.0))
        if before != trouble:
            self._say(pod, self.state)
        return False

    def _crash_looping(self, pod: Object, container: Container, delay: float) -> bool:
        name = container["name"]
        text = f"back-off {duration(delay)} restarting failed container={name} pod={full_name(pod)}"
        trouble = Trouble("CrashLoopBackOff", text)
        if self._troubles.get(name) != trouble:
            self._troubles[name] = trouble
            self._shared.actions.back_off_event(pod, container)
            self._say(pod, self.state)
        return False

    def _restarts(self, pod: Object, name: str, state: PodState) -> int:
        last = state.container(name)
        old = self._status or pod.get("status") or {}
        if last is not None:
            return last.restarts + 1
        for entry in [*(old.get("containerStatuses") or ()), *(old.get("initContainerStatuses") or ())]:
            if entry["name"] == name:
                return int(entry.get("restartCount") or 0) + bool(entry.get("containerID"))
        return 0

    async def _refresh_volumes(self, pod: Object, state: PodState) -> None:
        interval = self._shared.actions.tools.config.resync_seconds
        now = time.monotonic()
        if self._outdated or now - self._refreshed >= interval:
            self._refreshed = now
            if state.any_running:
                self._outdated = False
                await self._shared.actions.refresh_volumes(pod, self._ips(pod, state))
        self._wake_after(self._refreshed + interval - now)

    def _evicted(self) -> bool:
        found = self._cause
        if found is None:
            return False
        # Not in place: what was said a moment ago may still wait to be written, and the pod runs yet.
        self._status = self._status | {"phase": FAILED, "reason": found.reason, "message": found.message}
        return True

    def _past_deadline(self, pod: Object, status: dict[str, Any]) -> bool:
        seconds = pod["spec"].get("activeDeadlineSeconds")
        if seconds is None:
            return False
        left = parse_timestamp(status["startTime"]) + float(seconds) - time.time()
        if left > 0:
            self._wake_after(left)
            return False
        text = "Pod was active on the node longer than the specified deadline"
        self._shared.actions.tools.events.record(pod, "Normal", "DeadlineExceeded", text)
        self._status = self._status | {"phase": FAILED, "reason": "DeadlineExceeded", "message": text}
        return True

    # -- what is said of it -----------------------------------------------------------------------------------------

    def _ips(self, pod: Object, state: PodState) -> tuple[str, ...]:
        if host_network(pod):
            return self._shared.actions.tools.config.node_ips
        box = state.sandbox
        return box.ips if box is not None else ()

    def _say(self, pod: Object, state: PodState, *, terminal: bool = False) -> dict[str, Any]:
        """Make the pod's status from what is known and have it written."""
        tools = self._shared.actions.tools
        pod = tools.allocations.given(pod)
        book = tools.allocations.book(self.uid)
        self.prober.seed(pod, state)
        view = View(
            state=state,
            health=self.prober.health,
            troubles=self._troubles,
            host_ips=tools.config.node_ips,
            terminal=terminal,
            actuated=book.actuated["containers"] if book else {},
            has=with_actuated(pod, book.actuated) if book else None,
            resize=tuple(book.conditions.values()) if book and not terminal else (),
            device_health=tools.claims.health(pod, tools.devices.health(self.uid)),
            restarting=not terminal and restarts_all(pod, state, self._status or pod.get("status")),
        )
        # The informer may be behind what was written last: the kubelet's own part is what it said itself.
        seen = pod.get("status") or {}
        others = list(seen.get("conditions") or ())
        if self._status:
            others = [c for c in others if c["type"] not in OWNED + RESIZE]
            mine = [c for c in self._status["conditions"] if c["type"] in OWNED + RESIZE]
            seen = seen | self._status | {"conditions": mine + others}
        for target in self._cause.conditions(pod["metadata"].get("generation")) if self._cause is not None else ():
            rest = [c for c in seen.get("conditions") or () if c["type"] != target["type"]]
            seen = seen | {"conditions": [*rest, target]}
        status = make_status({**pod, "status": seen}, view, time.time())
        if status["phase"] in TERMINAL and not terminal and state.any_running:
            # Published only once nothing runs any more: sidecars are still to be stopped.
            self._write(pod, {**status, "phase": seen.get("phase") or "Pending"})
            return status
        if not self._gone:
            self._write(pod, status)
        self._status = status
        return status

    def _write(self, pod: Object, status: dict[str, Any]) -> None:
        shown = self._shared.published(pod)
        if shown is not None:
            self._shared.writer.set(shown, status)

    # -- a pod that ends --------------------------------------------------------------------------------------------

    async def _finish(self) -> None:
        """Its containers have ended (or its time is over): stop what is left, free what it used, say how it ended."""
        state = await self._observe()
        if not self._ended:
            if state.any_running or any(s.ready for s in state.sandboxes):
                await self._shared.actions.stop_pod(self._pod, state, self._grace)
                state = await self._observe()
            self._say(self._pod, state, terminal=True)
            await self._shared.actions.release(self.uid)
            self._volumes = None
            self._shared.live.want(self.uid, set())
            self._ended = True
            self._shared.released(self.uid)
        elif is_static(self._pod):
            self._write(self._pod, self._status)  # there may be another mirror now
        self.prober.stop()
        self.over.set()

    async def _end(self) -> bool:
        """The pod is being deleted: stop it, clean up, and let the object go."""
        pod, actions = self._pod, self._shared.actions
        state = await self._observe()
        self.prober.sync(pod, state, self._ips(pod, state))
        if state.any_running or any(s.ready for s in state.sandboxes):
            await actions.stop_pod(pod, state, self._grace)
            state = await self._observe()
            if state.any_running:
                self._wake_after(_SETTLE)
                return False
        self.prober.stop()
        if not self._gone:
            self._say(pod, state, terminal=True)
            await self._shared.writer.flush(self.uid)
        await actions.forget(self.uid, state)
        self._shared.crashes.forget_pod(self.uid)
        if not self._gone and not is_static(pod):
            try:
                await self._shared.client.delete(PODS, name_of(pod), namespace_of(pod), grace_period=0, uid=self.uid)
            except StatusError as error:
                if not is_not_found(error) and error.reason != "Conflict":
                    raise
        self._shared.writer.forget(self.uid)
        self._shared.live.want(self.uid, set())
        self._shared.released(self.uid)
        self.over.set()
        return True
