"""Webhooks by objects, called over real HTTPS by a real API server."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kumo.api.errors import StatusError
from kumo.api.resources import CONFIGMAPS, DEPLOYMENTS, ENDPOINTSLICES, GVR, PODS, SERVICES
from kumo.kubernetes.apiserver.admission.webhooks.dispatch import MUTATING, VALIDATING
from kumo.machinery.http import Response
from support.apiserver import RunningApiServer, running_apiserver
from support.webhooks import WebhookServer, allow, configuration, deny, patch, rule, webhook, webhook_server

pytestmark = pytest.mark.component
AUTOSCALERS_V1 = GVR("autoscaling", "v1", "horizontalpodautoscalers")


@contextlib.asynccontextmanager
async def both(tmp_path: Path) -> AsyncIterator[tuple[RunningApiServer, WebhookServer]]:
    async with running_apiserver(tmp_path) as server, webhook_server(tmp_path) as hook:
        yield server, hook


def _config_map(name: str = "a", **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **more.pop("metadata", {})}, "data": {"a": "b"}, **more}


async def _refused(awaitable: Any) -> StatusError:
    with pytest.raises(StatusError) as caught:
        await awaitable
    return caught.value


async def test_a_validating_webhook_refuses_in_its_own_words(tmp_path: Path) -> None:
    async with both(tmp_path) as (server, hook):
        hook.answers["/deny"] = deny("not today", code=418, reason="Teapot")
        hook.answers["/warn"] = allow(warnings=["careful"], auditAnnotations={"k": "v"})
        wanted = [
            webhook("warn.example.com", hook.client_config("/warn"), rule("configmaps")),
            webhook(
                "deny.example.com",
                hook.client_config("/deny"),
                rule("configmaps", operations=("CREATE", "DELETE")),
                objectSelector={"matchLabels": {"refuse": "yes"}},
            ),
        ]
        await server.client.create(VALIDATING, configuration("Validating", "v", *wanted))
        error = await _refused(
            server.client.create(CONFIGMAPS, _config_map(metadata={"labels": {"refuse": "yes"}}), "default")
        )
        assert (error.code, error.reason) == (418, "Teapot")
        assert error.message == 'admission webhook "deny.example.com" denied the request: not today'
        made = await server.client.create(CONFIGMAPS, _config_map(), "default")
        request = hook.requests["/warn"][-1]
        assert request["object"]["metadata"]["uid"] == made["metadata"]["uid"]
        assert (request["operation"], request["name"], request["namespace"]) == ("CREATE", "a", "default")
        assert request["options"]["kind"] == "CreateOptions"
        assert request["userInfo"]["username"] == "kubernetes-admin"
        assert set(hook.queries) == {"timeout=10s"}
        await server.client.delete(CONFIGMAPS, "a", "default")
        last = hook.requests["/warn"][-1]
        assert (last["operation"], last["object"], last["oldObject"]["data"]) == ("DELETE", None, {"a": "b"})
        # Configurations themselves are out of webhooks' reach, and gone is gone.
        await server.client.delete(VALIDATING, "v")
        hook.calls.clear()
        await server.client.create(CONFIGMAPS, _config_map("b", metadata={"labels": {"refuse": "yes"}}), "default")
        assert hook.calls == []


async def test_mutating_webhooks_change_the_object_one_after_the_other(tmp_path: Path) -> None:
    async with both(tmp_path) as (server, hook):
        hook.answers["/one"] = patch({"op": "add", "path": "/data/one", "value": "1"})
        hook.answers["/two"] = patch({"op": "copy", "from": "/data/one", "path": "/data/two"})
        hook.answers["/container"] = patch(
            {"op": "add", "path": "/spec/containers/-", "value": {"name": "x", "image": "i"}}
        )
        one = webhook("one.example.com", hook.client_config("/one"), rule("configmaps"), reinvocationPolicy="IfNeeded")
        two = webhook("two.example.com", hook.client_config("/two"), rule("configmaps"))
        await server.client.create(MUTATING, configuration("Mutating", "b", two))
        await server.client.create(MUTATING, configuration("Mutating", "a", one))
        pods = webhook("pods.example.com", hook.client_config("/container"), rule("pods"))
        await server.client.create(MUTATING, configuration("Mutating", "c", pods))
        made = await server.client.create(CONFIGMAPS, _config_map(), "default")
        assert made["data"] == {"a": "b", "one": "1", "two": "1"}
        # The first of them wants to see what the second made.
        assert hook.calls == ["/one", "/two", "/one"]
        assert "uid" not in hook.requests["/one"][0]["object"]["metadata"]
        spec = {"containers": [{"name": "c", "image": "i"}]}
        pod = await server.client.create(PODS, {"metadata": {"generateName": "p-"}, "spec": spec}, "default")
        added = pod["spec"]["containers"][1]
        assert added["terminationMessagePath"] == "/dev/termination-log"  # Defaults of what was added.
        assert pod["metadata"]["name"].startswith("p-")
        assert "name" not in hook.requests["/container"][0]
        assert pod["metadata"]["uid"]


async def test_bad_patches(tmp_path: Path) -> None:
    async with both(tmp_path) as (server, hook):
        await server.client.create(
            MUTATING,
            configuration("Mutating", "m", webhook("m.example.com", hook.client_config("/"), rule("configmaps"))),
        )
        for operation, message in (
            ({"op": "remove", "path": "/data/zz"}, "error in remove for path: '/data/zz': Unable to remove"),
            ({"op": "add", "path": "/data", "value": "x"}, "json: cannot unmarshal string into Go struct field"),
            ({"op": "replace", "path": "/kind", "value": "Secret"}, "converting (v1.Secret) to (v1.ConfigMap)"),
        ):
            hook.answers["/"] = patch(operation)
            error = await _refused(server.client.create(CONFIGMAPS, _config_map(), "default"))
            assert error.code == 500
            assert error.message.startswith(f"Internal error occurred: {message}")
        hook.answers["/"] = patch({"op": "replace", "path": "/metadata/namespace", "value": "other"})
        error = await _refused(server.client.create(CONFIGMAPS, _config_map(), "default"))
        assert error.code == 400
        hook.answers["/"] = patch({"op": "add", "path": "/nosuch", "value": 1})
        assert "nosuch" not in await server.client.create(CONFIGMAPS, _config_map(), "default")


async def test_a_webhook_that_fails(tmp_path: Path) -> None:
    """Slow, dead, not to be trusted, talking rubbish or endlessly: bounded, and in upstream's words."""
    async with both(tmp_path) as (server, hook):
        stop = asyncio.Event()

        async def slow(_: dict[str, Any]) -> dict[str, Any]:
            await stop.wait()
            return {"allowed": True}

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * (1 << 20)

        hook.answers["/slow"] = slow
        hook.answers["/garbage"] = lambda _: Response(200, b"<html>", "text/html")
        hook.answers["/empty"] = lambda _: Response(200, b"")
        hook.answers["/broken"] = lambda _: Response(500, b"oh no", "text/plain")
        hook.answers["/huge"] = lambda _: Response(200, endless())
        hook.answers["/gone"] = lambda _: Response(404, b"")
        good = hook.client_config
        url = f"https://127.0.0.1:{hook.listener.port}"
        cases: list[tuple[dict[str, Any], str]] = [
            (good("/slow"), f'failed to call webhook: Post "{url}/slow?timeout=1s": context deadline exceeded'),
            (good("/garbage"), "failed to call webhook: couldn't get version/kind; json parse error"),
            (good("/empty"), "failed to call webhook: 0-length response with status code: 200"),
            (good("/broken"), 'failed to call webhook: an error on the server ("oh no") has prevented the request'),
            (good("/huge"), "failed to call webhook: the response body is larger than"),
            (good("/gone"), "failed to call webhook: the server could not find the requested resource"),
            ({"url": f"{url}/"}, "tls: failed to verify certificate: x509: certificate signed by unknown authority"),
            (
                {"url": "https://127.0.0.1:1/", "caBundle": hook.ca_bundle},
                "dial tcp 127.0.0.1:1: connect: connection refused",
            ),
            ({"url": f"{url}/", "caBundle": "eHl6"}, "unable to load root certificates: unable to parse bytes as PEM"),
            ({"service": {"namespace": "hooks", "name": "none"}}, 'service "none" not found'),
        ]
        for client, message in cases:
            failing = webhook("f.example.com", client, rule("configmaps"), timeoutSeconds=1)
            await server.client.create(VALIDATING, configuration("Validating", "v", failing))
            error = await _refused(server.client.create(CONFIGMAPS, _config_map(), "default"))
            assert error.code == 500, client
            assert error.message.startswith('Internal error occurred: failed calling webhook "f.example.com": '), client
            assert message in error.message
            await server.client.delete(VALIDATING, "v")
        ignored = webhook("f.example.com", good("/broken"), rule("configmaps"), failurePolicy="Ignore")
        await server.client.create(VALIDATING, configuration("Validating", "v", ignored))
        assert await server.client.create(CONFIGMAPS, _config_map(), "default")
        stop.set()


async def test_dry_run_and_side_effects(tmp_path: Path) -> None:
    async with both(tmp_path) as (server, hook):
        hook.answers["/"] = allow()
        config = configuration("Validating", "v", webhook("v.example.com", hook.client_config("/"), rule("configmaps")))
        await server.client.create(VALIDATING, config)
        body = json.dumps(_config_map()).encode()
        path, headers = "/api/v1/namespaces/default/configmaps", {"content-type": "application/json"}
        answer = await server.client.transport.request("POST", path, query="dryRun=All", headers=headers, body=body)
        assert answer.status == 201
        assert hook.requests["/"][-1]["dryRun"] is True
        assert hook.requests["/"][-1]["options"]["dryRun"] == ["All"]


async def test_a_webhook_behind_a_service(tmp_path: Path) -> None:
    async with both(tmp_path) as (server, hook):
        hook.answers["/deny"] = deny()
        await server.client.create(
            SERVICES, {"metadata": {"name": "hook"}, "spec": {"ports": [{"name": "https", "port": 443}]}}, "default"
        )
        where = {"service": {"namespace": "default", "name": "hook", "path": "/deny"}, "caBundle": hook.ca_bundle}
        await server.client.create(
            VALIDATING, configuration("Validating", "v", webhook("v.example.com", where, rule("configmaps")))
        )
        error = await _refused(server.client.create(CONFIGMAPS, _config_map(), "default"))
        told = 'Post "https://hook.default.svc:443/deny?timeout=10s": no endpoints available for service "hook"'
        assert told in error.message
        from kumo.kubernetes.apiserver.outbound.connections import endpoint

        # Loopback is no valid endpoint of a slice: the certificate's name is checked on the way there all the same.
        piece = {
            "metadata": {"name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}},
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": 8443}],
            "endpoints": [
                {"addresses": ["192.0.2.7"], "conditions": {"ready": False}},
                {"addresses": ["192.0.2.8"], "conditions": {"ready": True}},
            ],
        }
        await server.client.create(ENDPOINTSLICES, piece, "default")
        assert endpoint(server.server.reader, "default", "hook", 443) == ("192.0.2.8", 8443)


async def test_equivalent_versions_are_converted(tmp_path: Path) -> None:
    async with both(tmp_path) as (server, hook):
        hook.answers["/"] = patch({"op": "replace", "path": "/spec/maxReplicas", "value": 9})
        newer = rule("horizontalpodautoscalers", groups=("autoscaling",), versions=("v2",))
        await server.client.create(
            MUTATING, configuration("Mutating", "m", webhook("m.example.com", hook.client_config("/"), newer))
        )
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
        scaler = {
            "metadata": {"name": "h"},
            "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50, "scaleTargetRef": target},
        }
        made = await server.client.create(AUTOSCALERS_V1, scaler, "default")
        assert made["spec"]["maxReplicas"] == 9
        assert made["spec"]["targetCPUUtilizationPercentage"] == 50
        request = hook.requests["/"][0]
        assert (request["kind"]["version"], request["requestKind"]["version"]) == ("v2", "v1")
        assert request["object"]["apiVersion"] == "autoscaling/v2"


async def test_connections_scale_bindings_and_evictions(tmp_path: Path) -> None:
    async with both(tmp_path) as (server, hook):
        hook.answers["/"] = allow()
        hook.answers["/exec"] = deny("no shells")
        await server.client.create(
            VALIDATING,
            configuration(
                "Validating",
                "v",
                webhook(
                    "v.example.com",
                    hook.client_config("/"),
                    rule("deployments/scale", "pods/binding", "pods/eviction", "tokenreviews"),
                ),
                webhook("exec.example.com", hook.client_config("/exec"), rule("pods/exec", operations=("CONNECT",))),
            ),
        )
        template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}
        await server.client.create(DEPLOYMENTS, {"metadata": {"name": "d"}, "spec": spec}, "default")
        await server.client.patch(DEPLOYMENTS, "d", {"spec": {"replicas": 3}}, "default", subresource="scale")
        scale = hook.requests["/"][-1]
        assert (scale["kind"]["kind"], scale["subResource"]) == ("Scale", "scale")
        assert (scale["object"]["spec"], scale["oldObject"]["spec"]) == ({"replicas": 3}, {"replicas": 1})
        await server.client.create(PODS, {"metadata": {"name": "p"}, "spec": template["spec"]}, "default")
        transport = server.client.transport
        body = b'{"metadata":{"name":"p"},"target":{"kind":"Node","name":"n"}}'
        json_body = {"content-type": "application/json"}
        base = "/api/v1/namespaces/default/pods/p"
        bound = await transport.request("POST", f"{base}/binding", headers=json_body, body=body)
        assert bound.status == 201
        assert hook.requests["/"][-1]["kind"]["kind"] == "Binding"
        assert hook.requests["/"][-1]["operation"] == "CREATE"
        refused = await transport.request("POST", f"{base}/exec", query="command=sh&command=-l&stdin=true")
        assert b"denied the request: no shells" in refused.body
        asked = hook.requests["/exec"][0]
        assert asked["operation"] == "CONNECT"
        assert asked["object"] == {
            "kind": "PodExecOptions",
            "apiVersion": "v1",
            "command": ["sh", "-l"],
            "stdin": True,
        }
        evicted = await transport.request(
            "POST", f"{base}/eviction", headers=json_body, body=b'{"metadata":{"name":"p"}}'
        )
        assert evicted.status == 201
        assert hook.requests["/"][-1]["kind"] == {"group": "policy", "version": "v1", "kind": "Eviction"}


async def test_match_conditions(tmp_path: Path) -> None:
    async with both(tmp_path) as (server, hook):
        hook.answers["/"] = deny()
        conditions = [{"name": "not-mine", "expression": "object.metadata.name != 'skip' && object.data.a == 'b'"}]
        item = webhook("v.example.com", hook.client_config("/"), rule("configmaps"), matchConditions=conditions)
        await server.client.create(VALIDATING, configuration("Validating", "v", item))
        assert await server.client.create(CONFIGMAPS, _config_map("skip"), "default")
        assert (await _refused(server.client.create(CONFIGMAPS, _config_map(), "default"))).code == 400
        error = await _refused(server.client.create(CONFIGMAPS, {"metadata": {"name": "none"}}, "default"))
        assert error.code == 403
        assert "resulted in error: no such key: data" in error.message
        wrong = webhook(
            "w.example.com",
            hook.client_config("/"),
            rule("configmaps"),
            matchConditions=[{"name": "a", "expression": "oops"}],
        )
        error = await _refused(server.client.create(VALIDATING, configuration("Validating", "w", wrong)))
        assert error.code == 422
        assert "compilation failed" in error.message
