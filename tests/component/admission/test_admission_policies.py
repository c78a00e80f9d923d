"""Validating and mutating admission policies by objects, on a real API server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from kumo.api.errors import StatusError
from kumo.api.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, CONFIGMAPS, DEPLOYMENTS
from kumo.kubernetes.apiserver.admission.policies import mutating, validating
from support.apiserver import RunningApiServer, running_apiserver

pytestmark = pytest.mark.component
VERSION = "admissionregistration.k8s.io/v1"


def _constraints(*resources: str, **more: Any) -> dict[str, Any]:
    rule = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": list(resources)}
    return {"resourceRules": [rule], **more}


async def _validating(
    server: RunningApiServer, name: str, spec: dict[str, Any], binding: dict[str, Any] | None = None
) -> None:
    spec = {"matchConstraints": _constraints("configmaps"), **spec}
    policy = {"apiVersion": VERSION, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name}, "spec": spec}
    await server.client.create(validating.POLICIES, policy)
    bound = {"policyName": name, "validationActions": ["Deny"], **(binding or {})}
    await server.client.create(validating.BINDINGS, {"metadata": {"name": f"{name}-binding"}, "spec": bound})


async def _mutating(server: RunningApiServer, name: str, *mutations: dict[str, Any], **more: Any) -> None:
    spec = {
        "matchConstraints": _constraints("configmaps", "deployments"),
        "mutations": list(mutations),
        "reinvocationPolicy": "Never",
        **more,
    }
    policy = {"apiVersion": VERSION, "kind": "MutatingAdmissionPolicy", "metadata": {"name": name}, "spec": spec}
    await server.client.create(mutating.POLICIES, policy)
    await server.client.create(
        mutating.BINDINGS, {"metadata": {"name": f"{name}-binding"}, "spec": {"policyName": name}}
    )


def _apply(expression: str) -> dict[str, Any]:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


def _json_patch(expression: str) -> dict[str, Any]:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


async def _create(server: RunningApiServer, name: str = "a", **data: str) -> dict[str, Any]:
    found: dict[str, Any] = await server.client.create(
        CONFIGMAPS, {"metadata": {"name": name}, "data": data or {"a": "b"}}, "default"
    )
    return found


async def _refused(awaitable: Any) -> StatusError:
    with pytest.raises(StatusError) as caught:
        await awaitable
    return caught.value


def _deployment(replicas: int = 3) -> dict[str, Any]:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    return {"metadata": {"name": "d"}, "spec": spec}


async def test_a_policy_refuses_in_upstreams_words(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        validations = [
            {"expression": "object.metadata.name.startsWith('x')"},
            {
                "expression": "variables.size < 3",
                "messageExpression": "'too many: ' + string(variables.size)",
                "reason": "Forbidden",
            },
        ]
        variables = [{"name": "size", "expression": "object.data.size()"}]
        await _validating(server, "p", {"validations": validations, "variables": variables})
        error = await _refused(_create(server))
        by = "ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: "
        why = by + "failed expression: object.metadata.name.startsWith('x')"
        assert error.message == f'configmaps "a" is forbidden: {why}'
        assert (error.code, error.reason) == (422, "Invalid")
        assert error.details is not None
        assert error.details["causes"] == [{"message": why}]
        error = await _refused(_create(server, "xa", a="1", b="2", c="3"))
        assert error.message == f'configmaps "xa" is forbidden: {by}too many: 3'
        assert (error.code, error.reason) == (403, "Forbidden")
        assert await _create(server, "xa")
        await server.client.delete(validating.BINDINGS, "p-binding")
        assert await _create(server)


async def test_failures_follow_the_failure_policy(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        broken = {"validations": [{"expression": "object.data.nosuch == 'x'"}]}
        await _validating(server, "p", broken)
        error = await _refused(_create(server))
        assert "expression 'object.data.nosuch == 'x'' resulted in error: no such key: nosuch" in error.message
        await server.client.delete(validating.POLICIES, "p")
        await _validating(server, "q", {**broken, "failurePolicy": "Ignore"})
        assert await _create(server)


async def test_parameters(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        await server.client.create(CONFIGMAPS, {"metadata": {"name": "limits"}, "data": {"most": "2"}}, "default")
        spec = {
            "matchConstraints": _constraints("deployments"),
            "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "validations": [
                {
                    "expression": "object.spec.replicas <= int(params.data.most)",
                    "messageExpression": "'at most ' + params.data.most",
                }
            ],
        }
        reference = {"name": "limits", "parameterNotFoundAction": "Deny"}
        await _validating(server, "p", spec, {"paramRef": reference})
        error = await _refused(server.client.create(DEPLOYMENTS, _deployment(3), "default"))
        assert error.message.endswith("denied request: at most 2")
        await server.client.delete(CONFIGMAPS, "limits", "default")
        error = await _refused(server.client.create(DEPLOYMENTS, _deployment(1), "default"))
        missing = "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
        assert error.message.endswith(missing)


async def test_conditions_exclusions_and_selectors(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        excluded = {**_constraints("configmaps")["resourceRules"][0], "resourceNames": ["spared"]}
        spec = {
            "matchConstraints": _constraints("configmaps", excludeResourceRules=[excluded]),
            "matchConditions": [{"name": "c", "expression": "object.metadata.name != 'skipped'"}],
            "validations": [{"expression": "false"}],
        }
        labelled = {
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}
        }
        await _validating(server, "p", spec, labelled)
        assert await _create(server, "spared")
        assert await _create(server, "skipped")
        assert (await _refused(_create(server))).code == 422
        assert await server.client.create(CONFIGMAPS, {"metadata": {"name": "a"}}, "kube-system")


async def test_an_expression_that_runs_away_is_stopped(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        numbers = "[0,1,2,3,4,5,6,7,8,9]"
        loop = "".join(f"{numbers}.all({v}," for v in "abcdefgh") + "object.data.a == 'b'" + ")" * 8
        await _validating(server, "p", {"validations": [{"expression": loop}]})
        error = await _refused(_create(server))
        assert error.code == 422
        assert "cost" in error.message


async def test_types_are_checked_into_the_status(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}
        spec = {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "object.replicas > 1"}, {"expression": "object.spec.replicas > 1"}],
        }
        await _validating(server, "p", spec)
        async with asyncio.timeout(10):
            status: dict[str, Any] = {}
            while not status.get("observedGeneration"):
                await asyncio.sleep(0.02)
                status = (await server.client.get(validating.POLICIES, "p")).get("status") or {}
        (warning,) = status["typeChecking"]["expressionWarnings"]
        assert warning["fieldRef"] == "spec.validations[0].expression"
        assert warning["warning"].startswith("apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'")


async def test_a_mutating_policy_changes_the_object(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        await _mutating(
            server,
            "p",
            _apply("Object{metadata: Object.metadata{labels: {'size': string(variables.size)}}}"),
            _json_patch(
                "has(object.data) ? [JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('x/y'), "
                "value: object.metadata.labels.size}] : []"
            ),
            variables=[{"name": "size", "expression": "has(object.data) ? object.data.size() : 0"}],
        )
        made = await _create(server)
        assert made["metadata"]["labels"] == {"size": "1", "x/y": "1"}
        assert made["data"] == {"a": "b"}


async def test_mutations_that_fail(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        for expression, message in (
            (
                "Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: {'x': 'y'}}}}",
                "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: "
                ".spec.selector",
            ),
            (
                "Object{spec: Object.foo{replicas: 2}}",
                'type mismatch: unexpected type name "Object.foo", expected "Object.spec", which matches field name '
                "path from root Object type",
            ),
            ("Object{spec: Object.spec{replicas: object.spec.nosuch}}", "resulted in error: no such key: nosuch"),
        ):
            await _mutating(server, "p", _apply(expression))
            error = await _refused(server.client.create(DEPLOYMENTS, _deployment(), "default"))
            assert (error.code, error.reason) == (403, "Invalid")
            assert error.message.startswith("policy 'p' with binding 'p-binding' denied request: ")
            assert error.message.endswith(message)
            await server.client.delete(mutating.POLICIES, "p")
            await server.client.delete(mutating.BINDINGS, "p-binding")


async def test_bad_policies_are_refused(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        error = await _refused(
            _validating(server, "p", {"validations": [{"expression": "object.x"}, {"expression": "oops("}]})
        )
        assert error.code == 422
        assert 'Invalid value: "object.x": must evaluate to bool but got dyn' in error.message
        assert "Syntax error" in error.message
        error = await _refused(_mutating(server, "m", _apply("1")))
        assert 'Invalid value: "1": must evaluate to Object but got int' in error.message


async def test_parameters_must_be_readable_by_who_names_them(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        every = {"apiGroups": ["admissionregistration.k8s.io"], "resources": ["*"], "verbs": ["*"]}
        role = {"metadata": {"name": "policies"}, "rules": [every]}
        await server.client.create(CLUSTERROLES, role)
        await server.client.create(
            CLUSTERROLEBINDINGS,
            {
                "metadata": {"name": "policies"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "policies"},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}],
            },
        )
        alice = server.as_user("alice")
        spec = {
            "matchConstraints": _constraints("configmaps"),
            "paramKind": {"apiVersion": "v1", "kind": "Secret"},
            "validations": [{"expression": "false", "messageExpression": "string(params.data)"}],
        }
        policy = {"metadata": {"name": "p"}, "spec": spec}
        error = await _refused(alice.create(validating.POLICIES, policy))
        assert (error.code, error.reason) == (422, "Invalid")
        assert 'spec.paramKind: Forbidden: user &{alice  [system:authenticated] map[]} must have "get"' in error.message
        await server.client.create(validating.POLICIES, policy)
        reference = {"name": "s", "namespace": "default", "parameterNotFoundAction": "Deny"}
        binding = {"policyName": "p", "validationActions": ["Deny"], "paramRef": reference}
        error = await _refused(alice.create(validating.BINDINGS, {"metadata": {"name": "b"}, "spec": binding}))
        assert 'does not have "get" permission on the object referenced by paramRef' in error.message


async def test_a_policy_that_takes_long_holds_nobody_else(tmp_path: Path) -> None:
    numbers = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"
    slow = f"{numbers}.all(a, {numbers}.all(b, {numbers}.all(c, {numbers}.all(d, a + b + c + d > 0))))"
    async with running_apiserver(tmp_path) as server:
        spec = {
            "matchConstraints": {
                "resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}
                ]
            },
            "validations": [{"expression": f"({slow}) && object.metadata.name != 'bad'", "message": "not this one"}],
        }
        await server.client.create(validating.POLICIES, {"metadata": {"name": "slow"}, "spec": spec})
        binding = {"metadata": {"name": "slow"}, "spec": {"policyName": "slow", "validationActions": ["Deny"]}}
        await server.client.create(validating.BINDINGS, binding)
        waiting = asyncio.gather(
            *(server.client.create(CONFIGMAPS, {"metadata": {"name": n}}, "default") for n in ("good", "bad")),
            return_exceptions=True,
        )
        answered = 0
        while not waiting.done():
            await server.client.get(validating.POLICIES, "slow")
            await asyncio.sleep(0)
            answered += 1
        made, refused = await waiting
        assert isinstance(made, dict) and isinstance(refused, StatusError)
        assert refused.message.endswith("denied request: not this one")
        assert server.server._core.deliberation.moved == 2 and answered > 5
