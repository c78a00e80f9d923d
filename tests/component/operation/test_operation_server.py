"""The API server in operation: floods, time-outs, audit, encryption, health and metrics, on a real server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kumo.api.errors import StatusError
from kumo.api.resources import CLUSTERROLEBINDINGS, CONFIGMAPS, GVR, SECRETS
from kumo.kubernetes.apiserver.audit.config import AuditConfig, Batching
from kumo.kubernetes.apiserver.encryption import EncryptionError
from kumo.kubernetes.apiserver.flowcontrol.defaults import FLOWSCHEMAS, LEVELS, default_levels, default_schemas
from kumo.kubernetes.apiserver.operation_config import OperationConfig
from kumo.machinery import kubeconfig
from kumo.machinery.http import Request, Response
from kumo.machinery.listener import Listener
from support.apiserver import RunningApiServer, running_apiserver

pytestmark = pytest.mark.component
LEASES = GVR("coordination.k8s.io", "v1", "leases", True)
_LEASE_PLACE = "kube-node-lease"
_PATIENCE = 15.0


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(_PATIENCE):
        while not await condition():
            await asyncio.sleep(0.02)


async def grant_everything(server: RunningApiServer, *users: str) -> None:
    subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user} for user in users]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    binding = {"metadata": {"name": "everything"}, "roleRef": role, "subjects": subjects}
    await server.client.create(CLUSTERROLEBINDINGS, binding)


async def text_of(server: RunningApiServer, path: str, query: str = "") -> tuple[int, str]:
    reply = await server.client.transport.request("GET", path, query=query)
    return reply.status, reply.body.decode()


# -- priority and fairness -------------------------------------------------------------------------------------------


async def test_the_default_objects_are_made_kept_and_guarded(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        client = server.client

        async def all_there() -> bool:
            schemas = (await client.list(FLOWSCHEMAS)).items
            levels = (await client.list(LEVELS)).items
            conditions = [c for s in schemas for c in (s.get("status") or {}).get("conditions") or ()]
            return (
                len(levels) == len(default_levels())
                and len(conditions) == len(schemas) == len(default_schemas())
                and all(c["status"] == "False" for c in conditions)
            )

        await until(all_there)
        for name in ("exempt", "catch-all"):
            with pytest.raises(StatusError, match=f"spec of '{name}' must equal the fixed value"):
                await client.patch(FLOWSCHEMAS, name, {"spec": {"matchingPrecedence": 77}})
        await client.delete(LEVELS, "catch-all")
        await client.delete(FLOWSCHEMAS, "system-nodes")
        await until(all_there)
        mine = {"priorityLevelConfiguration": {"name": "missing"}}
        await client.create(FLOWSCHEMAS, {"metadata": {"name": "mine"}, "spec": mine})

        async def told() -> bool:
            found = ((await client.get(FLOWSCHEMAS, "mine")).get("status") or {}).get("conditions") or [{}]
            return found[0].get("reason") == "NotFound"

        await until(told)


async def test_a_flood_starves_neither_leases_nor_another_user(tmp_path: Path) -> None:
    limits = OperationConfig(max_requests_inflight=20, max_mutating_requests_inflight=20)
    async with running_apiserver(tmp_path, operation=limits) as server:
        await grant_everything(server, "flood", "other", "system:node:n1")
        flood, other = server.as_user("flood"), server.as_user("other")
        node = server.as_user("system:node:n1", "system:nodes")
        lease = {"metadata": {"name": "n1", "namespace": _LEASE_PLACE}, "spec": {"holderIdentity": "n1"}}
        await node.create(LEASES, lease)
        codes: dict[int, int] = {}
        retries: set[str] = set()

        async def one(number: int) -> None:
            for turn in range(10_000):
                body = json.dumps({"metadata": {"name": f"f-{number}-{turn}"}}).encode()
                reply = await flood.transport.request("POST", "/api/v1/namespaces/default/configmaps", body=body)
                codes[reply.status] = codes.get(reply.status, 0) + 1
                if reply.status == 429:
                    retries.add(reply.headers["retry-after"])
                    assert reply.body == b"Too many requests, please try again later.\n"
                    assert reply.headers["x-kubernetes-pf-flowschema-uid"]
                    await asyncio.sleep(0.05)

        tasks = [asyncio.create_task(one(number)) for number in range(600)]
        try:

            async def refused() -> bool:
                return codes.get(429, 0) > 100

            await until(refused)
            longest = 0.0
            for turn in range(20):
                began = time.perf_counter()
                lease = await node.get(LEASES, "n1", _LEASE_PLACE)
                lease["spec"]["leaseTransitions"] = turn
                await node.update(LEASES, lease)
                await other.create(CONFIGMAPS, {"metadata": {"name": f"o-{turn}"}}, "default")
                longest = max(longest, time.perf_counter() - began)
            assert longest < 5.0, "the others go on while the flood waits"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert codes[201] > 20 and retries <= {str(n) for n in range(1, 33)}
        _, levels = await text_of(server, "/debug/api_priority_and_fairness/dump_priority_levels")
        rows = {line.split(",")[0]: [c.strip() for c in line.split(",")] for line in levels.splitlines()[1:]}
        assert int(rows["global-default"][7]) > 100 and rows["node-high"][7] == "0"
        _, metrics = await text_of(server, "/metrics")
        assert 'apiserver_flowcontrol_rejected_requests_total{priority_level="global-default"' in metrics
        assert rows["global-default"][4:6] == ["0", "0"], "nobody waits or executes any more"
        assert (await text_of(server, "/debug/api_priority_and_fairness/dump_queues"))[0] == 200
        assert (await text_of(server, "/debug/api_priority_and_fairness/nope"))[0] == 404


async def test_a_watch_takes_a_seat_until_it_has_begun(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        await grant_everything(server, "jane")
        gate = server.server._operation.gate
        assert gate is not None
        async with server.as_user("jane").transport.stream(
            "GET", "/api/v1/namespaces/default/configmaps", query="watch=true"
        ) as (status, chunks):
            assert status == 200
            assert await anext(chunks) is not None
            await server.client.create(CONFIGMAPS, {"metadata": {"name": "seen"}}, "default")
            async with asyncio.timeout(_PATIENCE):
                while b"seen" not in await anext(chunks):
                    pass
            assert gate.levels["global-default"].seats == 0
        for query in ("watch=true", "watch=true&resourceVersion=1"):
            reply = server.as_user("nobody").transport.stream("GET", "/api/v1/secrets", query=query)
            async with reply as (status, _):
                assert status == 403
        assert all(level.seats == 0 for level in gate.levels.values() if not level.exempt)


async def test_limits_without_priority_and_fairness(tmp_path: Path) -> None:
    limits = OperationConfig(priority_and_fairness=False, max_mutating_requests_inflight=2)
    async with running_apiserver(tmp_path, operation=limits) as server:
        await grant_everything(server, "jane")
        jane = server.as_user("jane").transport
        path = "/api/v1/namespaces/default/configmaps"
        bodies = [json.dumps({"metadata": {"name": f"c-{n}"}}).encode() for n in range(50)]
        replies = await asyncio.gather(*(jane.request("POST", path, body=body) for body in bodies))
        assert {reply.status for reply in replies} == {201, 429}
        assert all(r.headers["retry-after"] == "1" for r in replies if r.status == 429)
        assert (await jane.request("POST", path, body=b'{"metadata":{"name":"later"}}')).status == 201


# -- time-outs -------------------------------------------------------------------------------------------------------


async def slow_body() -> AsyncIterator[bytes]:
    yield b"{"
    await asyncio.sleep(60)
    yield b"}"


async def test_requests_end_in_time(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path, operation=OperationConfig(request_timeout=0.5)) as server:
        path = "/api/v1/namespaces/default/configmaps"
        for query in ("timeout=200ms", ""):
            began = time.monotonic()
            reply = await server.client.transport.request("POST", path, query=query, body=slow_body())
            assert time.monotonic() - began < 5
            status = json.loads(reply.body)
            assert (reply.status, status["reason"]) == (504, "Timeout")
            assert status["message"] == "Timeout: request did not complete within the allotted timeout"
        reply = await server.client.transport.request("GET", path, query="timeout=1x")
        assert reply.status == 400 and b'unknown unit \\"x\\" in duration \\"1x\\"' in reply.body
        query = "watch=true&timeout=100ms&timeoutSeconds=1"
        async with server.client.transport.stream("GET", path, query=query) as (status, chunks):
            began = time.monotonic()
            assert status == 200 and [c async for c in chunks if c] != [None]
            assert time.monotonic() - began > 0.7, "a watch has its own time"


async def test_a_body_over_three_mebibytes(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        path = "/api/v1/namespaces/default/configmaps"
        reply = await server.client.transport.request("POST", path, body=b" " * ((3 << 20) + 1))
        status = json.loads(reply.body)
        assert (reply.status, status["reason"]) == (413, "RequestEntityTooLarge")
        assert status["message"] == "Request entity too large: limit is 3145728"


# -- audit -----------------------------------------------------------------------------------------------------------

POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- {level: None, users: ["system:apiserver"]}
- {level: Metadata, resources: [{resources: [secrets]}]}
- {level: RequestResponse, resources: [{resources: [configmaps]}], omitManagedFields: true}
- {level: Request, resources: [{resources: [services]}], omitStages: [RequestReceived]}
- {level: Metadata, nonResourceURLs: [/version]}
"""


async def test_a_changed_policy_is_used_at_once(tmp_path: Path) -> None:
    policy, log = tmp_path / "policy.yaml", tmp_path / "log"
    head = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: "
    policy.write_text(f"{head}[{{level: None}}]\n")
    config = OperationConfig(audit=AuditConfig(policy, str(log)))
    async with running_apiserver(tmp_path, operation=config) as server:

        async def until_written(kind: str) -> None:
            async with asyncio.timeout(10):
                while kind not in (log.read_text() if log.exists() else ""):
                    await server.client.list(CONFIGMAPS)
                    await asyncio.sleep(0.02)

        await server.client.list(CONFIGMAPS)
        assert not log.exists() or not log.read_text()
        policy.write_text(f"{head}[{{level: Metadata}}]\n")
        await until_written('"level":"Metadata"')
        policy.write_text("nonsense: [")  # It is not used: what was goes on.
        await asyncio.sleep(0.1)
        written = len(log.read_text())
        await server.client.list(CONFIGMAPS)
        assert len(log.read_text()) > written
        policy.write_text(f"{head}[{{level: Request}}]\n")
        await until_written('"level":"Request"')


async def test_events_are_written_by_policy(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    log = tmp_path / "audit" / "log"
    config = OperationConfig(audit=AuditConfig(tmp_path / "policy.yaml", str(log)))
    async with running_apiserver(tmp_path, https=True, operation=config) as server:
        client = server.https_client()
        await client.create(SECRETS, {"metadata": {"name": "s"}, "stringData": {"a": "SEKRIT"}}, "default")
        made = await client.create(CONFIGMAPS, {"metadata": {"name": "c"}, "data": {"a": "b"}}, "default")
        ports = {"spec": {"ports": [{"port": 80}]}}
        await client.create(GVR("", "v1", "services", True), {"metadata": {"name": "v"}, **ports}, "default")
        await client.transport.request("GET", "/version")
        await client.transport.request("GET", "/apis")
        headers = {"impersonate-user": "joe", "audit-id": "of-mine"}
        reply = await client.transport.request("GET", "/api/v1/namespaces/default/configmaps/c", headers=headers)
        assert (reply.status, reply.headers["audit-id"]) == (403, "of-mine")
        reply = await client.transport.request("GET", "/version", headers={"authorization": "Bearer nonsense"})
        query = "watch=true&timeoutSeconds=1"
        stream = client.transport.stream("GET", "/api/v1/namespaces/default/configmaps", query=query)
        async with stream as (_, chunks):
            assert b"ADDED" in b"".join([c async for c in chunks])
        await client.transport.close()
        _, metrics = await text_of(server, "/metrics")
        assert "apiserver_audit_event_total" in metrics and 'apiserver_audit_level_total{level="Metadata"}' in metrics
    lines = log.read_text()
    assert "SEKRIT" not in lines and base64.b64encode(b"SEKRIT").decode() not in lines
    found = [json.loads(line) for line in lines.splitlines()]
    told = [(e["stage"], e["verb"], (e.get("objectRef") or {}).get("resource", e["requestURI"])) for e in found]
    assert ("RequestReceived", "create", "secrets") in told and ("ResponseComplete", "create", "secrets") in told
    assert not any("/apis" in place for _, _, place in told)
    assert ("RequestReceived", "create", "services") not in told

    def last(verb: str, resource: str, stage: str = "ResponseComplete") -> dict[str, Any]:
        return next(
            e
            for e in reversed(found)
            if (e["verb"], e["stage"]) == (verb, stage) and (e.get("objectRef") or {}).get("resource") == resource
        )

    secret, config_map, service = last("create", "secrets"), last("create", "configmaps"), last("create", "services")
    assert secret["objectRef"] == {"resource": "secrets", "namespace": "default", "name": "s", "apiVersion": "v1"}
    assert secret["user"]["username"] == "kubernetes-admin" and secret["sourceIPs"] == ["127.0.0.1"]
    assert secret["annotations"] == {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""}
    assert "requestObject" not in secret and secret["responseStatus"] == {"metadata": {}, "code": 201}
    assert config_map["requestObject"]["data"] == {"a": "b"}
    assert config_map["responseObject"]["metadata"]["uid"] == made["metadata"]["uid"]
    assert "managedFields" not in config_map["responseObject"]["metadata"]
    assert service["requestObject"]["spec"]["sessionAffinity"] == "None", "as its kind has it, with defaults"
    assert "responseObject" not in service
    refused = last("get", "configmaps")
    assert refused["auditID"] == "of-mine" and refused["impersonatedUser"]["username"] == "joe"
    assert refused["annotations"]["authorization.k8s.io/decision"] == "forbid"
    assert refused["responseStatus"]["reason"] == "Forbidden"
    stages = [e["stage"] for e in found if e["verb"] == "watch"]
    assert stages == ["RequestReceived", "ResponseStarted", "ResponseComplete"]


async def test_events_reach_a_webhook_that_was_away(tmp_path: Path) -> None:
    policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata, users: [jane]}]\n"
    (tmp_path / "policy.yaml").write_text(policy)
    items: list[dict[str, Any]] = []
    refusals = [500]

    async def receive(request: Request) -> Response:
        if refusals:
            return Response(refusals.pop())
        body = json.loads(await request.read(1 << 20))
        assert (body["kind"], body["apiVersion"]) == ("EventList", "audit.k8s.io/v1")
        items.extend(body["items"])
        return Response(200)

    async with Listener(receive, grace=0.1) as listener:
        where = tmp_path / "webhook.kubeconfig"
        kubeconfig.write(where, server=listener.url, ca=b"", cert=b"", key=b"")
        batching = Batching(wait=0.05, rate=100, backoff=0.01)
        config = OperationConfig(audit=AuditConfig(tmp_path / "policy.yaml", webhook=where, batching=batching))
        async with running_apiserver(tmp_path, operation=config) as server:
            await server.as_user("jane").transport.request("GET", "/version")

            async def arrived() -> bool:
                return len(items) == 2

            await until(arrived)
    assert [item["stage"] for item in items] == ["RequestReceived", "ResponseComplete"]


# -- encryption ------------------------------------------------------------------------------------------------------


def keys(kind: str, *names: str) -> dict[str, Any]:
    found = [{"name": n, "secret": base64.b64encode(n[-1].encode() * 32).decode()} for n in names]
    return {kind: {"keys": found}}


def configure(path: Path, *secrets: dict[str, Any]) -> None:
    parts = [{"resources": ["secrets"], "providers": list(secrets)}]
    document = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": parts}
    fresh = path.with_suffix(".new")
    fresh.write_text(yaml.safe_dump(document))
    fresh.replace(path)


def on_disk(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in (directory / "store").iterdir())


async def test_secrets_are_unreadable_on_disk_and_keys_rotate(tmp_path: Path) -> None:
    file = tmp_path / "encryption.yaml"
    configure(file, keys("aescbc", "key1"), {"identity": {}})
    config = OperationConfig(encryption=file)
    text = base64.b64encode(b"SEKRIT-WORD").decode()
    async with running_apiserver(tmp_path, operation=config) as server:
        client = server.client
        await client.create(SECRETS, {"metadata": {"name": "s"}, "data": {"a": text}}, "default")
        await client.create(CONFIGMAPS, {"metadata": {"name": "c"}, "data": {"a": "in-plain-words"}}, "default")
        assert (await client.get(SECRETS, "s", "default"))["data"] == {"a": text}
        found = on_disk(tmp_path)
        assert b"k8s:enc:aescbc:v1:key1:" in found and b"in-plain-words" in found
        assert text.encode() not in found and b"SEKRIT-WORD" not in found
        before = (await client.get(SECRETS, "s", "default"))["metadata"]["resourceVersion"]
        assert (await client.update(SECRETS, await client.get(SECRETS, "s", "default")))["metadata"][
            "resourceVersion"
        ] == before, "nothing to write"
        configure(file, keys("secretbox", "key2"), keys("aescbc", "key1"))

        async def rewritten() -> bool:
            obj = await client.get(SECRETS, "s", "default")
            return bool((await client.update(SECRETS, obj))["metadata"]["resourceVersion"] != before)

        await until(rewritten)
        assert b"k8s:enc:secretbox:v1:key2:" in on_disk(tmp_path)
        file.write_text("no: configuration")

        async def complains() -> bool:
            return "[-]encryption-provider-config failed" in (await text_of(server, "/readyz", "verbose"))[1]

        await until(complains)
        assert (await client.get(SECRETS, "s", "default"))["data"] == {"a": text}


async def test_an_object_without_its_key_is_one_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "encryption.yaml"
    configure(file, keys("aesgcm", "key1"))
    config = OperationConfig(encryption=file)
    async with running_apiserver(tmp_path, operation=config) as server:
        await server.client.create(SECRETS, {"metadata": {"name": "old"}}, "default")
    configure(file, keys("aesgcm", "key2"))
    why = "no matching key was found for the provided AES transformer"
    async with running_apiserver(tmp_path, operation=config) as server:
        client = server.client
        await client.create(SECRETS, {"metadata": {"name": "new"}}, "default")
        assert (await client.get(SECRETS, "new", "default"))["metadata"]["name"] == "new"
        for attempt in (
            client.get(SECRETS, "old", "default"),
            client.list(SECRETS, "default"),
            client.delete(SECRETS, "old", "default"),
            client.patch(SECRETS, "old", {"data": {}}, "default"),
        ):
            with pytest.raises(StatusError) as refused:
                await attempt
            assert (refused.value.code, refused.value.reason) == (500, "InternalError") and why in str(refused.value)
        with pytest.raises(StatusError):
            await client.create(SECRETS, {"metadata": {"name": "old"}}, "default")
        assert (await client.list(CONFIGMAPS, "default")).items == []
        assert (await text_of(server, "/readyz"))[0] == 200
        configure(file, keys("aesgcm", "key2", "key1"))

        async def readable() -> bool:
            with contextlib.suppress(StatusError):
                return len((await client.list(SECRETS, "default")).items) == 2
            return False

        await until(readable)


async def test_a_store_that_is_wholly_encrypted_needs_its_configuration(tmp_path: Path) -> None:
    file = tmp_path / "encryption.yaml"
    configure(file, keys("secretbox", "key1"))
    document = yaml.safe_load(file.read_text())
    document["resources"][0]["resources"] = ["*.*"]
    file.write_text(yaml.safe_dump(document))
    async with running_apiserver(tmp_path, operation=OperationConfig(encryption=file)):
        pass
    with pytest.raises(EncryptionError, match="Start it with the encryption configuration"):
        async with running_apiserver(tmp_path):
            pass
    file.write_text("[]")
    with pytest.raises(EncryptionError, match="can't be used"):
        async with running_apiserver(tmp_path, operation=OperationConfig(encryption=file)):
            pass


# -- health and metrics ----------------------------------------------------------------------------------------------


async def test_health_says_what_it_looked_at(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        for kind in ("healthz", "livez", "readyz"):
            assert await text_of(server, f"/{kind}") == (200, "ok")
            status, text = await text_of(server, f"/{kind}", "verbose&exclude=log&exclude=no&exclude=nope")
            assert status == 200 and text.startswith("[+]ping ok\n[+]log excluded: ok\n[+]etcd ok\n")
            assert text.endswith(
                f'warn: some health checks cannot be excluded: no matches for "no","nope"\n{kind} check passed\n'
            )
            assert await text_of(server, f"/{kind}/etcd") == (200, "ok")
            assert await text_of(server, f"/{kind}/poststarthook/rbac/bootstrap-roles") == (200, "ok")
            assert (await text_of(server, f"/{kind}/nope"))[0] == 404
        await server.server.announce_stop()
        status, text = await text_of(server, "/readyz")
        assert status == 500 and "[-]shutdown failed: reason withheld\n" in text
        assert text.endswith("readyz check failed\n")
        assert await text_of(server, "/livez") == (200, "ok")
        assert await text_of(server, "/readyz/shutdown") == (500, "internal server error: process is shutting down\n")
        _, slis = await text_of(server, "/metrics/slis")
        assert 'kubernetes_healthcheck{name="shutdown",type="readyz"} 0' in slis
        assert 'kubernetes_healthchecks_total{name="ping",status="success",type="livez"}' in slis


async def test_metrics_have_the_names_that_dashboards_ask_for(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        await server.client.create(CONFIGMAPS, {"metadata": {"name": "c"}}, "default")
        await server.client.get(CONFIGMAPS, "c", "default")
        await server.client.list(CONFIGMAPS)
        for number in range(30):
            await text_of(server, f"/invented/{number}")
        status, text = await text_of(server, "/metrics")
    assert status == 200
    samples = {line.rpartition(" ")[0]: line.rpartition(" ")[2] for line in text.splitlines() if line[0] != "#"}
    names = {key.partition("{")[0] for key in samples}
    for name in (
        "apiserver_request_total",
        "apiserver_request_duration_seconds_bucket",
        "apiserver_request_sli_duration_seconds_count",
        "apiserver_response_sizes_sum",
        "apiserver_current_inflight_requests",
        "apiserver_storage_objects",
        "apiserver_resource_objects",
        "apiserver_admission_step_admission_duration_seconds_bucket",
        "apiserver_flowcontrol_nominal_limit_seats",
        "apiserver_flowcontrol_current_limit_seats",
        "apiserver_flowcontrol_dispatched_requests_total",
        "apiserver_flowcontrol_request_execution_seconds_bucket",
        "authentication_attempts",
        "authorization_attempts_total",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "kubernetes_build_info",
    ):
        assert name in names, name
    labels = 'group="",version="v1",resource="configmaps",subresource="",scope="resource",component="apiserver"'
    assert (
        samples[f'apiserver_request_total{{verb="POST",{labels},dry_run="",code="201"}}'] == "2"
    )  # and the bootstrap's own
    assert samples[f'apiserver_request_duration_seconds_bucket{{verb="GET",{labels},dry_run="",le="+Inf"}}'] == "1"
    assert samples[f'apiserver_request_sli_duration_seconds_bucket{{verb="GET",{labels},le="60"}}'] == "1"
    assert not any("invented" in key for key in samples), "what nobody serves makes no series"
    assert samples['apiserver_storage_objects{resource="configmaps"}'] >= "1"
