"""Custom resources by their definitions: CEL rules, ratcheting, versions, embedded objects, names, limits."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from kumo.api.conditions import condition, is_true
from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.api.resources import CRDS, GVR
from kumo.machinery.client import Client
from support.apiserver import running_apiserver
from support.custom_definitions import STRING, certificate, definition, gateway, listing, objects, prometheus, rules

pytestmark = pytest.mark.component
GROUP = "shapes.kumo.dev"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with running_apiserver(tmp_path) as running:
        yield running.client


def gvr(kind: str, version: str = "v1") -> GVR:
    return GVR(GROUP, version, f"{kind.lower()}s")


def obj(kind: str, name: str, version: str = "v1", **body: Any) -> Object:
    return {"apiVersion": f"{GROUP}/{version}", "kind": kind, "metadata": {"name": name}, **body}


async def causes(call: Any) -> list[str]:
    """What a refused write is told, without the last words of blocked rules."""
    with pytest.raises(StatusError) as caught:
        await call
    assert caught.value.code == 422, caught.value.message
    found = [f"{c['field']}: {c['message']}" for c in caught.value.details["causes"]]  # type: ignore[index]
    return [text for text in found if "some validation rules were not checked" not in text]


async def until(client: Client, name: str, wanted: Callable[[Object], Any]) -> Object:
    async with asyncio.timeout(5):
        while True:
            found = await client.get(CRDS, name)
            if wanted(found):
                return found
            await asyncio.sleep(0.01)


async def test_gateways(client: Client) -> None:
    await client.create(CRDS, gateway())
    kind = gvr("Gateway")

    def of(*listeners: Object, **more: Any) -> Object:
        return obj("Gateway", "g", spec={"gatewayClassName": "c", "listeners": list(listeners), **more})

    http = {"name": "a", "port": 80, "protocol": "HTTP"}
    path = "spec.listeners"
    assert await causes(client.create(kind, of({**http, "tls": {"options": {"a": "b"}}}), "default")) == [
        f"{path}: Invalid value: tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']"
    ]
    assert await causes(client.create(kind, of(http, {**http, "name": "b"}), "default")) == [
        f"{path}: Invalid value: Combination of port, protocol and hostname must be unique for each listener"
    ]
    assert await causes(client.create(kind, of(http, addresses=[{"value": "1.2.3"}]), "default")) == [
        "spec.addresses[0]: Invalid value: failed rule: "
        "self.type == 'IPAddress' && has(self.value) ? isIP(self.value) : true"
    ]
    assert await causes(client.create(kind, of(http, http), "default")) != []
    made = await client.create(kind, of(http, addresses=[{"value": "::1"}]), "default")
    assert made["spec"]["addresses"] == [{"type": "IPAddress", "value": "::1"}]
    made["spec"]["gatewayClassName"] = "d"
    assert await causes(client.update(kind, made)) == [
        'spec.gatewayClassName: Invalid value: "d": failed rule: self == oldSelf'
    ]


async def test_certificates(client: Client) -> None:
    await client.create(CRDS, certificate())
    kind, spec = gvr("Certificate"), {"secretName": "s", "issuerRef": {"name": "i"}, "commonName": "c"}
    made = await client.create(kind, obj("Certificate", "ok", spec={**spec, "duration": "90d"}), "default")
    assert made["spec"] == {
        **spec,
        "duration": "90d",
        "isCA": False,
        "issuerRef": {"kind": "Issuer", "name": "i"},
        "privateKey": {"algorithm": "RSA"},
    }
    late = obj("Certificate", "no", spec={**spec, "duration": "1h", "renewBefore": "2h"})
    assert await causes(client.create(kind, late, "default")) == [
        "spec.renewBefore: Invalid value: renewBefore of s is too long"
    ]
    twice = obj("Certificate", "no", spec={**spec, "usages": ["sign", "sign"]})
    assert await causes(client.create(kind, twice, "default")) == ['spec.usages[1]: Duplicate value: "sign"']


async def test_prometheuses(client: Client) -> None:
    await client.create(CRDS, prometheus())
    kind = gvr("Prometheus")
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "x", "odd": 1}, "spec": {"a": 1}}
    spec = {"storage": {"volumeClaimTemplate": claim}, "extra": {"any": [1, None]}, "unknown": 1}
    made = await client.create(kind, obj("Prometheus", "p", spec=spec), "default")
    template = {**claim, "metadata": {"name": "x"}}
    assert made["spec"] == {"replicas": 1, "storage": {"volumeClaimTemplate": template}, "extra": {"any": [1, None]}}
    bad = obj(
        "Prometheus", "q", spec={"storage": {"volumeClaimTemplate": {"spec": {}}}, "externalLabels": {"a b": "c"}}
    )
    assert await causes(client.create(kind, bad, "default")) == [
        "spec.storage.volumeClaimTemplate.apiVersion: Required value",
        "spec.storage.volumeClaimTemplate.kind: Required value",
    ]


async def test_transitions_and_status(client: Client) -> None:
    item = objects(
        {"k": {"type": "string", "maxLength": 5}, "v": {"type": "integer", **rules("self >= oldSelf")}}, required=["k"]
    )
    once = {"rule": "!oldSelf.hasValue() || self == oldSelf.value()", "optionalOldSelf": True, "message": "once"}
    spec = objects({"items": listing(item, 5, ["k"]), "once": {**STRING, **rules(once)}})
    status = objects({"n": {"type": "integer", **rules("self >= oldSelf")}})
    await client.create(
        CRDS, definition("Step", objects({"spec": spec, "status": status}), subresources={"status": {}})
    )
    kind = gvr("Step")
    items = [{"k": "a", "v": 1}, {"k": "b", "v": 2}]
    made = await client.create(kind, obj("Step", "s", spec={"items": items, "once": "x"}), "default")
    less = {"spec": {"items": [{"k": "b", "v": 1}, {"k": "a", "v": 1}]}}
    assert await causes(client.patch(kind, "s", less, "default")) == [
        "spec.items[0].v: Invalid value: 1: failed rule: self >= oldSelf"
    ]
    assert await causes(client.patch(kind, "s", {"spec": {"once": "y"}}, "default")) == [
        'spec.once: Invalid value: "y": once'
    ]
    await client.patch(kind, "s", {"spec": {"items": [{"k": "c", "v": 0}]}}, "default")
    made["status"] = {"n": 3}
    made["metadata"].pop("resourceVersion")
    await client.patch(kind, "s", {"status": {"n": 3}}, "default", subresource="status")
    assert await causes(client.patch(kind, "s", {"status": {"n": 2}}, "default", subresource="status")) == [
        "status.n: Invalid value: 2: failed rule: self >= oldSelf"
    ]


async def test_what_was_wrong_before_may_stay(client: Client) -> None:
    def schema(tight: bool) -> dict[str, Any]:
        short = {"type": "string", **({"maxLength": 2} if tight else {})}
        big = {"type": "integer", **(rules("self > 100") if tight else {})}
        return objects({"spec": objects({"s": short, "n": big, "l": listing(short), "free": STRING})})

    made = await client.create(CRDS, definition("Loose", schema(False)))
    kind = gvr("Loose")
    await client.create(kind, obj("Loose", "a", spec={"s": "long", "n": 1, "l": ["long"]}), "default")
    made = await until(client, f"looses.{GROUP}", lambda o: is_true(o, "Established"))
    made["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema(True)
    await client.update(CRDS, made)
    await client.patch(kind, "a", {"spec": {"free": "x"}}, "default")
    assert await causes(client.patch(kind, "a", {"spec": {"s": "other"}}, "default")) == [
        "spec.s: Too long: may not be more than 2 bytes"
    ]
    assert await causes(client.patch(kind, "a", {"spec": {"l": ["long", "b"]}}, "default")) == [
        "spec.l[0]: Too long: may not be more than 2 bytes"
    ]
    assert await causes(client.patch(kind, "a", {"spec": {"n": 2}}, "default")) == [
        "spec.n: Invalid value: 2: failed rule: self > 100"
    ]


async def test_versions_without_conversion(client: Client) -> None:
    one = definition("Ver", objects({"spec": objects({"a": STRING, "d": {"type": "string", "default": "one"}})}))
    beta = {"name": "v1beta1", "served": True, "storage": False, "deprecated": True}
    beta["schema"] = {"openAPIV3Schema": objects({"spec": objects({"a": STRING, "b": STRING})})}
    one["spec"]["versions"].append(beta)
    await client.create(CRDS, one)
    old, new = gvr("Ver", "v1beta1"), gvr("Ver")
    made = await client.create(old, obj("Ver", "x", "v1beta1", spec={"a": "1", "b": "2"}), "default")
    assert (made["apiVersion"], made["spec"]) == (f"{GROUP}/v1beta1", {"a": "1"})
    found = await client.get(new, "x", "default")
    assert (found["apiVersion"], found["spec"]) == (f"{GROUP}/v1", {"a": "1", "d": "one"})
    assert [o["spec"] for o in (await client.list(old)).items] == [{"a": "1"}]
    one = await until(client, f"vers.{GROUP}", lambda o: is_true(o, "Established"))
    one["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["e"] = {
        "type": "string",
        "default": "two",
    }
    one = await client.update(CRDS, one)
    assert (await client.get(new, "x", "default"))["spec"] == {"a": "1", "d": "one", "e": "two"}
    assert [o["spec"] for o in (await client.list(new)).items] == [{"a": "1", "d": "one", "e": "two"}]
    one["spec"]["versions"][0]["storage"], one["spec"]["versions"][1]["storage"] = False, True
    one = await client.update(CRDS, one)
    assert one["status"]["storedVersions"] == ["v1", "v1beta1"]
    without = copy.deepcopy(one)
    del without["spec"]["versions"][0]
    assert (await causes(client.update(CRDS, without)))[0].startswith(
        'status.storedVersions[0]: Invalid value: "v1": missing'
    )


async def test_definitions_that_are_refused(client: Client) -> None:
    def of(properties: dict[str, Any], *given: Any, **more: Any) -> Object:
        return definition("Bad", objects({"spec": objects(properties, **(rules(*given) if given else {}))}), **more)

    top = "spec.validation.openAPIV3Schema"
    path = f"{top}.properties[spec]"
    shown = (
        '{"Rule":"self.s + 1 == \'\'","Message":"","MessageExpression":"","Reason":null,"FieldPath":"",'
        '"OptionalOldSelf":null}'
    )
    assert await causes(client.create(CRDS, of({"s": STRING}, "self.s + 1 == ''"))) == [
        f"{path}.x-kubernetes-validations[0].rule: Invalid value: {shown}: compilation failed: "
        "ERROR: <input>:1:8: found no matching overload for '_+_' applied to '(string, int)'\n"
        " | self.s + 1 == ''\n | .......^"
    ]
    costly = await causes(
        client.create(CRDS, of({"l": {"type": "array", "items": STRING}}, "self.l.all(x, self.l.all(y, x == y))"))
    )
    assert costly[0].startswith(
        f"{path}.x-kubernetes-validations[0].rule: Forbidden: "
        "estimated rule cost exceeds budget by factor of more than 100x"
    )
    assert len(costly) == 3
    cases: list[tuple[dict[str, Any], str]] = [
        ({"a": {}}, f"{path}.properties[a].type: Required value: must not be empty for specified object fields"),
        (
            {"a": {"type": "integer", "default": "x"}},
            f'{path}.properties[a].default: Invalid value: "string":  in body must be of type integer: "string"',
        ),
        (
            {"a": objects({"b": STRING}, default={"c": 1})},
            f'{path}.properties[a].default: Invalid value: {{"c":1}}: must not have unknown fields',
        ),
        (
            {"a": {"type": "string", "pattern": "a("}},
            f'{path}.properties[a].pattern: Invalid value: "a(": must be a valid regular expression, '
            "but isn't: "
            "error parsing regexp: missing closing ): `a(`",
        ),
        (
            {"a": {"type": "integer", "default": 1, **rules("self > 3")}},
            f"{path}.properties[a].default: Invalid value: 1: failed rule: self > 3",
        ),
        (
            {
                "a": {
                    "type": "array",
                    "items": {"type": "string", "maxLength": 3, **rules("self == oldSelf")},
                    "maxItems": 3,
                }
            },
            f'{path}.properties[a].items.x-kubernetes-validations[0].rule: Invalid value: "self == oldSelf": '
            f"oldSelf cannot be used on the uncorrelatable portion of the schema within {path}.properties[a]",
        ),
    ]
    for properties, message in cases:
        assert await causes(client.create(CRDS, of(properties))) == [message]


async def test_rules_that_fail_or_cost_too_much(client: Client) -> None:
    spec = objects(
        {
            "m": objects(additionalProperties={"type": "integer"}, maxProperties=3),
            "l": listing({"type": "integer"}, 200),
        },
        **rules("self.m['k'] > 1", "self.l.all(a, self.l.all(b, a + b >= 0))"),
    )
    await client.create(CRDS, definition("Run", objects({"spec": spec})))
    kind = gvr("Run")
    assert await causes(client.create(kind, obj("Run", "a", spec={"m": {}, "l": [1]}), "default")) == [
        "spec: Invalid value: \"object\": no such key: k evaluating rule: self.m['k'] > 1"
    ]
    began = time.process_time()
    await client.create(kind, obj("Run", "a", spec={"m": {"k": 2}, "l": list(range(200))}), "default")
    assert time.process_time() - began < 3


async def test_names_and_the_end(client: Client) -> None:
    first, second = definition("Uno", objects()), definition("Due", objects())
    second["spec"]["names"]["listKind"] = "Uno"
    second["spec"]["names"]["shortNames"] = ["unos"]
    await client.create(CRDS, first)
    await until(client, f"unos.{GROUP}", lambda o: is_true(o, "Established"))
    await client.create(CRDS, second)
    found = await until(client, f"dues.{GROUP}", lambda o: condition(o, "NamesAccepted"))
    said = condition(found, "NamesAccepted") or {}
    assert (said["status"], said["reason"], said["message"]) == ("False", "ListKindConflict", '"Uno" is already in use')
    assert found["status"]["acceptedNames"] == {"plural": "dues", "singular": "due", "kind": "Due"}
    held = obj("Uno", "held")
    held["metadata"]["finalizers"] = ["kumo.dev/hold"]
    await client.create(gvr("Uno"), held, "default")
    await client.delete(CRDS, f"unos.{GROUP}")
    await until(client, f"unos.{GROUP}", lambda o: is_true(o, "Terminating"))
    with pytest.raises(StatusError) as caught:
        await client.create(gvr("Uno"), obj("Uno", "late"), "default")
    assert (caught.value.code, caught.value.message) == (
        403,
        f'unos.{GROUP} "late" is forbidden: create not allowed while custom resource definition is terminating',
    )
    await client.patch(gvr("Uno"), "held", {"metadata": {"finalizers": None}}, "default")
    found = await until(client, f"dues.{GROUP}", lambda o: is_true(o, "Established"))
    assert found["status"]["acceptedNames"]["listKind"] == "Uno"


async def test_a_pattern_can_not_hold_the_server(client: Client) -> None:
    await client.create(
        CRDS, definition("Slow", objects({"spec": objects({"s": {"type": "string", "pattern": "^(a+)+$"}})}))
    )
    began = time.process_time()
    assert await causes(client.create(gvr("Slow"), obj("Slow", "a", spec={"s": "a" * 20_000 + "b"}), "default"))
    assert time.process_time() - began < 1


async def test_served_as_before_after_a_restart(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as running:
        await running.client.create(CRDS, certificate())
        spec = {"secretName": "s", "issuerRef": {"name": "i"}, "commonName": "c"}
        made = await running.client.create(gvr("Certificate"), obj("Certificate", "x", spec=spec), "default")
    async with running_apiserver(tmp_path) as running:
        assert await running.client.get(gvr("Certificate"), "x", "default") == made
        del spec["commonName"]
        assert await causes(running.client.create(gvr("Certificate"), obj("Certificate", "y", spec=spec), "default"))


async def test_rules_that_take_long_hold_nobody_else(tmp_path: Path) -> None:
    numbers = {
        "type": "array",
        "maxItems": 180,
        "items": {"type": "integer"},
        "x-kubernetes-validations": [{"rule": "self.all(x, self.exists(y, y == x) && x >= 0)"}],
    }
    spec = objects({"rows": {"type": "array", "maxItems": 50, "items": objects({"numbers": numbers})}})
    slow = GVR("shapes.kumo.dev", "v1", "slows")
    async with running_apiserver(tmp_path) as server:
        client = server.client
        await client.create(CRDS, definition("Slow", objects({"spec": spec})))
        rows = [{"numbers": list(range(180))} for _ in range(50)]
        good = {"metadata": {"name": "good"}, "spec": {"rows": rows}}
        bad = {"metadata": {"name": "bad"}, "spec": {"rows": [*rows[:-1], {"numbers": [*range(179), -1]}]}}
        waiting = asyncio.gather(*(client.create(slow, obj, "default") for obj in (good, bad)), return_exceptions=True)
        answered = 0
        while not waiting.done():
            await client.get(CRDS, "slows.shapes.kumo.dev")
            await asyncio.sleep(0)
            answered += 1
        made, refused = await waiting
        assert isinstance(made, dict) and made["spec"]["rows"][0]["numbers"][179] == 179
        assert isinstance(refused, StatusError) and refused.code == 422
        assert "spec.rows[49].numbers: Invalid value" in refused.message
        assert server.server._core.deliberation.moved == 2
        assert answered > 20
