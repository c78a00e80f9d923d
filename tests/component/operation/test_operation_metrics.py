"""What dashboards and alerts ask of /metrics, and what each health check looks at on its own."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from kumo.api.errors import StatusError
from kumo.api.resources import CONFIGMAPS, GVR, SECRETS
from kumo.kubernetes.apiserver.config import ApiServerConfig
from kumo.kubernetes.apiserver.server import ApiServer
from kumo.machinery import tls
from kumo.machinery.controller import Controller, queues
from kumo.machinery.http import Request, Response
from kumo.store.sqlite import SqliteStore
from support.apiserver import ADMIN, RunningApiServer, running_apiserver

pytestmark = pytest.mark.component
_ADMISSION = "admissionregistration.k8s.io"


async def text_of(server: ApiServer, path: str, query: str = "") -> tuple[int, str]:
    """The answer of a plain path."""
    answer = await server.handle(Request("GET", path, query, {}, b"", ADMIN))
    assert isinstance(answer, Response)
    body = answer.body if isinstance(answer.body, bytes) else b"".join(answer.body)  # type: ignore[arg-type]
    return answer.status, body.decode()


def rule(resource: str) -> dict[str, list[str]]:
    """A rule of a webhook or policy: the creation of a core resource."""
    return {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [resource]}


async def families(server: RunningApiServer) -> dict[str, list[str]]:
    """The lines of each family of /metrics, each of which has a HELP and a TYPE."""
    _, text = await text_of(server.server, "/metrics")
    found: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name = line.split()[2]
            found[name] = []
            assert f"# HELP {name} " in text
        elif not line.startswith("#"):
            assert re.match(rf"{name}(_bucket|_sum|_count)?[{{ ]", line), line
            found[name].append(line)
    return found


async def test_what_is_measured_besides_requests(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        client = server.client
        policy = {
            "metadata": {"name": "p"},
            "spec": {
                "matchConstraints": {
                    "resourceRules": [
                        {
                            "apiGroups": [""],
                            "apiVersions": ["v1"],
                            "operations": ["CREATE"],
                            "resources": ["configmaps"],
                        }
                    ]
                },
                "validations": [{"expression": "object.metadata.name != 'bad'"}],
            },
        }
        await client.create(GVR(_ADMISSION, "v1", "validatingadmissionpolicies"), policy)
        binding = {"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}}
        await client.create(GVR(_ADMISSION, "v1", "validatingadmissionpolicybindings"), binding)
        hook = {
            "name": "w.b.c",
            "clientConfig": {"url": "https://127.0.0.1:1/"},
            "rules": [rule("secrets")],
            "failurePolicy": "Ignore",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        configuration = {"metadata": {"name": "w"}, "webhooks": [hook]}
        await client.create(GVR(_ADMISSION, "v1", "validatingwebhookconfigurations"), configuration)
        await client.create(CONFIGMAPS, {"metadata": {"name": "good"}}, "default")
        await client.update(CONFIGMAPS, await client.get(CONFIGMAPS, "good", "default") | {"data": {"a": "b"}})
        with pytest.raises(StatusError):
            await client.create(CONFIGMAPS, {"metadata": {"name": "bad"}}, "default")
        await client.create(SECRETS, {"metadata": {"name": "s"}}, "default")
        await client.list(CONFIGMAPS)
        await client.delete(CONFIGMAPS, "good", "default")
        controller = Controller("tested", lambda key: asyncio.sleep(0))  # type: ignore[arg-type, return-value]
        controller.queue.add("a")  # type: ignore[arg-type]
        server.server.measure_queues(list(queues([controller])))
        found = await families(server)

        def value(start: str) -> float:
            name = start.partition("{")[0].removesuffix(" ")
            name = name if name in found else name.removesuffix("_count")
            lines = [line for line in found[name] if line.startswith(start)]
            assert len(lines) == 1, (start, lines)
            return float(lines[0].rpartition(" ")[2])

        for operation in ("create", "update", "delete"):
            labels = f'{{operation="{operation}",group="",resource="configmaps"}}'
            assert value(f"etcd_requests_total{labels}") == value(f"etcd_request_duration_seconds_count{labels}") >= 1
        policy_labels = 'policy="p",policy_binding="b",error_type="invalid_error",enforcement_action="deny"'
        assert value(f"apiserver_validating_admission_policy_check_total{{{policy_labels}}}") == 1
        opened = 'apiserver_admission_webhook_fail_open_count{name="w.b.c",type="validating"}'
        assert value(opened) == 1
        assert value('authentication_duration_seconds_count{result="success"}') > 9
        assert value('authorization_duration_seconds_count{result="allowed"}') > 9
        assert value('apiserver_cache_list_total{group="",resource="configmaps",index=""}') >= 1
        assert value('apiserver_watch_cache_events_received_total{group="",resource="configmaps"}') >= 3
        assert value('aggregator_unavailable_apiservice{name="v1."}') == 0
        assert value('field_validation_request_duration_seconds_count{field_validation="Warn"}') > 5
        assert value("apiserver_audit_event_total ") == 0
        assert value('rest_client_requests_total{code="201",method="POST",host="in-process"}') >= 5
        assert value('workqueue_adds_total{name="tested"}') == value('workqueue_depth{name="tested"}') == 1
        waits = 'apiserver_flowcontrol_request_wait_duration_seconds_count{priority_level="exempt",flow_schema="exempt"'
        assert value(f'{waits},execute="true"}}') > 9
        for name in ("kubernetes_build_info", "process_resident_memory_bytes", "process_network_receive_bytes_total"):
            assert found[name]


async def test_each_step_of_the_start_has_its_own_check(tmp_path: Path, monkeypatch: Any) -> None:
    """A server whose default roles can't be written yet: what is done is well, what is not says so."""
    store = SqliteStore(tmp_path / "kumo.db")
    go, reached = asyncio.Event(), asyncio.Event()
    put = store.put

    async def slow(key: str, *arguments: Any, **keywords: Any) -> int:
        if "/clusterroles/" in key:
            reached.set()
            await go.wait()
        return await put(key, *arguments, **keywords)

    monkeypatch.setattr(store, "put", slow)
    key = tls.ensure_signing_key(tmp_path / "sa.key")
    server = ApiServer(store, ApiServerConfig(service_account_key=key, advertise_address="192.0.2.1"))
    starting = asyncio.create_task(server.start())
    try:
        async with asyncio.timeout(10):
            await reached.wait()
        for path, status in (
            ("poststarthook/crd-informer-synced", 200),
            ("poststarthook/start-system-namespaces-controller", 200),
            ("poststarthook/rbac/bootstrap-roles", 500),
            ("poststarthook/apiservice-discovery-controller", 500),
            ("informer-sync", 500),
        ):
            assert (await text_of(server, f"/readyz/{path}"))[0] == status, path
        status, text = await text_of(server, "/livez", "verbose")
        assert status == 500 and "[-]poststarthook/rbac/bootstrap-roles failed: reason withheld\n" in text
        go.set()
        async with asyncio.timeout(10):
            await starting
        assert await text_of(server, "/readyz") == (200, "ok")
    finally:
        go.set()
        await asyncio.gather(starting, return_exceptions=True)
        await server.stop()
