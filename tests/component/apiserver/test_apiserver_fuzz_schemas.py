"""Schemas, expressions, admission configuration, patches and headers that no honest client sends: 4xx with a Status."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kumo.api.resources import CRDS
from kumo.machinery.http import Request, Response
from support.apiserver import ADMIN, RunningApiServer, running_apiserver

pytestmark = pytest.mark.component
_FIT = settings(
    max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
_SECONDS = 5.0
"""How much of the processor one request may take; the slowest of them take less than a tenth."""
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_THINGS = "/apis/fuzz.example/v1/namespaces/default/things"

_words = st.sampled_from(
    ("a", "b", "spec", "self", "type", "", "x-kubernetes-validations", "metadata", "status", "ä", "a-b", "\0", "$ref")
)
_scalars = st.none() | st.booleans() | st.integers(-(1 << 65), 1 << 65) | st.floats(allow_nan=False) | _words
_any = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3), max_leaves=8
)
_TOKENS = r"""
self oldSelf object oldObject request params variables a b 1 -1 1.5 1u 'x' "y" r'z' b'\xff' true null [ ] ( ) { } . , :
? + - * / % == != < <= && || ! in has( size( .all( .map( .exists( x, duration( timestamp( .matches( optional .?a int(
ip( string( .filter( sets. .split( '(a+)+$' authorizer .lowerAscii() \ " ' 9999999999999999999 0x // type( cel.bind(
dyn( .replace( .join( isIP( quantity( url( format.
"""
_expressions = st.lists(st.sampled_from(_TOKENS.split()), min_size=1, max_size=12).map(" ".join) | st.text(max_size=20)
_deep_expressions = st.sampled_from(
    (
        "(" * 5000,
        "!" * 5000 + "true",
        "[" * 3000 + "]" * 3000,
        "self" + ".a" * 5000,
        "1" + "+1" * 5000,
        "true" + "?true:true" * 2000,
        "'" + "x" * 100_000 + "' == 'y'",
        "[1,2,3,4,5,6,7,8,9].all(a," * 40 + "true" + ")" * 40,
    )
)
_TYPES = ("object", "array", "string", "integer", "number", "boolean", "null", "", "any")


def _rules() -> st.SearchStrategy[Any]:
    rule = st.fixed_dictionaries(
        {"rule": _expressions | _deep_expressions | _scalars},
        optional={
            "message": _scalars,
            "messageExpression": _expressions,
            "reason": st.sampled_from(("FieldValueInvalid", "x")) | _scalars,
            "fieldPath": st.sampled_from((".a", "a", "[", ".a[0]", ".spec['x']")) | _scalars,
            "optionalOldSelf": _scalars,
        },
    )
    return st.lists(rule, max_size=2)


def _grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {"type": st.sampled_from(_TYPES)},
        optional={
            "properties": st.dictionaries(_words, inner, max_size=3) | _scalars,
            "items": inner,
            "additionalProperties": inner | st.booleans(),
            "not": inner,
            "allOf": st.lists(inner, max_size=2),
            "anyOf": st.lists(inner, max_size=2),
            "pattern": st.sampled_from(("(a+)+$", "[", "(?=x)", "a{1,100000}", "\\p{L}", "x" * 5000)) | _scalars,
            "format": st.sampled_from(("date-time", "ipv4", "int32", "uuid", "byte", "zzz")) | _scalars,
            "enum": st.lists(_scalars, max_size=3) | _scalars,
            "default": _any,
            "required": st.lists(_words, max_size=2),
            "maxLength": _scalars,
            "minimum": _scalars,
            "multipleOf": st.sampled_from((0, -1, 0.1, 1e-300)),
            "maxItems": st.integers(-1, 1 << 60),
            "nullable": _scalars,
            "x-kubernetes-list-type": st.sampled_from(("map", "set", "atomic", "x")),
            "x-kubernetes-list-map-keys": st.lists(_words, max_size=2),
            "x-kubernetes-int-or-string": st.booleans(),
            "x-kubernetes-embedded-resource": st.booleans(),
            "x-kubernetes-preserve-unknown-fields": _scalars,
            "x-kubernetes-validations": _rules(),
        },
    )


_schemas = st.recursive(_scalars | st.just({"type": "object"}), _grown, max_leaves=6)


def _definition(schema: Any, plural: str = "things") -> dict[str, Any]:
    kind = plural.title()[:-1]
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": plural, "singular": plural[:-1], "kind": kind, "listKind": f"{kind}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.fuzz.example"},
        "spec": {"group": "fuzz.example", "scope": "Namespaced", "names": names, "versions": [version]},
    }


_OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


class Target:
    """A server and the loop it runs in; what it logs is looked at."""

    def __init__(self, runner: asyncio.Runner, server: RunningApiServer) -> None:
        self._runner = runner
        self.server = server

    def fire(
        self,
        method: str,
        path: str,
        body: Any = b"",
        headers: dict[str, str] | None = None,
        query: str = "",
        *,
        user: bool = True,
        own: tuple[bytes, ...] = (),
    ) -> tuple[int, bytes]:
        """The answer: a success, or a refusal that is the client's fault and a Status that says so."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        began = time.process_time()
        with structlog.testing.capture_logs() as logs:
            status, answer = self._runner.run(
                self._fire(Request(method, path, query, headers or {}, data, ADMIN if user else None))
            )
        assert time.process_time() - began < _SECONDS, (method, path, data[:300])
        assert not [entry for entry in logs if "exc_info" in entry], (logs, data[:2000])
        assert status < 500 or any(text in answer for text in own), (status, answer[:500], data[:2000])
        if 400 <= status != 429:
            found = json.loads(answer)
            assert found["kind"] == "Status" and found["code"] == status and found["message"], found
        return status, answer

    async def _fire(self, request: Request) -> tuple[int, bytes]:
        answer = await asyncio.wait_for(self.server.server.handle(request), 30)
        assert isinstance(answer, Response)
        body = answer.body
        assert not hasattr(body, "__aiter__")
        return answer.status, body if isinstance(body, bytes) else b"".join(body)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    with asyncio.Runner() as runner:
        context = running_apiserver(tmp_path)
        server = runner.run(context.__aenter__())
        runner.run(server.client.create(CRDS, _definition(_OPEN)))
        try:
            yield Target(runner, server)
        finally:
            runner.run(context.__aexit__(None, None, None))


def test_schemas_of_definitions(target: Target) -> None:
    made = 0

    @_FIT
    @given(_schemas, _any, _any)
    def barrage(schema: Any, spec: Any, other: Any) -> None:
        nonlocal made
        made += 1
        plural = f"t{made}s"
        status, _ = target.fire("POST", _CRDS, _definition(schema, plural))
        # Also at a place where it is read with an object that is there, inside of what is sound.
        root = {"type": "object", "properties": {"spec": schema}}
        status, _ = target.fire("POST", _CRDS, _definition(root, f"u{made}s"))
        if status != 201:
            return
        obj = {"apiVersion": "fuzz.example/v1", "kind": f"U{made}", "metadata": {"name": "a"}, "spec": spec}
        path = f"/apis/fuzz.example/v1/namespaces/default/u{made}s"
        target.fire("POST", path, obj)
        target.fire("PUT", f"{path}/a", {**obj, "spec": other})
        target.fire("GET", path)
        target.fire("DELETE", f"{_CRDS}/u{made}s.fuzz.example")

    barrage()


def test_admission_configuration_and_expressions(target: Target) -> None:
    numbers = iter(range(100_000))

    conditions = st.lists(
        st.fixed_dictionaries({"name": _words | st.just("c"), "expression": _expressions | _deep_expressions}),
        max_size=2,
    )
    rule = st.fixed_dictionaries(
        {},
        optional={
            "apiGroups": st.lists(st.sampled_from(("", "*", "apps", "*/*")), max_size=2),
            "apiVersions": st.lists(st.sampled_from(("v1", "*", "")), max_size=2),
            "operations": st.lists(st.sampled_from(("CREATE", "*", "CONNECT", "x")), max_size=2),
            "resources": st.lists(st.sampled_from(("pods", "*", "*/*", "pods/*", "*/x", "")), max_size=2),
            "scope": st.sampled_from(("*", "Namespaced", "x", "")),
        },
    )
    selector = st.sampled_from(({}, {"matchLabels": {"a": "b"}}, {"matchExpressions": [{"key": "", "operator": "In"}]}))
    hook = st.fixed_dictionaries(
        {"name": st.sampled_from(("a.b.c", "a", ""))},
        optional={
            "clientConfig": st.sampled_from(
                ({}, {"url": "http://x"}, {"url": "https://u:p@x/?a#b"}, {"caBundle": "%"})
            ),
            "rules": st.lists(rule, max_size=2),
            "failurePolicy": _words | st.just("Ignore"),
            "sideEffects": _words | st.just("None"),
            "timeoutSeconds": st.integers(-1, 1 << 40),
            "admissionReviewVersions": st.lists(_words, max_size=2),
            "matchConditions": conditions,
            "objectSelector": selector,
        },
    )
    policy = st.fixed_dictionaries(
        {},
        optional={
            "matchConstraints": st.fixed_dictionaries(
                {"resourceRules": st.lists(rule, max_size=2)}, optional={"namespaceSelector": selector}
            ),
            "validations": st.lists(
                st.fixed_dictionaries(
                    {"expression": _expressions | _deep_expressions},
                    optional={"messageExpression": _expressions, "reason": _words, "message": _words},
                ),
                max_size=2,
            ),
            "variables": st.lists(st.fixed_dictionaries({"name": _words, "expression": _expressions}), max_size=2),
            "auditAnnotations": st.lists(
                st.fixed_dictionaries({"key": _words, "valueExpression": _expressions}), max_size=2
            ),
            "matchConditions": conditions,
            "failurePolicy": st.sampled_from(("Ignore", "Fail", "x")),
            "paramKind": st.sampled_from(
                ({}, {"apiVersion": "v1", "kind": "ConfigMap"}, {"apiVersion": "/", "kind": ""})
            ),
        },
    )
    binding = st.fixed_dictionaries(
        {"policyName": st.just("p") | _words, "validationActions": st.lists(st.sampled_from(("Deny", "Warn", "x")))},
        optional={"paramRef": _any, "matchResources": _any},
    )

    @_FIT
    @given(st.lists(hook, max_size=2), policy, binding)
    def barrage(hooks: Any, spec: Any, bound: Any) -> None:
        number = next(numbers)
        for plural, body in (
            ("validatingwebhookconfigurations", {"webhooks": hooks}),
            ("mutatingwebhookconfigurations", {"webhooks": hooks}),
            ("validatingadmissionpolicies", {"spec": spec}),
            ("mutatingadmissionpolicies", {"spec": {**spec, "reinvocationPolicy": "Never"}}),
            ("validatingadmissionpolicybindings", {"spec": bound}),
        ):
            path = f"{_ADMISSION}/{plural}"
            status, _ = target.fire("POST", path, {"metadata": {"name": f"n{number}"}, **body})
            if status == 201:
                target.fire("DELETE", f"{path}/n{number}")

    barrage()


def test_policies_that_are_bound_judge_all_kinds_of_objects(target: Target) -> None:
    """Expressions that pass the check are run: on objects that have what they ask for, and on others."""
    rule = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["configmaps", "things"]}
    bound = {"policyName": "p", "validationActions": ["Deny"]}
    assert target.fire(
        "POST", f"{_ADMISSION}/validatingadmissionpolicybindings", {"metadata": {"name": "p"}, "spec": bound}
    )

    @_FIT
    @given(_expressions, _any)
    def barrage(expression: str, spec: Any) -> None:
        wanted = {
            "failurePolicy": "Ignore",
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [
                {"expression": f"dyn(object.?spec.orValue(1)) == ({expression})"},
                {"expression": expression},
            ],
        }
        path = f"{_ADMISSION}/validatingadmissionpolicies"
        status, _ = target.fire("POST", path, {"metadata": {"name": "p"}, "spec": wanted})
        obj = {"apiVersion": "fuzz.example/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": spec}
        target.fire("POST", _THINGS, obj)
        target.fire("DELETE", f"{_THINGS}/a")
        if status == 201:
            target.fire("DELETE", f"{path}/p")

    barrage()


def test_patches_of_all_types(target: Target) -> None:
    pod = {
        "metadata": {"name": "victim", "labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i", "env": [{"name": "A", "value": "b"}]}]},
    }
    assert target.fire("POST", "/api/v1/namespaces/default/pods", pod)[0] == 201
    pointers = st.sampled_from(
        ("", "/", "/metadata", "/metadata/labels/a", "/spec/containers/0", "/spec/containers/-", "/spec/containers/99",
         "/spec/containers/00", "/spec/containers/-1", "/~2", "/spec/containers/0/env/0/name", "/" + "a/" * 3000)
    )  # fmt: skip
    operations = st.lists(
        st.fixed_dictionaries(
            {"op": st.sampled_from(("add", "remove", "replace", "move", "copy", "test", "x")), "path": pointers},
            optional={"from": pointers, "value": _any},
        ),
        max_size=4,
    )
    directives = st.sampled_from(
        ({"$patch": "delete"}, {"$patch": "replace"}, {"$patch": "x"}, {"$retainKeys": ["a"]}, {"$retainKeys": 1},
         {"$setElementOrder/containers": [{"name": "c"}]}, {"$setElementOrder/containers": "x"},
         {"$deleteFromPrimitiveList/finalizers": ["a"]}, {"$deleteFromPrimitiveList/finalizers": 1})
    )  # fmt: skip
    partial = st.fixed_dictionaries(
        {},
        optional={
            "metadata": st.dictionaries(_words | st.just("labels"), _any, max_size=2) | directives | _scalars,
            "spec": directives | st.fixed_dictionaries({"containers": st.lists(directives | _any, max_size=2)}) | _any,
            "apiVersion": st.just("v1") | _scalars,
            "kind": st.just("Pod") | _scalars,
        },
    )
    copies = [{"op": "copy", "from": "/metadata", "path": f"/metadata/annotations/x{i}"} for i in range(3)]
    called_own = (b"patch type", b"declared merge key", b"setElementOrder", b"expected ", b"failed to ", b"typed patch")

    @_FIT
    @given(operations, partial, st.sampled_from(("Strict", "Warn", "Ignore", "", "x")))
    def barrage(listed: Any, object_: Any, how: str) -> None:
        path, query = "/api/v1/namespaces/default/pods/victim", f"fieldManager=f&force=true&fieldValidation={how}"
        for kind, body in (
            ("json-patch+json", listed),
            ("json-patch+json", object_),
            ("merge-patch+json", object_),
            ("strategic-merge-patch+json", object_),
            ("apply-patch+yaml", {"apiVersion": "v1", "kind": "Pod", **object_}),
        ):
            headers = {"content-type": f"application/{kind}"}
            # Upstream, too, calls these faults of a patch its own (500).
            target.fire("PATCH", path, body, headers, query if "apply" in kind else "", own=called_own)

    barrage()
    json_patch = {"content-type": "application/json-patch+json"}
    target.fire("PATCH", "/api/v1/namespaces/default/pods/victim", copies, json_patch)


def test_headers(target: Target) -> None:
    names = """
        accept accept-encoding content-type content-encoding impersonate-user impersonate-group impersonate-uid
        impersonate-extra-a%00b impersonate-extra- authorization x-remote-user if-match if-none-match range expect
        user-agent audit-id origin te traceparent cookie
    """
    values = st.text(max_size=20) | st.sampled_from(
        ("", ",", ";;;", "a;q=x", "*/*;q=-1", "application/json;as=Table;g=meta.k8s.io;v=v9", "gzip;q=0", "\x7f",
         "ä" * 500, "Bearer " + "a." * 4000, "bytes=0-,1-", "system:masters", "application/" + "a;" * 2000, "%zz")
    )  # fmt: skip

    @_FIT
    @given(st.dictionaries(st.sampled_from(names.split()), values, max_size=4))
    def barrage(headers: dict[str, str]) -> None:
        for method, path in (("GET", "/api/v1/pods"), ("GET", "/apis"), ("GET", "/openapi/v2"), ("POST", _THINGS)):
            target.fire(method, path, b"{}", headers, user=False)

    barrage()


def test_a_body_of_many_small_things_is_bounded(target: Target) -> None:
    """What is within the limit of 3 MiB costs bounded time, however it is made up."""
    meta = {"name": "many"}
    for body in (
        {"metadata": {**meta, "labels": {f"k{i}": "" for i in range(100_000)}}},
        {"metadata": {**meta, "annotations": {f"k{i}": "" for i in range(100_000)}}},
        {"metadata": {**meta, "finalizers": [f"a/{i}" for i in range(90_000)]}},
        {"metadata": {**meta, "ownerReferences": [{"uid": str(i)} for i in range(40_000)]}},
        {"metadata": {**meta, "ownerReferences": [{"uid": str(i), "controller": True} for i in range(20_000)]}},
        {"metadata": {**meta, "managedFields": [{"manager": str(i)} for i in range(100_000)]}},
        {"metadata": meta, "data": {f"k{i}": "" for i in range(100_000)}},
        {"metadata": meta, "data": [[]] * 250_000},
        {"metadata": {**meta, "labels": {f"/{i}": "!" for i in range(100_000)}}},
        {"metadata": meta, "immutable": 5, **{f"u{i}": 1 for i in range(100_000)}},
    ):
        data = json.dumps(body, separators=(",", ":")).encode()
        assert len(data) < 3 << 20
        status, answer = target.fire("POST", "/api/v1/namespaces/default/configmaps", data)
        assert len(answer) < 3 << 20, (data[:60], len(answer))
        # What says who manages what, and is nonsense, is not kept.
        assert status == 201 if b"managedFields" in data[:60] else 400 <= status < 500, (data[:60], status)
    selector = ",".join(f"a{i}" for i in range(100_000))
    assert target.fire("GET", "/api/v1/configmaps", query=f"labelSelector={selector}")[0] == 200
    doubled = b'{"metadata":{"name":"d"},"data":{' + b",".join([b'"a":""'] * 300_000) + b"}}"
    assert target.fire("POST", "/api/v1/namespaces/default/configmaps", doubled)[0] == 201
    assert target.fire("DELETE", "/api/v1/namespaces/default/configmaps/d")[0] == 200
    unknown = json.dumps({"metadata": meta, **{f"u{i}": 1 for i in range(100_000)}}).encode()
    for how in ("Warn", "Strict"):
        status, answer = target.fire(
            "POST", "/api/v1/namespaces/default/configmaps", unknown, query=f"fieldValidation={how}&dryRun=All"
        )
        assert status in (400, 409) and len(answer) < 1 << 16
