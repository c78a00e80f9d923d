"""The API's semantics as tables: options, field managers, patches, deletions, in upstream's words."""

# ruff: noqa: E501 (the rows of tables are one line each)

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from kumo.machinery.http import Request, Response
from support.apiserver import ADMIN, RunningApiServer, running_apiserver

pytestmark = [pytest.mark.component, pytest.mark.asyncio(loop_scope="module")]

Object = dict[str, Any]
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
JSON, MERGE = "application/json-patch+json", "application/merge-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"


class Api:
    """Requests as they are, answers decoded."""

    def __init__(self, server: RunningApiServer) -> None:
        self._server = server

    async def __call__(
        self, method: str, path: str, body: Any = None, kind: str = "application/json", **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        path, _, query = path.partition("?")
        payload = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        sent = {
            "content-type": kind,
            "user-agent": "tester/1.0",
            **{k.replace("_", "-"): v for k, v in headers.items()},
        }
        answer = await self._server.server.handle(Request(method, path, query, sent, payload, ADMIN))
        assert isinstance(answer, Response)
        if isinstance(answer.body, bytes):
            data = answer.body
        elif hasattr(answer.body, "__aiter__"):
            data = b"".join([chunk async for chunk in answer.body])
        else:
            data = b"".join(answer.body)
        try:
            value = msgspec.json.decode(data)
        except msgspec.DecodeError:
            value = data.decode()
        return answer.status, value, dict(answer.headers)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    path: Path = tmp_path_factory.mktemp("semantics")
    async with running_apiserver(path) as server:
        found = Api(server)
        for name in ("a", "b", "c"):
            await found("POST", CONFIGMAPS, {"metadata": {"name": name, "labels": {"x": name}}})
        yield found


def deployment(name: str, **spec: Any) -> Object:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def managers(obj: Object) -> list[tuple[str, str, str]]:
    entries = obj["metadata"].get("managedFields") or []
    return sorted((e["manager"], e["operation"], e.get("subresource", "")) for e in entries)


# -- lists and watches --------------------------------------------------------------------------------------------


FORBIDDEN = 'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden'


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("limit=x", 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("resourceVersionMatch=Exact", 422, f"{FORBIDDEN} unless resourceVersion is provided"),
        ("resourceVersion=5&resourceVersionMatch=Exact&continue=x", 422, f"{FORBIDDEN} when continue is provided"),
        (
            "resourceVersion=0&resourceVersionMatch=Exact",
            422,
            'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: '
            'resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
        ),
        (
            "resourceVersion=5&resourceVersionMatch=Bogus",
            422,
            'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Unsupported value: "Bogus": '
            'supported values: "Exact", "NotOlderThan", ""',
        ),
        (
            "sendInitialEvents=true",
            422,
            'ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: Forbidden: '
            "sendInitialEvents is forbidden for list",
        ),
        (
            "resourceVersion=abc",
            400,
            'invalid resource version: resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": '
            "invalid syntax",
        ),
        (
            "watch=1&resourceVersionMatch=NotOlderThan",
            422,
            f"{FORBIDDEN} for watch unless sendInitialEvents is provided",
        ),
        ("watch=1&continue=x", 422, f"{FORBIDDEN} when continue is provided"),
        ("labelSelector=a%3D%3D,", 400, "found '', expected: identifier after ','"),
    ],
)
async def test_list_options(api: Api, query: str, status: int, message: str) -> None:
    found = await api("GET", f"{CONFIGMAPS}?{query}")
    assert (found[0], found[1]["message"]) == (status, message)


async def test_any_state_is_given_whole_and_selectors_go_on(api: Api) -> None:
    whole = (await api("GET", f"{CONFIGMAPS}?resourceVersion=0&limit=1"))[1]
    assert len(whole["items"]) >= 3 and "continue" not in whole["metadata"]
    part = (await api("GET", f"{CONFIGMAPS}?labelSelector=x%3Da&limit=1"))[1]
    assert [o["metadata"]["name"] for o in part["items"]] == ["a"] and part["metadata"]["continue"]
    assert "remainingItemCount" not in part["metadata"]


async def test_what_remains_is_counted_at_the_lists_own_revision(api: Api) -> None:
    path = "/api/v1/namespaces/default/secrets"
    for name in ("a", "b", "c", "d"):
        await api("POST", path, {"metadata": {"name": name}})
    token = (await api("GET", f"{path}?limit=1"))[1]["metadata"]["continue"]
    await api("POST", path, {"metadata": {"name": "e"}})
    part = (await api("GET", f"{path}?limit=1&continue={token}"))[1]
    assert part["metadata"]["remainingItemCount"] == 2


async def test_a_watch_of_the_future_is_silent(api: Api) -> None:
    status, body, _ = await api("GET", f"{CONFIGMAPS}?watch=1&resourceVersion=99999999&timeoutSeconds=1")
    assert (status, body) == (200, "")


async def test_a_watch_without_a_revision_begins_with_what_is_there(api: Api) -> None:
    query = "watch=1&allowWatchBookmarks=true&timeoutSeconds=1"
    _, body, _ = await api("GET", f"{CONFIGMAPS}?{query}")
    events = [msgspec.json.decode(line) for line in body.splitlines()]
    first = next(e for e in events if e["type"] == "BOOKMARK")
    assert first["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


# -- field managers -----------------------------------------------------------------------------------------------


async def test_every_write_is_booked(api: Api) -> None:
    made = (await api("POST", f"{DEPLOYMENTS}?fieldManager=maker", deployment("books")))[1]
    assert managers(made) == [("maker", "Update", "")]
    owned = made["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]
    assert "f:replicas" in owned and "f:strategy" in owned and "." not in owned["f:template"]
    target = f"{DEPLOYMENTS}/books"
    await api("PATCH", f"{target}/scale?fieldManager=scaler", {"spec": {"replicas": 3}}, MERGE)
    await api("PATCH", f"{target}/status?fieldManager=watcher", {"status": {"replicas": 3}}, MERGE)
    found = (await api("PATCH", f"{target}?fieldManager=noop", {"spec": {"replicas": 3}}, MERGE))[1]
    assert managers(found) == [
        ("maker", "Update", ""),
        ("scaler", "Update", "scale"),
        ("watcher", "Update", "status"),
    ]
    reset = (await api("PATCH", target, {"metadata": {"managedFields": [{}]}}, MERGE))[1]
    assert managers(reset) == []
    applied = deployment("books", replicas=5)
    refused = (await api("PATCH", f"{target}?fieldManager=me", applied, APPLY))[1]
    assert refused["message"] == (
        'Apply failed with 1 conflict: conflict with "before-first-apply" using apps/v1: .spec.replicas'
    )


async def test_managers_of_two_versions_of_one_object(api: Api) -> None:
    path = "/apis/autoscaling/{}/namespaces/default/horizontalpodautoscalers/h?fieldManager={}"
    spec = {"maxReplicas": 5, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}
    new = {**spec, "minReplicas": 2, "metrics": [{"type": "Resource", "resource": cpu}]}
    head = {"kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"}}
    made = await api("PATCH", path.format("v2", "m"), {**head, "apiVersion": "autoscaling/v2", "spec": new}, APPLY)
    assert made[0] == 201
    old = {**head, "apiVersion": "autoscaling/v1", "spec": {**spec, "targetCPUUtilizationPercentage": 60}}
    refused = (await api("PATCH", path.format("v1", "n"), old, APPLY))[1]
    assert refused["message"] == 'Apply failed with 1 conflict: conflict with "m": .spec.metrics'
    found = (await api("PATCH", path.format("v1", "m"), old, APPLY))[1]
    assert (
        found["spec"]["targetCPUUtilizationPercentage"] == 60
        and found["metadata"]["managedFields"][0]["apiVersion"] == "autoscaling/v1"
    )


OPTIONS = 'PatchOptions.meta.k8s.io "" is invalid: '


@pytest.mark.parametrize(
    ("query", "kind", "message"),
    [
        ("", APPLY, f"{OPTIONS}fieldManager: Required value: is required for apply patch"),
        ("force=true", MERGE, f"{OPTIONS}force: Forbidden: may not be specified for non-apply patch"),
        ("fieldManager=" + "x" * 129, MERGE, f"{OPTIONS}fieldManager: Too long: may not be more than 128 bytes"),
        ("dryRun=x", MERGE, f'{OPTIONS}dryRun: Unsupported value: ["x"]: supported values: "All"'),
        (
            "fieldValidation=x",
            MERGE,
            f'{OPTIONS}fieldValidation: Unsupported value: "x": supported values: "", "Ignore", "Strict", "Warn"',
        ),
    ],
)
async def test_options_of_writes(api: Api, query: str, kind: str, message: str) -> None:
    status, body, _ = await api("PATCH", f"{CONFIGMAPS}/a?{query}", {}, kind)
    assert (status, body["message"]) == (422, message)


# -- patches ------------------------------------------------------------------------------------------------------


TYPED = "failed to create typed patch object (/d; apps/v1, Kind=Deployment): "


@pytest.mark.parametrize(
    ("kind", "body", "status", "message"),
    [
        (JSON, b'{"op":"add"}', 400, "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"),
        (JSON, b"nope", 400, "error decoding patch: invalid character 'o' in literal null (expecting 'u')"),
        (JSON, b"", 400, "error decoding patch: unexpected end of JSON input"),
        (MERGE, b"null", 400, "Invalid JSON Patch"),
        (MERGE, b"[1]", 400, "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"),
        (MERGE, b'{"metadata":{"name":"z"}}', 400, "the name of the object (z) does not match the name on the URL (d)"),
        (STRATEGIC, b"[1]", 400, "json: cannot unmarshal array into Go value of type map[string]interface {}"),
        (STRATEGIC, b'{"spec":{"replicas":"x"}}', 422, ' "" is invalid: patch: Invalid value: "map[spec:map[replicas:x]]": unrecognized type: int32'),
        (STRATEGIC, b'{"spec":{"template":5}}', 422, ' "" is invalid: patch: Invalid value: "map[spec:map[template:5]]": cannot restore struct from: int64'),
        (STRATEGIC, b'{"spec":{"$patch":null}}', 400, "unknown patch type: <nil> in map: map[$patch:<nil>]"),
        (STRATEGIC, b'{"$patch":7}', 400, "unknown patch type: 7 in map: map[$patch:7]"),
        (STRATEGIC, b'{"spec":{"$patch":"x"}}', 500, "unknown patch type: x in map: map[$patch:x]"),
        (APPLY, b"", 400, "invalid object type: /, Kind="),
        (APPLY, b"a: b: c", 400, "error decoding YAML: error converting YAML to JSON: yaml: mapping values are not allowed in this context"),
        (APPLY, b'{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},"spec":{"foo":1}}', 500, f"{TYPED}.spec.foo: field not declared in schema"),
    ],
)  # fmt: skip
async def test_refused_patches(api: Api, kind: str, body: bytes, status: int, message: str) -> None:
    await api("POST", DEPLOYMENTS, deployment("d"))
    found = await api("PATCH", f"{DEPLOYMENTS}/d?fieldManager=m", body, kind)
    assert (found[0], found[1]["message"]) == (status, message)


@pytest.mark.parametrize(
    ("kind", "body", "warning"),
    [
        (JSON, b'[{"op":"add","path":"/data","value":{},"x":1}]', 'json patch unknown field \\"[0].x\\"'),
        (MERGE, b'{"data":{"x":"1","x":"2"}}', 'duplicate field \\"data.x\\"'),
        (MERGE, b'{"foo":1}', 'unknown field \\"foo\\"'),
        (APPLY, b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  k: '1'\n  k: '2'\n", "line 6: key \\\"k\\\" already set in map"),
    ],
)  # fmt: skip
async def test_field_validation(api: Api, kind: str, body: bytes, warning: str) -> None:
    target = f"{CONFIGMAPS}/a?fieldManager=v&dryRun=All"
    status, _, headers = await api("PATCH", target, body, kind)
    assert status == 200 and headers["Warning"] == f'299 - "{warning}"'
    assert "Warning" not in (await api("PATCH", f"{target}&fieldValidation=Ignore", body, kind))[2]
    strict = await api("PATCH", f"{target}&fieldValidation=Strict", body, kind)
    assert strict[0] in (400, 422) and "strict" in strict[1]["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"target":7}', 'Binding in version "v1" cannot be handled as a Binding: json: cannot unmarshal number into Go struct field Binding.target of type v1.ObjectReference'),
        (b'{"metadata":7,"target":{"name":"n"}}', "cannot unmarshal number into Go struct field Binding.metadata of type v1.ObjectMeta"),
        (b'{"metadata":{"name":"p","labels":{"a":1}},"target":{"name":"n"}}', "cannot be handled as a Binding"),
        (b'{"metadata":{"annotations":[]},"target":{"name":"n"}}', "cannot be handled as a Binding"),
        (b'{"target":{"name":7}}', "cannot unmarshal number into Go struct field ObjectReference.target.name of type string"),
        (b"[]", "must be of type Binding"),
        (b"7", "must be of type Binding"),
    ],
)  # fmt: skip
async def test_malformed_bindings(api: Api, body: bytes, message: str) -> None:
    status, answer, _ = await api("POST", "/api/v1/namespaces/default/pods/p/binding", body)
    assert status == 400 and message in answer["message"]


# -- deletions ----------------------------------------------------------------------------------------------------


INVALID = 'DeleteOptions.meta.k8s.io "" is invalid: '


@pytest.mark.parametrize(
    ("query", "body", "status", "message"),
    [
        ("", {"propagationPolicy": "X"}, 422, f'{INVALID}propagationPolicy: Unsupported value: "X": supported values: "Foreground", "Background", "Orphan", "nil"'),
        ("propagationPolicy=", None, 422, f'{INVALID}propagationPolicy: Unsupported value: "": supported values: "Foreground", "Background", "Orphan", "nil"'),
        ("", {"propagationPolicy": "Orphan", "orphanDependents": True}, 422, f'{INVALID}propagationPolicy: Invalid value: "Orphan": orphanDependents and deletionPropagation cannot be both set'),
        ("", {"dryRun": ["x"]}, 422, f'{INVALID}dryRun: Unsupported value: ["x"]: supported values: "All"'),
        ("", {"gracePeriodSeconds": "x"}, 400, "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64"),
        ("gracePeriodSeconds=x", None, 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("", b"{", 400, "couldn't get version/kind; json parse error: unexpected end of JSON input"),
    ],
)  # fmt: skip
async def test_refused_deletions(api: Api, query: str, body: Any, status: int, message: str) -> None:
    found = await api("DELETE", f"{CONFIGMAPS}/b?{query}", body)
    assert (found[0], found[1]["message"]) == (status, message)
    assert (await api("GET", f"{CONFIGMAPS}/b"))[0] == 200


async def test_what_deletions_answer(api: Api) -> None:
    await api("POST", CONFIGMAPS, {"metadata": {"name": "gone"}})
    status, body, _ = await api("DELETE", f"{CONFIGMAPS}/gone")
    assert (status, body["kind"], body["status"], body["details"]["name"]) == (200, "Status", "Success", "gone")
    pods = "/api/v1/namespaces/default/pods"
    await api("POST", pods, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    status, body, _ = await api("DELETE", f"{pods}/p")
    meta = body["metadata"]
    assert (body["kind"], meta["deletionGracePeriodSeconds"], meta["generation"]) == ("Pod", 0, 2)
    await api("POST", CONFIGMAPS, {"metadata": {"name": "held", "finalizers": ["a.io/b"]}})
    await api("DELETE", f"{CONFIGMAPS}/held")
    again = (await api("POST", CONFIGMAPS, {"metadata": {"name": "held"}}))[1]
    assert again["message"] == 'object is being deleted: configmaps "held" already exists'


# -- negotiation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "accept", "status"),
    [
        ("GET", f"{CONFIGMAPS}/a", "text/html", 406),
        ("GET", f"{CONFIGMAPS}/a", "application/vnd.kubernetes.protobuf", 406),
        ("GET", f"{CONFIGMAPS}/a", "application/vnd.kubernetes.protobuf, */*", 200),
        ("GET", f"{CONFIGMAPS}?watch=1", "application/yaml", 406),
        ("HEAD", f"{CONFIGMAPS}/a", "", 405),
        ("OPTIONS", CONFIGMAPS, "", 405),
        ("POST", "/api/v1/configmaps", "", 405),
        ("GET", "/api/v1/namespaces/default/nodes", "", 404),
        ("GET", "/nothing", "", 404),
    ],
)
async def test_what_is_not_answered(api: Api, method: str, path: str, accept: str, status: int) -> None:
    assert (await api(method, path, accept=accept))[0] == status
