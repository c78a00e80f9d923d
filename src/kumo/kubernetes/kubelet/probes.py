"""Startup, readiness and liveness probes: one task a probe of a running container; what they found is its `Health`.

Upstream: `pkg/kubelet/prober`. Failures count only in a row; readiness and liveness wait for the startup probe.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kumo.api.objects import Object
from kumo.api.pod_resources import is_sidecar
from kumo.host.containerd.cri import RuntimeService
from kumo.host.containerd.rpc import EngineError
from kumo.kubernetes.kubelet import http_check
from kumo.kubernetes.kubelet.events import WARNING, PodEvents
from kumo.kubernetes.kubelet.plan import Health
from kumo.kubernetes.kubelet.podstate import ContainerState, PodState
from kumo.kubernetes.kubelet.spec import Container, all_containers, field_path, init_containers
from kumo.kubernetes.kubelet.stats.probe_metrics import FAILED, SUCCESSFUL, ProbeCounts

_KINDS = (("startupProbe", "Startup"), ("livenessProbe", "Liveness"), ("readinessProbe", "Readiness"))


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

    def sync(self, pod: Object, state: PodState, ips: Sequence[str]) -> None:
        """Start the probes of containers that run now, stop those of containers that do not."""
        running: dict[str, ContainerState] = {}
        for container in all_containers(pod):
            found = state.container(container["name"])
            if found is not None and found.running:
                running[container["name"]] = found
        for key in [k for k in self._tasks if k[0] not in {c.id for c in running.values()}]:
            self._tasks.pop(key).cancel()
        for container in all_containers(pod):
            found = running.get(container["name"])
            if found is None or (container in init_containers(pod) and not is_sidecar(container)):
                continue
            if self._health.get(found.name, Health()).container != found.id:
                self._health[found.name] = Health(found.id, started="startupProbe" not in container or None)
            for field, title in _KINDS:
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
                problem = await self._ask(probe, container, found.id, ips, timing.timeout)
                result = SUCCESSFUL if problem is None else FAILED
                self._counts.count(pod, found.name, title, result, time.monotonic() - began)
                good, bad = (good + 1, 0) if problem is None else (0, bad + 1)
                if problem is not None:
                    text = f"{title} probe failed: {problem}"
                    self._events.record(pod, WARNING, "Unhealthy", text, field_path(pod, container))
                if self._judge(found, field, good >= timing.successes, bad >= timing.failures):
                    return
            await asyncio.sleep(timing.period)

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
    ) -> str | None:
        """None if the container is well, else what is wrong."""
        host = ips[0] if ips else ""
        try:
            if "exec" in probe:
                return await self._exec(probe["exec"].get("command") or [], container_id, timeout)
            if "httpGet" in probe:
                request = http_check.from_action(probe["httpGet"], container, host)
                status, _ = await http_check.fetch(request, timeout)
                return None if 200 <= status < 400 else f"HTTP probe failed with statuscode: {status}"
            if "tcpSocket" in probe:
                port = http_check.resolve_port(probe["tcpSocket"]["port"], container)
                await http_check.tcp_connect(probe["tcpSocket"].get("host") or host, port, timeout)
                return None
            if "grpc" in probe:
                service = probe["grpc"].get("service") or ""
                return await http_check.grpc_health(host, int(probe["grpc"]["port"]), service, timeout) or None
        except TimeoutError:
            return "context deadline exceeded"
        except ConnectionRefusedError:
            return f"dial tcp {_target(probe, container, host)}: connect: connection refused"
        except (OSError, ValueError) as error:
            return str(error)
        return "missing probe handler"

    async def _exec(self, command: Sequence[str], container_id: str, timeout: float) -> str | None:
        try:
            answer = await self._runtime.exec_sync(container_id, command, max(1, int(timeout)))
        except EngineError as error:
            if error.code == "DEADLINE_EXCEEDED":
                return f'command timed out: "{" ".join(command)}" timed out after {timeout:g}s'
            return error.wire
        if answer.exit_code == 0:
            return None
        return (answer.stdout + answer.stderr)[: 10 << 10].decode(errors="replace") or f"exit code {answer.exit_code}"


def _target(probe: Mapping[str, Any], container: Container, host: str) -> str:
    action = probe.get("httpGet") or probe.get("tcpSocket") or probe.get("grpc") or {}
    with contextlib.suppress(ValueError):
        return f"{action.get('host') or host}:{http_check.resolve_port(action.get('port', 0), container)}"
    return host
