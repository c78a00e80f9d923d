"""From requests to audit events: what the policy asks for goes to the backends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import structlog

from kumo.api.objects import Object
from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.attributes import RequestInfo
from kumo.kubernetes.apiserver.audit import AuditError, events
from kumo.kubernetes.apiserver.audit.config import AuditConfig
from kumo.kubernetes.apiserver.audit.log import LogBackend
from kumo.kubernetes.apiserver.audit.policy import LEVELS, Decision, Policy, load_policy
from kumo.kubernetes.apiserver.audit.webhook import WebhookBackend
from kumo.kubernetes.apiserver.following import digest_of, follow
from kumo.machinery import kubeconfig
from kumo.machinery.exposition import counts, family
from kumo.machinery.http import Request, Response, Upgrade

_encode = msgspec.json.Encoder().encode
_log = structlog.get_logger("kumo.audit")
_REQUEST, _RESPONSE = 2, 3


class Backend(Protocol):
    """Where events go."""

    errors: int

    def write(self, events: Sequence[bytes]) -> None:
        """Take the events; must not wait."""
        ...

    async def run(self) -> None:
        """Work in the background, until cancelled."""
        ...

    async def close(self) -> None:
        """Finish."""
        ...


class Complete(Protocol):
    """Gives an object of a request its defaults, as its kind has them."""

    def __call__(self, info: RequestInfo, obj: Object) -> Object:
        """The completed object; the given one when nothing is known of its kind."""
        ...


class Record:
    """One audited request. `head` is what every stage's event says alike."""

    __slots__ = ("annotations", "decision", "info", "parts", "received", "request", "started")

    def __init__(self, decision: Decision, request: Request, info: RequestInfo, head: dict[str, Any]) -> None:
        self.decision = decision
        self.request = request
        self.info = info
        self.received = events.now()
        self.parts = head
        self.annotations: dict[str, str] = {}
        self.started = False

    def impersonates(self, user: UserInfo) -> None:
        """The request is made in the name of `user`."""
        body = self.parts["body"]
        self.parts["body"] = {
            **{k: body[k] for k in ("requestURI", "verb", "user")},
            "impersonatedUser": events.user_value(user),
            **body,
        }


class Auditor:
    """Writes events by `config`. Raises AuditError for a policy or a backend that can't be used."""

    def __init__(self, config: AuditConfig, complete: Complete) -> None:
        self._path = config.policy
        self._digest = digest_of(config.policy)
        self._policy: Policy = load_policy(config.policy)
        self._complete = complete
        self._backends: list[Backend] = []
        self._levels: dict[str, float] = {}
        self._count = 0
        if config.log_path:
            self._backends.append(
                LogBackend(
                    config.log_path,
                    max_size=config.log_max_size,
                    max_backups=config.log_max_backups,
                    max_age=config.log_max_age,
                )
            )
        if config.webhook is not None:
            try:
                access = kubeconfig.read(config.webhook)
            except kubeconfig.KubeconfigError as error:
                raise AuditError(f"the audit webhook's kubeconfig can't be used: {error}") from error
            self._backends.append(WebhookBackend(access.transport(), "", config.batching))

    async def run(self) -> None:
        """Send what is sent in the background, and follow the policy's file, until cancelled."""
        await asyncio.gather(
            *(backend.run() for backend in self._backends), follow(self._path, self._digest, self._reload)
        )

    async def _reload(self) -> None:
        """Use the changed policy for requests from now on; one with a mistake is not used."""
        try:
            self._policy = load_policy(self._path)
        except AuditError as error:
            _log.error("the changed audit policy is not used", error=str(error))
        else:
            _log.info("the audit policy has been read again", path=str(self._path))

    async def close(self) -> None:
        """Let the backends finish."""
        for backend in self._backends:
            await backend.close()

    # -- stages -----------------------------------------------------------------------------------------------------

    def receive(self, request: Request, info: RequestInfo, audit_id: str, user: UserInfo | None) -> Record | None:
        """Begin the record of a request, and tell that it has been received. None when it isn't audited."""
        decision = self._policy.decide(user, info)
        name = LEVELS[decision.level]
        self._levels[name] = self._levels.get(name, 0) + 1
        if not decision.level or not self._backends:
            return None
        head: dict[str, Any] = {"level": name, "auditID": audit_id}
        body: dict[str, Any] = {
            "requestURI": events.request_uri(request),
            "verb": info.verb,
            "user": events.user_value(user),
        }
        addresses, agent = events.source_ips(request), events.user_agent(request)
        if addresses:
            body["sourceIPs"] = addresses
        if agent:
            body["userAgent"] = agent
        record = Record(decision, request, info, {"head": head, "body": body})
        if user is not None:
            reference = events.object_reference(info, None)
            self._write(record, "RequestReceived", {"objectRef": reference} if reference else {}, record.received)
        return record

    def started(self, record: Record, code: int) -> None:
        """Tell that a long-running answer has begun."""
        record.started = True
        reference = events.object_reference(record.info, None)
        found: dict[str, Any] = {"objectRef": reference} if reference else {}
        found["responseStatus"] = {"metadata": {}, "code": code}
        self._write(record, "ResponseStarted", found)

    def complete(self, record: Record, answer: Response | Upgrade) -> None:
        """Tell what the request was answered."""
        level, info = record.decision.level, record.info
        refused = record.annotations.get("authorization.k8s.io/decision") == "forbid"
        reference = events.object_reference(info, None if refused else record.request)
        found: dict[str, Any] = {"objectRef": reference} if reference else {}
        code, body = (101, None) if isinstance(answer, Upgrade) else (answer.status, events.answer_bytes(answer))
        found["responseStatus"] = events.response_status(code, body)
        if level >= _REQUEST and info.resource and not refused:
            sent = events.request_object(record.request, info.verb, record.decision.omit_managed_fields)
            if isinstance(sent, dict) and info.verb in ("create", "update") and not info.subresource:
                sent = self._complete(info, sent)
            if sent is not None:
                found["requestObject"] = sent
        if level >= _RESPONSE and body and info.resource:
            found["responseObject"] = (
                events.without_managed_fields(msgspec.json.decode(body))
                if record.decision.omit_managed_fields
                else msgspec.Raw(body)
            )
        self._write(record, "ResponseComplete", found)

    def panicked(self, record: Record, message: str) -> None:
        """Tell that the server failed."""
        status = {"metadata": {}, "status": "Failure", "message": message, "reason": "InternalError", "code": 500}
        reference = events.object_reference(record.info, None)
        self._write(record, "Panic", ({"objectRef": reference} if reference else {}) | {"responseStatus": status})

    def refused(self, record: Record, answer: Response | Upgrade) -> None:
        """Tell of a request that was refused before it was known who asks."""
        body = events.answer_bytes(answer) if isinstance(answer, Response) else None
        reference = events.object_reference(record.info, None)
        found: dict[str, Any] = {"objectRef": reference} if reference else {}
        found["responseStatus"] = events.response_status(answer.status if isinstance(answer, Response) else 101, body)
        self._write(record, "ResponseStarted", found)

    def _write(self, record: Record, stage: str, found: dict[str, Any], at: float = 0.0) -> None:
        if stage in record.decision.omit:
            return
        parts = record.parts
        event = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            **parts["head"],
            "stage": stage,
            **parts["body"],
            **found,
            "requestReceivedTimestamp": events.micro_time(record.received),
            "stageTimestamp": events.micro_time(at or events.now()),
        }
        if record.annotations and stage != "RequestReceived":
            event["annotations"] = record.annotations
        line = [_encode(event)]
        self._count += 1
        for backend in self._backends:
            backend.write(line)

    def lines(self) -> list[str]:
        """`apiserver_audit_*` for /metrics."""
        errors = sum(backend.errors for backend in self._backends)
        return [
            *family(
                "counter",
                "apiserver_audit_event_total",
                "[ALPHA] Counter of audit events generated and sent to the audit backend.",
                (),
                [((), float(self._count))],
            ),
            *family(
                "counter",
                "apiserver_audit_error_total",
                "[ALPHA] Counter of audit events that failed to be audited properly.",
                (),
                [((), float(errors))],
            ),
            *family(
                "counter",
                "apiserver_audit_level_total",
                "[ALPHA] Counter of policy levels for audit events (1 per request).",
                ("level",),
                counts(self._levels),
            ),
            *family(
                "counter",
                "apiserver_audit_requests_rejected_total",
                "[ALPHA] Counter of apiserver requests rejected due to an error in audit logging backend.",
                (),
                [((), 0.0)],
            ),
        ]
