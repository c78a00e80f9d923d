"""Admission steps, one by one, and the chain."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.api.resources import (
    GVK,
    GVR,
    NAMESPACES,
    PODS,
    PRIORITYCLASSES,
    SERVICEACCOUNTS,
    SERVICES,
    VMIS,
    core,
)
from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.admission import AdmissionChain, AdmissionConfig
from kumo.kubernetes.apiserver.admission.default_classes import STORAGECLASSES
from kumo.kubernetes.apiserver.admission.hooks import concerns
from kumo.kubernetes.apiserver.admission.limit_ranger import LIMITRANGES
from kumo.kubernetes.apiserver.admission.quota import QUOTAS
from kumo.kubernetes.apiserver.admission.service_pools import AddressPool, Exhausted, OutOfRange, Pool, Taken
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Operation
from kumo.machinery.extension import AdmissionHook, Rule
from support.reader import MemoryReader

pytestmark = pytest.mark.unit

CLAIMS = core("persistentvolumeclaims")
KINDS = {PODS: "Pod", SERVICES: "Service", CLAIMS: "PersistentVolumeClaim", VMIS: "VirtualMachineInstance"}
JANE = UserInfo("jane", ("dev",))


def write(gvr: GVR, obj: Object, operation: Operation = "CREATE", **more: Any) -> AdmissionAttributes:
    kind = GVK(gvr.group, gvr.version, KINDS.get(gvr, "Thing"))
    meta = obj.setdefault("metadata", {})
    meta.setdefault("name", "x")
    more.setdefault("namespace", "ns" if gvr.namespaced else "")
    return AdmissionAttributes(operation, kind, gvr, name=meta["name"], user=JANE, object=obj, **more)


def pod(requests: dict[str, str] | None = None, limits: dict[str, str] | None = None, **spec: Any) -> Object:
    resources = {k: v for k, v in (("requests", requests), ("limits", limits)) if v}
    return {"spec": {"containers": [{"name": "main", "image": "i", "resources": resources}], **spec}}


class World:
    def __init__(self, *hooks: AdmissionHook, cidr: str = "10.96.0.0/24") -> None:
        self.reader = MemoryReader()
        self.reader.put(NAMESPACES, {"metadata": {"name": "ns"}})
        self.reader.put(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": "ns"}})
        self.chain = AdmissionChain(hooks, self.reader, config=AdmissionConfig(cidr, (30000, 30004)))

    async def admit(self, attrs: AdmissionAttributes) -> Object:
        await self.chain.mutate(attrs)
        await self.chain.validate(attrs)
        assert attrs.object is not None
        return attrs.object


async def refused(awaitable: Awaitable[Any], code: int = 403) -> str:
    with pytest.raises(StatusError) as refusal:
        await awaitable
    assert refusal.value.code == code
    return refusal.value.message


# -- service accounts, tolerations, priorities -----------------------------------------------------------------------


async def test_token_is_mounted_unless_the_pod_or_its_account_says_no() -> None:
    world = World()
    spec = (await world.admit(write(PODS, pod(initContainers=[{"name": "init"}]))))["spec"]
    (volume,) = spec["volumes"]
    assert volume["projected"]["sources"][0] == {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}
    assert spec["initContainers"][0]["volumeMounts"][0]["name"] == volume["name"]
    assert "volumes" not in (await world.admit(write(PODS, pod(automountServiceAccountToken=False))))["spec"]
    account = {"metadata": {"name": "quiet", "namespace": "ns"}, "automountServiceAccountToken": False}
    account["imagePullSecrets"] = [{"name": "pull"}]
    world.reader.put(SERVICEACCOUNTS, account)
    spec = (await world.admit(write(PODS, pod(serviceAccountName="quiet"))))["spec"]
    assert "volumes" not in spec
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    world.reader.put(SERVICEACCOUNTS, {**account, "imagePullSecrets": [{"name": "other"}]})
    spec = (await world.admit(write(PODS, pod(serviceAccountName="quiet"))))["spec"]
    assert spec["imagePullSecrets"] == [{"name": "other"}], "what is known of an account goes with its change"
    spec = (await world.admit(write(PODS, pod(serviceAccountName="quiet", automountServiceAccountToken=True))))["spec"]
    assert len(spec["volumes"]) == 1


async def test_a_container_with_its_own_mount_there_keeps_it() -> None:
    mine = [{"name": "mine", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]
    made = pod()
    made["spec"]["containers"][0]["volumeMounts"] = list(mine)
    spec = (await World().admit(write(PODS, made)))["spec"]
    assert spec["containers"][0]["volumeMounts"] == mine
    assert "volumes" not in spec


async def test_tolerations_are_added_where_nothing_is_said() -> None:
    said = [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}]
    spec = (await World().admit(write(PODS, pod(tolerations=said))))["spec"]
    assert [t["key"] for t in spec["tolerations"]] == [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ]
    assert "tolerationSeconds" not in spec["tolerations"][0]
    everything = [{"operator": "Exists"}]
    spec = (await World().admit(write(PODS, pod(tolerations=everything))))["spec"]
    assert spec["tolerations"] == everything


async def test_priorities() -> None:
    world = World()
    world.reader.put(PRIORITYCLASSES, {"metadata": {"name": "high"}, "value": 7, "preemptionPolicy": "Never"})
    world.reader.put(PRIORITYCLASSES, {"metadata": {"name": "usual"}, "value": 3, "globalDefault": True})
    spec = (await world.admit(write(PODS, pod(priorityClassName="high"))))["spec"]
    assert (spec["priority"], spec["preemptionPolicy"]) == (7, "Never")
    spec = (await world.admit(write(PODS, pod())))["spec"]
    assert (spec["priorityClassName"], spec["priority"]) == ("usual", 3)
    message = await refused(world.admit(write(PODS, pod(priorityClassName="high", priority=8))))
    assert "the integer value of priority (8) must not be provided in pod spec" in message
    second = {"metadata": {"name": "second"}, "value": 1, "globalDefault": True}
    message = await refused(world.admit(write(PRIORITYCLASSES, second)))
    assert message.endswith("PriorityClass usual is already marked as default. Only one default can exist")


async def test_a_claim_gets_the_newest_default_class() -> None:
    world = World()
    for name, at in (("old", "2024-01-01T00:00:00Z"), ("new", "2025-01-01T00:00:00Z")):
        annotations = {"storageclass.kubernetes.io/is-default-class": "true"}
        meta = {"name": name, "creationTimestamp": at, "annotations": annotations}
        world.reader.put(STORAGECLASSES, {"metadata": meta})
    assert (await world.admit(write(CLAIMS, {"spec": {}})))["spec"]["storageClassName"] == "new"
    assert (await world.admit(write(CLAIMS, {"spec": {"storageClassName": ""}})))["spec"]["storageClassName"] == ""


# -- limits and quotas -----------------------------------------------------------------------------------------------


def limit_range(**item: Any) -> Object:
    return {"metadata": {"name": "l", "namespace": "ns"}, "spec": {"limits": [item]}}


async def test_limit_ranges_give_defaults() -> None:
    world = World()
    world.reader.put(
        LIMITRANGES,
        limit_range(type="Container", default={"cpu": "2", "memory": "1Gi"}, defaultRequest={"cpu": "100m"}),
    )
    made = await world.admit(write(PODS, pod(limits={"memory": "2Gi"})))
    resources = made["spec"]["containers"][0]["resources"]
    assert resources["limits"] == {"memory": "2Gi", "cpu": "2"}
    assert resources["requests"]["cpu"] == "100m"


@pytest.mark.parametrize(
    ("item", "requests", "limits", "words"),
    [
        (
            {"type": "Container", "max": {"memory": "1Gi"}},
            {},
            {"memory": "2Gi"},
            "maximum memory usage per Container is 1Gi, but limit is 2Gi",
        ),
        (
            {"type": "Container", "max": {"cpu": "1"}},
            {},
            {},
            "maximum cpu usage per Container is 1.  No limit is specified",
        ),
        (
            {"type": "Pod", "min": {"cpu": "200m"}},
            {"cpu": "100m"},
            {},
            "minimum cpu usage per Pod is 200m, but request is 100m",
        ),
        (
            {"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}},
            {"cpu": "1"},
            {"cpu": "3"},
            "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000",
        ),
    ],
)
async def test_limit_ranges_bound(item: dict, requests: dict, limits: dict, words: str) -> None:
    world = World()
    world.reader.put(LIMITRANGES, limit_range(**item))
    assert await refused(world.admit(write(PODS, pod(requests, limits)))) == f'pods "x" is forbidden: {words}'


async def test_limit_ranges_bound_claims() -> None:
    world = World()
    world.reader.put(LIMITRANGES, limit_range(type="PersistentVolumeClaim", max={"storage": "1Gi"}))
    big = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    message = await refused(world.admit(write(CLAIMS, big)))
    assert message.endswith("maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi")


def quota(hard: dict[str, str], **spec: Any) -> Object:
    status = {"hard": hard, "used": dict.fromkeys(hard, "0")}
    return {"metadata": {"name": "q", "namespace": "ns"}, "spec": {"hard": hard, **spec}, "status": status}


async def test_quota_counts_what_is_stored_and_what_is_on_its_way() -> None:
    world = World()
    world.reader.put(QUOTAS, quota({"pods": "2", "requests.cpu": "1"}))
    await world.admit(write(PODS, pod({"cpu": "600m"})))
    message = await refused(world.admit(write(PODS, {**pod({"cpu": "500m"}), "metadata": {"name": "y"}})))
    assert message == (
        'pods "y" is forbidden: exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, '
        "limited: requests.cpu=1"
    )
    stored = {**pod({"cpu": "600m"}), "metadata": {"name": "x", "namespace": "ns"}, "status": {"phase": "Succeeded"}}
    world.reader.put(PODS, stored)
    await world.admit(write(PODS, {**pod({"cpu": "500m"}), "metadata": {"name": "y"}}))


async def test_quota_wants_what_it_limits_to_be_stated() -> None:
    world = World()
    world.reader.put(QUOTAS, quota({"limits.memory": "1Gi"}))
    message = await refused(world.admit(write(PODS, pod())))
    assert message == 'pods "x" is forbidden: failed quota: q: must specify limits.memory for: main'


async def test_quota_scopes_and_object_counts() -> None:
    world = World()
    world.reader.put(QUOTAS, quota({"pods": "0"}, scopes=["BestEffort"]))
    await world.admit(write(PODS, pod({"cpu": "1"})))
    assert "exceeded quota" in await refused(world.admit(write(PODS, pod())))
    world.reader.put(QUOTAS, quota({"count/configmaps": "0"}))
    assert "count/configmaps=1" in await refused(world.admit(write(core("configmaps"), {})))


# -- services --------------------------------------------------------------------------------------------------------


async def test_node_ports_run_out_and_addresses_of_a_dry_run_come_back() -> None:
    world = World(cidr="10.0.0.0/30")
    for _ in range(5):
        await world.admit(write(SERVICES, {"spec": {"ports": [{"port": 80}]}}, dry_run=True))
    made = write(SERVICES, {"spec": {"ports": [{"port": 80}]}})
    await world.admit(made)
    other = write(SERVICES, {"spec": {"ports": [{"port": 80}]}})
    await world.admit(other)
    assert {made.object["spec"]["clusterIP"], other.object["spec"]["clusterIP"]} == {"10.0.0.1", "10.0.0.2"}  # type: ignore[index]
    assert "range is full" in await refused(world.admit(write(SERVICES, {"spec": {}})), 500)
    world.chain.abandon(made)
    await world.admit(write(SERVICES, {"spec": {}}))


async def test_tcp_and_udp_of_a_port_share_a_node_port_and_external_names_get_nothing() -> None:
    world = World()
    ports = [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}, {"port": 80}]
    spec = (await world.admit(write(SERVICES, {"spec": {"type": "NodePort", "ports": ports}})))["spec"]
    assert spec["ports"][0]["nodePort"] == spec["ports"][1]["nodePort"] != spec["ports"][2]["nodePort"]
    spec = (await world.admit(write(SERVICES, {"spec": {"type": "ExternalName", "externalName": "a.b"}})))["spec"]
    assert "clusterIP" not in spec


def test_pools() -> None:
    now = [0.0]
    pool, held = Pool(1, 3, clock=lambda: now[0]), {1}
    pool.follow(held)
    assert {pool.next(), pool.next()} == {2, 3}
    with pytest.raises(Exhausted):
        pool.next()
    with pytest.raises(Taken):
        pool.take(1)
    with pytest.raises(OutOfRange):
        pool.take(4)
    now[0] = 100
    pool.take(2)
    assert not pool.is_free(2)
    pool.release(2)
    pool.take(2)
    held.add(2)
    pool.release(2)
    with pytest.raises(Taken):
        pool.take(2)
    held.clear()
    pool.take(2)
    addresses = AddressPool("10.96.0.0/16")
    assert addresses.text(addresses.numbers.first) == "10.96.0.1"
    assert addresses.text(addresses.numbers.last) == "10.96.255.254"
    assert addresses.text(addresses.numbers.next()) >= "10.96.1.0"
    with pytest.raises(OutOfRange):
        addresses.number("fd00::1")
    assert AddressPool("fd00::/112").family == "IPv6"


# -- hooks -----------------------------------------------------------------------------------------------------------

ANY = (Rule(("kubevirt.io",), ("*",), ("virtualmachineinstances",), ("CREATE", "UPDATE")),)


def hook(kind: Any, answer: Callable[[Object], dict], name: str = "hook.kubevirt.io") -> AdmissionHook:
    async def review(body: Object) -> Object:
        response = {"uid": body["request"]["uid"], **answer(body["request"])}
        return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}

    return AdmissionHook(name, kind, ANY, review)


def patch(*operations: dict) -> dict:
    encoded = base64.b64encode(json.dumps(operations).encode()).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": encoded}


async def test_mutating_hooks_see_each_others_work_and_warnings_collect() -> None:
    seen: list[Object] = []

    def second(request: Object) -> dict:
        seen.append(request)
        return {"allowed": True, "warnings": ["careful"]}

    world = World(
        hook("mutating", lambda _: patch({"op": "add", "path": "/spec/domain", "value": {}})),
        hook("mutating", second),
        hook("validating", lambda _: {"allowed": True, "warnings": ["really"]}),
    )
    attrs = write(VMIS, {"spec": {}})
    assert (await world.admit(attrs))["spec"] == {"domain": {}}
    assert attrs.warnings == ["careful", "really"]
    (request,) = seen
    assert request["object"]["spec"] == {"domain": {}}
    assert request["oldObject"] is None
    assert (request["operation"], request["namespace"], request["name"], request["dryRun"]) == (
        "CREATE",
        "ns",
        "x",
        False,
    )
    assert request["userInfo"] == {"username": "jane", "groups": ["dev"]}
    assert request["resource"] == {"group": "kubevirt.io", "version": "v1", "resource": "virtualmachineinstances"}


@pytest.mark.parametrize(
    ("result", "code", "reason", "message"),
    [
        (None, 400, "", "without explanation"),
        ({"message": "no"}, 400, "", "no"),
        ({"reason": "Forbidden", "code": 403}, 403, "Forbidden", "Forbidden"),
        ({"code": 200, "message": "odd"}, 400, "", "odd"),
    ],
)
async def test_denials_in_upstreams_words(result: Any, code: int, reason: str, message: str) -> None:
    world = World(hook("validating", lambda _: {"allowed": False, "status": result}))
    with pytest.raises(StatusError) as refusal:
        await world.admit(write(VMIS, {"spec": {}}))
    separator = " " if result is None else ": "
    assert refusal.value.message == f'admission webhook "hook.kubevirt.io" denied the request{separator}{message}'
    assert (refusal.value.code, refusal.value.reason) == (code, reason)


async def test_a_hooks_causes_reach_the_client() -> None:
    causes = [{"field": "spec.runStrategy", "message": "Invalid RunStrategy (Foo)", "reason": "FieldValueInvalid"}]
    result = {"code": 422, "reason": "Invalid", "message": "Invalid RunStrategy (Foo)", "details": {"causes": causes}}
    world = World(hook("validating", lambda _: {"allowed": False, "status": result}))
    with pytest.raises(StatusError) as refusal:
        await world.admit(write(VMIS, {"spec": {}}))
    assert (refusal.value.code, refusal.value.reason) == (422, "Invalid")
    assert refusal.value.details == {"causes": causes}


async def test_a_hook_that_fails_or_answers_nonsense_refuses_the_write() -> None:
    def broken(_: Object) -> dict:
        raise RuntimeError("broken")

    for bad in (broken, lambda _: {"allowed": True, "uid": "other"}):
        world = World(hook("validating", bad))
        message = await refused(world.admit(write(VMIS, {"spec": {}})), 500)
        assert message.startswith('Internal error occurred: failed calling webhook "hook.kubevirt.io": ')
    world = World(hook("mutating", lambda _: patch({"op": "remove", "path": "/nix"})))
    assert "does not apply" in await refused(world.admit(write(VMIS, {"spec": {}})), 500)


@pytest.mark.parametrize(
    ("resources", "subresource", "matches"),
    [
        (("virtualmachineinstances",), "", True),
        (("virtualmachineinstances",), "status", False),
        (("virtualmachineinstances/status",), "status", True),
        (("virtualmachineinstances/*",), "status", True),
        (("*",), "", True),
        (("*",), "status", False),
        (("*/*",), "status", True),
        (("*/status",), "status", True),
        (("pods",), "", False),
    ],
)
def test_rules_of_hooks(resources: tuple[str, ...], subresource: str, matches: bool) -> None:
    rule = Rule(("kubevirt.io",), ("v1",), resources, ("*",))
    attrs = write(VMIS, {}, subresource=subresource)
    assert concerns((rule,), attrs) is matches
    assert not concerns((Rule(("apps",), ("v1",), resources, ("*",)),), attrs)
