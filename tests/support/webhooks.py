"""A real admission webhook for tests: HTTPS on loopback, its answers chosen by path, its requests recorded.

async with webhook_server(tmp_path) as hook:
    hook.answers["/deny"] = deny("no")
    await server.client.create(VALIDATING, configuration("deny.example.com", hook.client_config("/deny"), ...))
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kumo.machinery import tls
from kumo.machinery.http import Answer, Request, Response
from kumo.machinery.listener import Listener

Answerer = Callable[[dict[str, Any]], dict[str, Any] | Response | Awaitable[dict[str, Any] | Response]]
"""Takes the `request` of an AdmissionReview; gives its `response` (the uid is filled in), or a whole answer."""

_NAMES = ("127.0.0.1", "localhost", "hook.hooks.svc", "hook.default.svc")


@dataclass
class WebhookServer:
    """`answers` by path; `requests` are the reviews received, by path; `url` is `https://127.0.0.1:port`."""

    listener: Listener
    ca: Path
    answers: dict[str, Answerer] = field(default_factory=dict)
    requests: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    queries: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    """The paths in the order of their calls."""

    @property
    def ca_bundle(self) -> str:
        """The CA's certificate as `caBundle` has it."""
        return base64.b64encode(self.ca.read_bytes()).decode()

    def client_config(self, path: str = "/") -> dict[str, Any]:
        """A `clientConfig` by URL."""
        return {"url": f"https://127.0.0.1:{self.listener.port}{path}", "caBundle": self.ca_bundle}

    async def handle(self, request: Request) -> Answer:
        """Answer one review."""
        review = json.loads(await request.read(32 << 20))
        self.requests.setdefault(request.path, []).append(review["request"])
        self.queries.append(request.query_string)
        self.calls.append(request.path)
        answer = self.answers.get(request.path)
        if answer is None:
            return Response(404, b"no such webhook", "text/plain")
        found = answer(review["request"])
        if asyncio.iscoroutine(found) or isinstance(found, Awaitable):
            found = await found
        if isinstance(found, Response):
            return found
        response = {"uid": review["request"]["uid"], **found}
        return Response(
            200, json.dumps({"kind": review["kind"], "apiVersion": review["apiVersion"], "response": response}).encode()
        )


@asynccontextmanager
async def webhook_server(tmp_path: Path, *, names: tuple[str, ...] = _NAMES) -> AsyncIterator[WebhookServer]:
    """Serve webhooks until the block ends; keys and certificates are below `tmp_path`."""
    pki = tmp_path / "hook-pki"
    pki.mkdir(exist_ok=True)
    ca = tls.ensure_ca(pki)
    pair = tls.ensure_certificate(ca, pki, "hook", common_name="hook", names=names, server=True, client=False)
    listener = Listener(_not_yet, tls=tls.server_context(pair), grace=0.1, name="webhooks")
    await listener.start()
    server = WebhookServer(listener, ca.files.cert)
    listener.handler = server.handle
    try:
        yield server
    finally:
        await listener.stop()


async def _not_yet(_: Request) -> Answer:
    raise ConnectionError("the webhooks are starting")


def allow(**more: Any) -> Answerer:
    """A webhook that allows everything; `more` goes into its response."""
    return lambda _: {"allowed": True, **more}


def deny(message: str = "", **status: Any) -> Answerer:
    """A webhook that refuses everything."""
    if message:
        status["message"] = message
    return lambda _: {"allowed": False, **({"status": status} if status else {})}


def patch(*operations: dict[str, Any]) -> Answerer:
    """A webhook that allows and patches."""
    text = base64.b64encode(json.dumps(list(operations)).encode()).decode()
    return lambda _: {"allowed": True, "patchType": "JSONPatch", "patch": text}


def rule(
    *resources: str,
    operations: tuple[str, ...] = ("*",),
    groups: tuple[str, ...] = ("*",),
    versions: tuple[str, ...] = ("*",),
    **more: Any,
) -> dict[str, Any]:
    """A `RuleWithOperations`."""
    return {
        "resources": list(resources),
        "operations": list(operations),
        "apiGroups": list(groups),
        "apiVersions": list(versions),
        **more,
    }


def webhook(name: str, client_config: dict[str, Any], *rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One webhook of a configuration, without side effects."""
    return {
        "name": name,
        "clientConfig": client_config,
        "rules": list(rules),
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        **more,
    }


def configuration(kind: str, name: str, *webhooks: dict[str, Any]) -> dict[str, Any]:
    """A `MutatingWebhookConfiguration` or `ValidatingWebhookConfiguration`."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": list(webhooks),
    }


def convert(change: Callable[[dict[str, Any], str], None]) -> Answerer:
    """A conversion webhook: `change` brings an object, in place, into an API version (which it has then already)."""

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        wanted = request["desiredAPIVersion"]
        made = []
        for obj in json.loads(json.dumps(request["objects"])):
            if obj["apiVersion"] != wanted:
                obj["apiVersion"] = wanted
                change(obj, wanted)
            made.append(obj)
        return {"convertedObjects": made, "result": {"status": "Success"}}

    return answer
