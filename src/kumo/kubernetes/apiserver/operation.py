"""What happens to every request besides its answer: who goes first, how long it may take, what is written down."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from time import perf_counter
from typing import TYPE_CHECKING, cast

from kumo.api.objects import Object
from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver import measurements, state_measurements
from kumo.kubernetes.apiserver.attributes import Reader, RequestInfo
from kumo.kubernetes.apiserver.cache import Cache
from kumo.kubernetes.apiserver.deadlines import Deadlines, timed_out
from kumo.kubernetes.apiserver.flowcontrol import FlowController, Gate, InFlightLimits, TooManyRequests
from kumo.kubernetes.apiserver.flowcontrol.defaults import GROUP
from kumo.kubernetes.apiserver.flowcontrol.work import estimator
from kumo.kubernetes.apiserver.metrics import Ending, Metrics
from kumo.kubernetes.apiserver.operation_config import OperationConfig
from kumo.kubernetes.apiserver.registry import Registry
from kumo.kubernetes.apiserver.request_info import request_info
from kumo.kubernetes.apiserver.responses import refusal
from kumo.kubernetes.apiserver.visit import Visit, is_long_running
from kumo.machinery.client import Client
from kumo.machinery.http import Answer, Request, Response, Upgrade, size_of

if TYPE_CHECKING:
    from kumo.kubernetes.apiserver.audit.auditor import Auditor
    from kumo.kubernetes.apiserver.authorization.authorizer import Decision

_LONGEST_WAIT = 60.0
IN_PROCESS = "in-process"
"""The host of requests that come from a component of this process, in the metrics of clients."""
_WRITES = frozenset(("create", "update", "patch"))
_VALIDATIONS = frozenset(("Strict", "Warn", "Ignore"))
_MOST_AUDIT_ID = 64


class Operation:
    """Accompanies each request: `begin`, `admit`, then `finish` with its answer (or `abandon`)."""

    def __init__(
        self,
        config: OperationConfig,
        cache: Cache,
        reader: Reader,
        client: Client,
        metrics: Metrics,
    ) -> None:
        self.metrics = metrics
        self._deadlines = Deadlines(config.request_timeout)
        self._wait = min(config.request_timeout / 4, _LONGEST_WAIT)
        seats = config.max_requests_inflight + config.max_mutating_requests_inflight
        self.gate: Gate | None = None
        self._limits: InFlightLimits | None = None
        self._controller: FlowController | None = None
        if config.priority_and_fairness and seats:
            self.gate = Gate(estimator(lambda group, resource: len(cache.of(group, resource))))
            self._controller = FlowController(self.gate, reader, client, seats)
            cache.listen(GROUP, "flowschemas", self._controller.object_changed)
            cache.listen(GROUP, "prioritylevelconfigurations", self._controller.object_changed)
        else:
            self._limits = InFlightLimits(config.max_requests_inflight, config.max_mutating_requests_inflight)
        self._audit_config = config.audit
        self.flags = config.flags()
        """The options by the names that kube-apiserver has for them."""
        self.auditor: Auditor | None = None
        self._decide: Callable[[UserInfo, RequestInfo], Decision] | None = None
        self._prefix, self._number = _audit_ids()
        metrics.add(lambda: measurements.objects(cache))
        metrics.add(self._progress)
        metrics.add(measurements.process)
        metrics.add(lambda: state_measurements.collections(cache))
        metrics.add(lambda: state_measurements.availability(reader))
        metrics.add(state_measurements.network)
        if config.audit is None:
            metrics.add(state_measurements.unaudited)

    def open(self, registry: Registry, decide: Callable[[UserInfo, RequestInfo], Decision]) -> None:
        """Begin to audit, if that is wanted. Raises AuditError."""
        self._decide = decide
        if self._audit_config is None:
            return
        from kumo.kubernetes.apiserver.audit.auditor import Auditor  # wanted by few

        def complete(info: RequestInfo, obj: Object) -> Object:
            found = registry.find(info.group, info.version, info.resource)
            if found is None or obj.get("kind") not in (None, found.gvk.kind):
                return obj
            try:
                found.strategy.default(obj)
            except Exception:
                return obj  # What can't be given defaults was refused; it is shown as it came.
            return obj

        self.auditor = Auditor(self._audit_config, complete)
        self.metrics.add(self.auditor.lines)

    def _progress(self) -> list[str]:
        if self.gate is not None:
            return measurements.flowcontrol(self.gate)
        assert self._limits is not None
        return measurements.inflight(self._limits.reading, self._limits.writing, 0)

    async def start(self) -> None:
        """Be ready for requests, once the cache is filled. Raises StatusError."""
        if self._controller is not None:
            await self._controller.start()

    async def run(self) -> None:
        """What goes on in the background, until cancelled."""
        async with asyncio.TaskGroup() as group:
            if self._controller is not None:
                group.create_task(self._controller.run(), name="priority and fairness")
            if self.auditor is not None:
                group.create_task(self.auditor.run(), name="audit")

    async def close(self) -> None:
        """Let audit events reach their ends."""
        if self.auditor is not None:
            await self.auditor.close()

    # -- a request --------------------------------------------------------------------------------------------------

    def begin(self, request: Request) -> Visit:
        """The request's visit. Raises nothing."""
        info = request_info(request.method, request.path, request.query_string)
        audit_id = request.headers.get("audit-id", "")[:_MOST_AUDIT_ID]
        if not audit_id or not audit_id.isprintable() or not audit_id.isascii():
            self._number += 1
            audit_id = f"{self._prefix}{self._number:012x}"
        visit = Visit(request, info, perf_counter(), audit_id)
        request.context = visit
        return visit

    def limit_time(self, visit: Visit) -> None:
        """Count the request's time from now on. Raises 400."""
        self._deadlines.enter(visit)

    def authenticated(self, visit: Visit, user: UserInfo) -> None:
        """It is known who asks."""
        visit.user = user
        self.metrics.instruments.authentication.of("success").observe(perf_counter() - visit.began)
        counts = self.metrics.authenticated
        name = _compressed(user.name)
        counts[name] = counts.get(name, 0) + 1
        if self.auditor is not None:
            visit.record = self.auditor.receive(visit.request, visit.info, visit.audit_id, user)

    def acts_as(self, visit: Visit, user: UserInfo) -> None:
        """Who asks does so in the name of `user`."""
        visit.user = user
        if visit.record is not None:
            visit.record.impersonates(user)

    async def admit(self, visit: Visit, user: UserInfo) -> None:
        """Let the request in, as soon as it is its turn. Raises TooManyRequests."""
        info = visit.info
        if visit.record is not None:
            self._note_decision(visit, user)
        gate = self.gate
        if gate is None:
            if self._limits is not None and not is_long_running(info):
                visit.counted = self._limits.enter(user, info)
            return
        if info.verb != "watch" and is_long_running(info):
            return
        place = gate.enter(user, info, visit.request.query_string)
        if place is None:
            place = await gate.wait(user, info, visit.request.query_string, self._wait)
        visit.place, visit.flow = place, place.flow

    def _note_decision(self, visit: Visit, user: UserInfo) -> None:
        """Write down whether the request is allowed, and why."""
        if visit.record is not None and self._decide is not None:
            decision = self._decide(user, visit.info)
            visit.record.annotations["authorization.k8s.io/decision"] = "allow" if decision.allowed else "forbid"
            visit.record.annotations["authorization.k8s.io/reason"] = decision.reason

    def finish(self, visit: Visit, answer: Answer) -> Answer:
        """The answer, with its headers; the request is counted and written down."""
        self._deadlines.leave(visit)
        info = visit.info
        streams = False
        if isinstance(answer, Response):
            body = answer.body
            code = answer.status
            streams = hasattr(body, "__aiter__")
            size = -1 if streams else size_of(cast("bytes | list[bytes]", body))
        else:
            code, size = 101, -1
        flow = visit.flow
        own = {"Audit-Id": visit.audit_id}
        answer.headers = {**answer.headers, **flow.headers, **own} if flow is not None else {**answer.headers, **own}
        if streams and isinstance(answer, Response):
            self._stream(visit, answer)
        else:
            self._leave(visit)
            if visit.record is not None:
                self._complete(visit, answer)
            elif visit.user is None and self.auditor is not None:
                self._unauthenticated(visit, answer)
        taken = perf_counter() - visit.began
        if code == 401:
            self.metrics.unauthenticated += 1
            self.metrics.instruments.authentication.of("error").observe(taken)
        elif code == 403:
            self.metrics.denied += 1
        if not visit.request.remote:
            method = visit.request.method
            self.metrics.instruments.clients.add(str(code), method, IN_PROCESS)
            if not streams:
                self.metrics.instruments.client_seconds.of(method, IN_PROCESS).observe(taken)
        if info.verb in _WRITES and info.resource:
            self._measure_write(visit, taken)
        dry_run = "All" if "dryRun=All" in visit.request.query_string else ""
        self.metrics.count(info, code, taken, size, dry_run)
        return answer

    def _measure_write(self, visit: Visit, taken: float) -> None:
        """How large the body of a write was, and how long it took by the validation asked for."""
        instruments, info, content = self.metrics.instruments, visit.info, visit.request.content
        if isinstance(content, bytes):
            instruments.bodies.of(info.resource, info.verb, info.group).observe(len(content))
        how = visit.request.query_string.partition("fieldValidation=")[2].partition("&")[0] or "Warn"
        if how in _VALIDATIONS:
            instruments.field_validation.of(how).observe(taken)

    def abandon(self, visit: Visit) -> None:
        """The client has gone before there was an answer."""
        self._deadlines.leave(visit)
        self._leave(visit)
        if visit.record is not None:
            self._complete(visit, Response(200))

    def begun(self, request: Request) -> None:
        """A watch has shown what was there when it began: from now on it takes nobody's place."""
        visit = request.context
        if isinstance(visit, Visit) and visit.place is not None and self.gate is not None:
            place, visit.place = visit.place, None
            self.gate.leave(place)

    def _leave(self, visit: Visit) -> None:
        visit.request.context = None  # They know each other: only the collector would find them.
        place = visit.place
        if place is not None:
            visit.place = None
            assert self.gate is not None
            self.gate.leave(place)
        if visit.counted is not None and self._limits is not None:
            self._limits.leave(visit.counted)
            visit.counted = None

    def _stream(self, visit: Visit, answer: Response) -> None:
        """Hold the place until the watch has begun, and tell auditors when the stream has ended."""
        record = visit.record
        if visit.info.verb != "watch":
            self._leave(visit)
            if record is None:
                return
        if record is not None and self.auditor is not None and is_long_running(visit.info):
            self.auditor.started(record, answer.status)

        def over() -> None:
            self._leave(visit)
            if record is not None:
                self._complete(visit, answer)

        answer.body = Ending(cast("AsyncIterator[bytes]", answer.body), over)

    def _complete(self, visit: Visit, answer: Answer) -> None:
        assert self.auditor is not None and visit.record is not None
        record, visit.record = visit.record, None
        if visit.audit_annotations:
            record.annotations |= visit.audit_annotations
        if isinstance(answer, Upgrade):
            self.auditor.started(record, 101)
        self.auditor.complete(record, answer)

    # -- refusals ---------------------------------------------------------------------------------------------------

    def too_many(self, visit: Visit, error: TooManyRequests) -> Response:
        """429, as plain text (upstream's form)."""
        self.metrics.terminated(visit.info, 429)
        headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache, private", **error.headers}
        text = b"Too many requests, please try again later.\n"
        return Response(429, text, "text/plain; charset=utf-8", headers)

    def too_late(self, visit: Visit) -> Response:
        """504."""
        self.metrics.terminated(visit.info, 504)
        return refusal(timed_out())

    def _unauthenticated(self, visit: Visit, answer: Answer) -> None:
        """Write down a request that was refused before it was known who asks."""
        assert self.auditor is not None
        record = self.auditor.receive(visit.request, visit.info, visit.audit_id, None)
        if record is not None:
            self.auditor.refused(record, answer)

    def failed(self, visit: Visit, error: Exception) -> None:
        """Write down that the server itself failed."""
        if visit.record is not None and self.auditor is not None:
            record, visit.record = visit.record, None
            self.auditor.panicked(record, f"APIServer panic'd: {error}")


def _compressed(name: str) -> str:
    """A user's name as upstream's metrics have it."""
    if name in ("admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default"):
        return name
    return "other"


def _audit_ids() -> tuple[str, int]:
    """What the ids of this process begin with (a version 4 UUID but for its last 12 digits), and where they start."""
    made, start = f"{random.getrandbits(80):020x}", random.getrandbits(40)
    return f"{made[:8]}-{made[8:12]}-4{made[12:15]}-{'89ab'[int(made[15], 16) % 4]}{made[16:19]}-", start
