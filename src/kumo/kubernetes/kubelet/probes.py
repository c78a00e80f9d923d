"""Startup, readiness and liveness probes: one task a probe of a running container; what they found is its `Health`.

Upstream: `pkg/kubelet/prober`. Failures count only in a row; readiness and liveness wait for the startup probe.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kumo.api.objects import Object, is_deleting
from kumo.api.pod_resources import is_sidecar
from kumo.host.containerd.cri import RuntimeService
from kumo.host.containerd.rpc import EngineError
from kumo.kubernetes.kubelet import http_check
from kumo.kubernetes.kubelet.env import expand
from kumo.kubernetes.kubelet.events import WARNING, PodEvents
from kumo.kubernetes.kubelet.plan import Health
from kumo.kubernetes.kubelet.podstate import ContainerState, PodState
from kumo.kubernetes.kubelet.spec import Container, all_containers, field_path, init_containers
from kumo.kubernetes.kubelet.stats.probe_metrics import FAILED, SUCCESSFUL, ProbeCounts

GOOD, WARN, BAD, ODD = "success", "warning", "failure", "unknown"
_KINDS = (("startupProbe", "Startup"), ("livenessProbe", "Liveness"), ("readinessProbe", "Readiness"))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one probe found: success, warning (a success), failure, or unknown (which counts as nothing)."""

    kind: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Timing:
    """A probe's numbers, with the API's defaults."""

    initial_delay: float
    period: float
    timeout: float
    successes: int
    failures: int

    @classmethod
    def of(cls, probe: Mapping[str, Any]) -> Timing:
        """The numbers of a `Probe` of v1."""
        return cls(
            float(probe.get("initialDelaySeconds") or 0),
            float(probe.get("periodSeconds") or 10),
            float(probe.get("timeoutSeconds") or 1),
            int(probe.get("successThreshold") or 1),
            int(probe.get("failureThreshold") or 3),
        )


class Prober:
    """The probes of one pod's containers. `changed` is called whenever a verdict changes."""

    def __init__(
        self,
        runtime: RuntimeService,
        events: PodEvents,
        changed: Callable[[], None],
        counts: ProbeCounts,
    ) -> None:
        self._runtime = runtime
        self._counts = counts
        self._events = events
        self._changed = changed
        self._health: dict[str, Health] = {}
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    @property
    def health(self) -> Mapping[str, Health]:
        """What is known of each container, by name."""
        return self._health

    def seed(self, pod: Object, state: PodState) -> None:
        """Take for containers that are new to us what the pod's status says of them, before it is said anew.

        A kubelet that was started again has asked nobody yet: who was ready is ready until a probe says otherwise.
        """
        for container in all_containers(pod):
            found = state.container(container["name"])
            if found is None or not found.running or (container in init_containers(pod) and not is_sidecar(container)):
                continue
            if self._health.get(found.name, Health()).container != found.id:
                self._health[found.name] = _seed(pod, container, found)

    def sync(self, pod: Object, state: PodState, ips: Sequence[str]) -> None:
        """Start the probes of containers that run now, stop those of containers that do not."""
        self.seed(pod, state)
        running: dict[str, ContainerState] = {}
        for container in all_containers(pod):
            found = state.container(container["name"])
            if found is not None and found.running:
                running[container["name"]] = found
        for key in [k for k in self._tasks if k[0] not in {c.id for c in running.values()}]:
            self._tasks.pop(key).cancel()
        ending = is_deleting(pod)
        if ending:
            # A pod that is to end is not started anew: only whether it still serves matters.
            for key in [k for k in self._tasks if k[1] != "readinessProbe"]:
                self._tasks.pop(key).cancel()
        for container in all_containers(pod):
            found = running.get(container["name"])
            if found is None or (container in init_containers(pod) and not is_sidecar(container)):
                continue
            for field, title in _KINDS:
                if field != "readinessProbe" and ending:
                    continue
                if field == "startupProbe" and self._health[found.name].started:
                    continue
                if field in container and (found.id, field) not in self._tasks:
                    work = self._probe(pod, container, found, field, title, tuple(ips))
                    self._tasks[found.id, field] = asyncio.create_task(work, name=f"{title.lower()} probe")

    def stop(self) -> None:
        """Stop all probes."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    async def _probe(
        self, pod: Object, container: Container, found: ContainerState, field: str, title: str, ips: tuple[str, ...]
    ) -> None:
        probe = container[field]
        timing = Timing.of(probe)
        await asyncio.sleep(max(0.0, found.started_at + timing.initial_delay - time.time()))
        good = bad = 0
        while True:
            if field == "startupProbe" or self._health[found.name].started:
                began = time.monotonic()
                verdict = await self._ask(probe, container, found.id, ips, timing.timeout)
                result = SUCCESSFUL if verdict.kind in (GOOD, WARN) else FAILED
                self._counts.count(pod, found.name, title, result, time.monotonic() - began)
                self._say(pod, container, title, verdict)
                if verdict.kind in (GOOD, WARN):
                    good, bad = good + 1, 0
                elif verdict.kind == BAD:
                    good, bad = 0, bad + 1
                if self._judge(found, field, good >= timing.successes, bad >= timing.failures):
                    return
            await asyncio.sleep(timing.period)

    def _say(self, pod: Object, container: Container, title: str, verdict: Verdict) -> None:
        path = field_path(pod, container)
        if verdict.kind == BAD:
            self._events.record(pod, WARNING, "Unhealthy", f"{title} probe failed: {verdict.text}", path)
        elif verdict.kind == ODD:
            text = f"{title} probe errored and resulted in unknown state: {verdict.text}"
            self._events.record(pod, WARNING, "Unhealthy", text, path)
        elif verdict.kind == WARN:
            self._events.record(pod, WARNING, "ProbeWarning", f"{title} probe warning: {verdict.text}", path)

    def _judge(self, found: ContainerState, field: str, passed: bool, failed: bool) -> bool:
        """Note the verdict; whether the probe's work is done."""
        old = self._health[found.name]
        if old.container != found.id:
            return True
        new, done = old, False
        if field == "startupProbe":
            if passed:
                new, done = replace(old, started=True), True
            elif failed:
                new, done = replace(old, startup_failed=True), True
        elif field == "livenessProbe":
            if failed:
                new, done = replace(old, liveness_failed=True), True
        elif passed or failed:
            new = replace(old, ready=passed)
        if new != old:
            self._health[found.name] = new
            self._changed()
        return done

    async def _ask(
        self, probe: Mapping[str, Any], container: Container, container_id: str, ips: tuple[str, ...], timeout: float
    ) -> Verdict:
        """What the container's answer says of it."""
        host = ips[0] if ips else ""
        try:
            if "exec" in probe:
                command = [expand(c, _static(container)) for c in probe["exec"].get("command") or ()]
                return await self._exec(command, container_id, timeout)
            if "httpGet" in probe:
                request = http_check.from_action(probe["httpGet"], container, host)
                return _http_verdict(await http_check.fetch(request, timeout))
            if "tcpSocket" in probe:
                port = http_check.resolve_port(probe["tcpSocket"]["port"], container)
                await http_check.tcp_connect(probe["tcpSocket"].get("host") or host, port, timeout)
                return Verdict(GOOD)
            if "grpc" in probe:
                service = probe["grpc"].get("service") or ""
                await http_check.grpc_health(host, int(probe["grpc"]["port"]), service, timeout)
                return Verdict(GOOD)
        except http_check.CheckFailed as error:
            return Verdict(BAD, str(error))
        except (OSError, ValueError) as error:
            return Verdict(ODD, str(error))
        return Verdict(ODD, "missing probe handler")

    async def _exec(self, command: Sequence[str], container_id: str, timeout: float) -> Verdict:
        try:
            answer = await self._runtime.exec_sync(container_id, command, max(1, int(timeout)))
        except EngineError as error:
            if error.code == "DEADLINE_EXCEEDED":
                return Verdict(BAD, f'command timed out: "{" ".join(command)}" timed out after {timeout:g}s')
            return Verdict(ODD, error.wire)
        if answer.exit_code == 0:
            return Verdict(GOOD)
        return Verdict(BAD, (answer.stdout + answer.stderr)[: 10 << 10].decode(errors="replace"))


def _http_verdict(answer: http_check.HttpAnswer) -> Verdict:
    if answer.elsewhere:
        return Verdict(WARN, f"Probe terminated redirects, Response body: {answer.body}")
    if 200 <= answer.status < 400:
        return Verdict(GOOD)
    return Verdict(BAD, f"HTTP probe failed with statuscode: {answer.status}")


def _static(container: Container) -> dict[str, str]:
    """The variables whose values stand in the spec: only those are known to a probe's command."""
    return {v["name"]: v["value"] for v in container.get("env") or () if v.get("value")}


def _seed(pod: Object, container: Container, found: ContainerState) -> Health:
    """What is known of a container before its first probe: what the pod's status says, if it is the same container."""
    said = next((s for s in _statuses(pod) if s["name"] == found.name), {})
    same = said.get("containerID") == f"containerd://{found.id}" and "running" in (said.get("state") or {})
    started = True if "startupProbe" not in container or (same and said.get("started")) else None
    return Health(found.id, started=started, ready=bool(same and said.get("ready")))


def _statuses(pod: Object) -> Iterator[Mapping[str, Any]]:
    status = pod.get("status") or {}
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()
