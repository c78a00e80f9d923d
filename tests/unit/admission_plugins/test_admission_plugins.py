"""The other built-in admission plugins, each alone: what they set, and what they refuse in which words."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.api.resources import GVK, GVR, NAMESPACES, NODES, PODS, SERVICEACCOUNTS, core
from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.admission import AdmissionChain, AdmissionConfig
from kumo.kubernetes.apiserver.admission.config import LimitedResource
from kumo.kubernetes.apiserver.admission.default_classes import INGRESSCLASSES, STORAGECLASSES
from kumo.kubernetes.apiserver.admission.limit_ranger import LIMITRANGES
from kumo.kubernetes.apiserver.admission.quota import QUOTAS, ResourceQuota
from kumo.kubernetes.apiserver.admission.runtime_class import RUNTIMECLASSES
from kumo.kubernetes.apiserver.admission.tolerations import merge
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Operation
from support.reader import MemoryReader

pytestmark = pytest.mark.unit

CLAIMS = core("persistentvolumeclaims")
VOLUMES = core("persistentvolumes", False)
INGRESSES = GVR("networking.k8s.io", "v1", "ingresses")
LOCAL_REVIEWS = GVR("authorization.k8s.io", "v1", "localsubjectaccessreviews")


class World:
    def __init__(self, **config: Any) -> None:
        self.reader = MemoryReader()
        self.reader.put(NAMESPACES, {"metadata": {"name": "ns"}})
        self.reader.put(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": "ns"}})
        self.chain = AdmissionChain((), self.reader, config=AdmissionConfig(**config))

    async def admit(self, gvr: GVR, obj: Object, operation: Operation = "CREATE", **more: Any) -> Object:
        obj = deepcopy({**obj, "metadata": {"name": "x", **(obj.get("metadata") or {})}})
        namespace = more.pop("namespace", "ns" if gvr.namespaced else "")
        kind = GVK(gvr.group, gvr.version, "Thing")
        attrs = AdmissionAttributes(operation, kind, gvr, namespace, "x", UserInfo("jane", ()), object=obj, **more)
        await self.chain.mutate(attrs)
        await self.chain.validate(attrs)
        assert attrs.object is not None
        return attrs.object

    async def refused(self, gvr: GVR, obj: Object, operation: Operation = "CREATE", **more: Any) -> str:
        with pytest.raises(StatusError) as refusal:
            await self.admit(gvr, obj, operation, **more)
        return refusal.value.message.removeprefix(f'{gvr.group_resource} "x" is forbidden: ')


def pod(container: Object | None = None, **spec: Any) -> Object:
    return {"spec": {"containers": [{"name": "c", "image": "i", **(container or {})}], **spec}}


# -- namespaces ------------------------------------------------------------------------------------------------------


async def test_ending_and_missing_namespaces() -> None:
    world = World()
    world.reader.put(NAMESPACES, {"metadata": {"name": "late"}, "status": {"phase": "Terminating"}})
    maps = core("configmaps")
    message = await world.refused(maps, {}, namespace="late")
    assert message == "unable to create new content in namespace late because it is being terminated"
    await world.admit(maps, {}, "UPDATE", namespace="late")
    assert await world.refused(maps, {}, namespace="nowhere") == 'namespaces "nowhere" not found'
    await world.admit(LOCAL_REVIEWS, {}, namespace="nowhere")
    world.reader.drop(NAMESPACES, "ns")
    assert await world.refused(maps, {}) == 'namespaces "ns" not found'


# -- limits ----------------------------------------------------------------------------------------------------------


async def test_what_a_limit_range_set_is_noted() -> None:
    world = World()
    item = {"type": "Container", "default": {"memory": "1Gi", "cpu": "2"}, "defaultRequest": {"cpu": "1"}}
    meta = {"name": "l", "namespace": "ns"}
    world.reader.put(LIMITRANGES, {"metadata": meta, "spec": {"limits": [item]}})
    made = await world.admit(PODS, pod(initContainers=[{"name": "i"}]))
    assert made["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu request for container c; cpu, memory limit for container c; "
        "cpu request for init container i; cpu, memory limit for init container i"
    )


async def test_every_broken_bound_of_a_range_is_named_once() -> None:
    world = World()
    items = [{"type": "Container", "max": {"cpu": "1"}, "min": {"memory": "1Mi"}}, {"type": "Pod", "max": {"cpu": "1"}}]
    world.reader.put(LIMITRANGES, {"metadata": {"name": "l", "namespace": "ns"}, "spec": {"limits": items}})
    two = {"spec": {"containers": [{"name": "a"}, {"name": "b"}]}}
    assert await world.refused(PODS, two) == (
        "[minimum memory usage per Container is 1Mi.  No request is specified, maximum cpu usage per Container is 1.  "
        "No limit is specified, maximum cpu usage per Pod is 1.  No limit is specified]"
    )


# -- service accounts ------------------------------------------------------------------------------------------------

ENV = {"env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "bad", "key": "k"}}}]}
FROM = {"envFrom": [{"secretRef": {"name": "bad"}}]}
NOT_ALLOWED = "is not allowed because service account tight does not reference that secret"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            pod(volumes=[{"name": "v", "secret": {"secretName": "bad"}}]),
            f'volume with secret.secretName="bad" {NOT_ALLOWED}',
        ),
        (pod(ENV), f'container c with envVar E referencing secret.secretName="bad" {NOT_ALLOWED}'),
        (
            pod(initContainers=[{"name": "i", **FROM}]),
            f'init container i with envFrom referencing secret.secretName="bad" {NOT_ALLOWED}',
        ),
        (
            pod(imagePullSecrets=[{"name": "bad"}]),
            'imagePullSecrets[0].name="bad" is not allowed because service account tight does not reference that '
            "imagePullSecret",
        ),
        (pod(volumes=[{"name": "v", "secret": {"secretName": "good"}}]), ""),
    ],
)
async def test_accounts_that_limit_secrets(body: Object, words: str) -> None:
    world = World()
    meta = {"name": "tight", "namespace": "ns", "annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}
    world.reader.put(SERVICEACCOUNTS, {"metadata": meta, "secrets": [{"name": "good"}]})
    body["spec"]["serviceAccountName"] = "tight"
    if words:
        assert await world.refused(PODS, body) == words
    else:
        await world.admit(PODS, body)
    changed = pod(serviceAccountName="tight", ephemeralContainers=[{"name": "e", **ENV}])
    message = await world.refused(PODS, changed, "UPDATE", old_object={}, subresource="ephemeralcontainers")
    assert message == f'ephemeral container e with envVar E referencing secret.secretName="bad" {NOT_ALLOWED}'


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"serviceAccountName": "default"}, "a mirror pod may not reference service accounts"),
        ({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}, "a mirror pod may not reference secrets"),
        (
            {"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {}}]}}]},
            "a mirror pod may not use ServiceAccountToken volume projections",
        ),
    ],
)
async def test_mirror_pods(spec: Object, words: str) -> None:
    body = {**pod(**spec), "metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}}
    assert await World().refused(PODS, body) == words


# -- runtime classes and tolerations ---------------------------------------------------------------------------------


async def test_runtime_classes_give_overhead_and_place() -> None:
    world = World()
    scheduling = {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "k", "operator": "Exists"}]}
    overhead = {"podFixed": {"cpu": "10m"}}
    world.reader.put(RUNTIMECLASSES, {"metadata": {"name": "r"}, "overhead": overhead, "scheduling": scheduling})
    narrow = {"key": "k", "operator": "Equal", "value": "v"}
    spec = (await world.admit(PODS, pod(runtimeClassName="r", nodeSelector={"x": "y"}, tolerations=[narrow])))["spec"]
    assert (spec["overhead"], spec["nodeSelector"]) == ({"cpu": "10m"}, {"x": "y", "a": "b"})
    assert {"key": "k", "operator": "Exists"} in spec["tolerations"] and narrow not in spec["tolerations"]
    assert await world.refused(PODS, pod(runtimeClassName="s")) == 'pod rejected: RuntimeClass "s" not found'
    assert await world.refused(PODS, pod(runtimeClassName="r", overhead={"cpu": "1"})) == (
        "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
    )
    assert await world.refused(PODS, pod(overhead={"cpu": "1"})) == (
        "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
    )
    assert await world.refused(PODS, pod(runtimeClassName="r", nodeSelector={"a": "c"})) == (
        "conflict: runtimeClass.scheduling.nodeSelector[a] = b; pod.spec.nodeSelector[a] = c"
    )


def test_tolerations_that_cover_others() -> None:
    every = {"operator": "Exists"}
    brief = {"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
    long = {**brief, "tolerationSeconds": 9}
    assert merge([brief], [long]) == [long]
    assert merge([long], [every]) == [every]
    assert merge([{"key": "a", "operator": "Exists"}], [brief]) == [{"key": "a", "operator": "Exists"}, brief]


async def test_extended_resources_are_tolerated_when_asked_to() -> None:
    body = pod({"resources": {"requests": {"example.com/gpu": "1", "cpu": "1"}}})
    wanted = {"key": "example.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    assert wanted in (await World(extended_resource_toleration=True).admit(PODS, body))["spec"]["tolerations"]
    assert wanted not in (await World().admit(PODS, body))["spec"]["tolerations"]


# -- nodes -----------------------------------------------------------------------------------------------------------


async def test_new_nodes_are_not_ready() -> None:
    made = await World().admit(NODES, {})
    assert made["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]
    assert (await World().admit(NODES, made))["spec"]["taints"] == made["spec"]["taints"]


async def test_pods_and_bindings_get_their_nodes_zone() -> None:
    world = World()
    labels = {"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "other": "o"}
    world.reader.put(NODES, {"metadata": {"name": "n", "labels": labels}})
    wanted = {key: labels[key] for key in list(labels)[:2]}
    assert (await world.admit(PODS, pod(nodeName="n")))["metadata"]["labels"] == wanted
    binding = {"target": {"kind": "Node", "name": "n"}}
    assert (await world.admit(PODS, binding, subresource="binding"))["metadata"]["labels"] == wanted
    assert "labels" not in (await world.admit(PODS, pod(nodeName="unknown")))["metadata"]


async def test_resizes_must_fit_the_node() -> None:
    world = World()
    node = {"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "1", "memory": "1Ki"}}}
    world.reader.put(NODES, node)
    old = {**pod(nodeName="n"), "metadata": {"generation": 1}}
    new = {**pod({"resources": {"requests": {"cpu": "1500m", "memory": "2Ki"}}}, nodeName="n")}
    new["metadata"] = {"generation": 2}
    message = await world.refused(PODS, new, "UPDATE", old_object=old, subresource="resize")
    assert message == (
        "node didn't have enough allocatable resources: cpu, requested: 1500, allocatable: 1000; "
        "memory, requested: 2048, allocatable: 1024"
    )
    whole = {**pod(nodeName="n", resources={"requests": {"cpu": "1"}}), "metadata": {"generation": 2}}
    message = await world.refused(PODS, whole, "UPDATE", old_object=old, subresource="resize")
    assert message == (
        'pod update requires features InPlacePodLevelResourcesVerticalScaling which are not available on node "n"'
    )


# -- storage and ingress ---------------------------------------------------------------------------------------------


def claim(size: str, phase: str = "", chosen: str = "s") -> Object:
    spec = {"storageClassName": chosen, "resources": {"requests": {"storage": size}}}
    return {"spec": spec, "status": {"phase": phase}}


async def test_claims_grow_when_their_class_allows_it() -> None:
    world = World()
    words = (
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support "
        "resize"
    )
    assert await world.refused(CLAIMS, claim("2Gi"), "UPDATE", old_object=claim("1Gi", "Pending")) == (
        "Only bound persistent volume claims can be expanded"
    )
    world.reader.put(STORAGECLASSES, {"metadata": {"name": "s"}})
    assert await world.refused(CLAIMS, claim("2Gi"), "UPDATE", old_object=claim("1Gi", "Bound")) == words
    world.reader.put(STORAGECLASSES, {"metadata": {"name": "s"}, "allowVolumeExpansion": True})
    await world.admit(CLAIMS, claim("2Gi"), "UPDATE", old_object=claim("1Gi", "Bound"))
    await world.admit(CLAIMS, claim("1Gi"), "UPDATE", old_object=claim("2Gi", "Pending"))


async def test_storage_objects_are_protected_from_the_start() -> None:
    assert (await World().admit(CLAIMS, {"spec": {}}))["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    made = await World().admit(VOLUMES, {"metadata": {"finalizers": ["kubernetes.io/pv-protection", "x/y"]}})
    assert made["metadata"]["finalizers"] == ["kubernetes.io/pv-protection", "x/y"]


async def test_ingresses_get_the_default_class() -> None:
    world = World()
    annotations = {"ingressclass.kubernetes.io/is-default-class": "true"}
    world.reader.put(INGRESSCLASSES, {"metadata": {"name": "usual", "annotations": annotations}})
    assert (await world.admit(INGRESSES, {"spec": {}}))["spec"]["ingressClassName"] == "usual"
    old = {"metadata": {"annotations": {"kubernetes.io/ingress.class": "mine"}}, "spec": {}}
    assert "ingressClassName" not in (await world.admit(INGRESSES, old))["spec"]


# -- quotas ----------------------------------------------------------------------------------------------------------


def quota(status: Object | None = None, name: str = "q", **spec: Any) -> Object:
    hard = spec.setdefault("hard", {"pods": "2"})
    status = {"hard": hard, "used": dict.fromkeys(hard, "0")} if status is None else status
    return {"metadata": {"name": name, "namespace": "ns", "resourceVersion": "1"}, "spec": spec, "status": status}


class Writer:
    """Writes into the reader; refuses the first `lost` writes, as if somebody else had been faster."""

    def __init__(self, reader: MemoryReader, lost: int = 0) -> None:
        self.reader, self.lost, self.written = reader, lost, 0

    async def write(self, namespace: str, name: str, revision: str, used: dict[str, str]) -> bool:
        found = self.reader.get(QUOTAS, name, namespace)
        assert found is not None
        if self.lost:
            self.lost -= 1
            found["metadata"]["resourceVersion"] = str(int(revision) + 1)
            self.reader.put(QUOTAS, found)
            return False
        assert found["metadata"]["resourceVersion"] == revision
        self.written += 1
        found["metadata"]["resourceVersion"] = str(int(revision) + 1)
        found["status"]["used"] = used
        self.reader.put(QUOTAS, found)
        return True


def attributes(name: str, body: Object | None = None, **more: Any) -> AdmissionAttributes:
    obj = {**(body or pod()), "metadata": {"name": name, "namespace": "ns"}}
    return AdmissionAttributes("CREATE", GVK("", "v1", "Pod"), PODS, "ns", name, UserInfo("j", ()), object=obj, **more)


async def test_a_quota_nobody_has_counted_yet() -> None:
    world = World()
    world.reader.put(QUOTAS, quota({}))
    await world.admit(PODS, pod())
    world.reader.put(QUOTAS, quota({"hard": {"pods": "2", "count/pods": "1"}, "used": {"pods": "0"}}))
    assert await world.refused(PODS, pod()) == "status unknown for quota: q, resources: count/pods,pods"


async def test_charges_lost_to_somebody_else_are_tried_again_on_those_quotas_alone() -> None:
    reader = MemoryReader()
    reader.put(QUOTAS, quota())
    reader.put(QUOTAS, quota(name="other"))
    writer = Writer(reader, lost=1)
    plugin = ResourceQuota(reader, writer)
    await plugin.validate(attributes("a"))
    assert writer.written == 2
    assert [found["status"]["used"] for found in reader.objects(QUOTAS)] == [{"pods": "1"}, {"pods": "1"}]


async def test_promises_hold_whatever_the_status_says() -> None:
    reader = MemoryReader()
    reader.put(QUOTAS, quota())
    plugin = ResourceQuota(reader, Writer(reader))
    first, second = attributes("a"), attributes("b")
    await plugin.validate(first)
    await plugin.validate(second)
    # A controller that does not see the pods yet lowers the status.
    reader.put(QUOTAS, quota())
    with pytest.raises(StatusError, match=r"exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"):
        await plugin.validate(attributes("c"))
    reader.put(PODS, {**pod(), "metadata": {"name": "a", "namespace": "ns"}})
    plugin.abandon(second)
    await plugin.validate(attributes("c"))
    with pytest.raises(StatusError):
        await plugin.validate(attributes("d"))
    reader.put(QUOTAS, quota())
    reader.drop(PODS, "a", "ns")
    await plugin.validate(attributes("d", dry_run=True))
    await plugin.validate(attributes("d"))


async def test_updates_are_charged_for_what_they_add() -> None:
    world = World()
    world.reader.put(QUOTAS, quota(hard={"services.nodeports": "2", "services": "1"}))
    services = core("services")
    before = {"spec": {"type": "NodePort", "clusterIP": "None", "ports": [{"port": 1}, {"port": 2}]}}
    after = {"spec": {"type": "NodePort", "clusterIP": "None", "ports": [{"port": 1}, {"port": 2}, {"port": 3}]}}
    used = {"hard": {"services.nodeports": "2", "services": "1"}, "used": {"services.nodeports": "2", "services": "1"}}
    world.reader.put(QUOTAS, quota(used, hard=used["hard"]))
    plugin = ResourceQuota(world.reader)

    def update(new: Object, old: Object) -> AdmissionAttributes:
        kind = GVK("", "v1", "Service")
        user = UserInfo("j", ())
        return AdmissionAttributes("UPDATE", kind, services, "ns", "x", user, object=new, old_object=old)

    await plugin.validate(update(before, before))
    with pytest.raises(StatusError, match=r"requested: services.nodeports=1, used: services.nodeports=2"):
        await plugin.validate(update(after, before))


async def test_what_must_be_covered_by_some_quota() -> None:
    scope = {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}
    limited = (
        LimitedResource("", "pods", contains=("requests.example.com/",)),
        LimitedResource("", "pods", scopes=(scope,)),
    )
    world = World(limited_resources=limited)
    await world.admit(PODS, pod())
    greedy = pod({"resources": {"requests": {"example.com/gpu": "1"}}})
    assert await world.refused(PODS, greedy) == "insufficient quota to consume: requests.example.com/gpu"
    world.reader.put(QUOTAS, quota(hard={"requests.example.com/gpu": "1"}))
    await world.admit(PODS, greedy)
    plugin = ResourceQuota(world.reader, None, limited)
    with pytest.raises(StatusError) as refusal:
        await plugin.validate(attributes("p", pod(priorityClassName="high")))
    assert refusal.value.code == 500
    assert refusal.value.message == "insufficient quota to match these scopes: [{PriorityClass In [high]}]"
