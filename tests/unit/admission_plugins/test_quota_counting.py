"""What quotas count: usage, names, scopes, tallies, and the status that follows."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api.objects import Object, timestamp
from kumo.api.quota import Resource, Tally, in_scope, names_of, parse_amounts, resources_of, texts, usage
from kumo.api.quota.amounts import parse_amount
from kumo.api.quota.tracking import CLAIMS, DEVICE_CLAIMS, PODS, SERVICES
from kumo.kubernetes.controller_manager.resource_quota.decision import decide

pytestmark = pytest.mark.unit


def resources(requests: dict[str, str] | None = None, limits: dict[str, str] | None = None) -> Object:
    return {"resources": {k: v for k, v in (("requests", requests), ("limits", limits)) if v}}


def pod(*containers: Object, **more: Any) -> Object:
    named = [{"name": f"c{i}", **c} for i, c in enumerate(containers)]
    return {"metadata": {"name": "p"}, "spec": {"containers": named, **more.pop("spec", {})}, **more}


@pytest.mark.parametrize(
    ("obj", "counted"),
    [
        (pod({}), {"pods": "1"}),
        (
            pod(resources({"cpu": "100m", "memory": "1Gi"}, {"cpu": "1"}), resources({"memory": "512Mi"})),
            {
                "pods": "1",
                "cpu": "100m",
                "requests.cpu": "100m",
                "memory": "1536Mi",
                "requests.memory": "1536Mi",
                "limits.cpu": "1",
            },
        ),
        (
            pod(resources({"cpu": "1"}), spec={"initContainers": [{"name": "i", **resources({"cpu": "3"})}]}),
            {"pods": "1", "cpu": "3", "requests.cpu": "3"},
        ),
        (
            pod(resources({"cpu": "1"}), spec={"overhead": {"cpu": "10m"}, "resources": {"requests": {"cpu": "5"}}}),
            {"pods": "1", "cpu": "5010m", "requests.cpu": "5010m"},
        ),
        (
            pod(resources({"example.com/gpu": "2", "hugepages-2Mi": "4Mi", "ephemeral-storage": "1G"})),
            {
                "pods": "1",
                "requests.example.com/gpu": "2",
                "hugepages-2Mi": "4Mi",
                "requests.hugepages-2Mi": "4Mi",
                "ephemeral-storage": "1G",
                "requests.ephemeral-storage": "1G",
            },
        ),
        (pod(resources({"cpu": "1"}), status={"phase": "Succeeded"}), {}),
        (
            pod(
                resources({"cpu": "1"}),
                status={"containerStatuses": [{"name": "c0", "resources": {"requests": {"cpu": "2"}}}]},
            ),
            {"pods": "1", "cpu": "2", "requests.cpu": "2"},
        ),
    ],
)
def test_pods_count(obj: Object, counted: dict[str, str]) -> None:
    assert texts(usage(PODS, obj)) == {"count/pods": "1", **counted}


def test_a_pod_that_stays_after_its_time_counts_no_more() -> None:
    gone = pod(resources({"cpu": "1"}))
    gone["metadata"] |= {"deletionTimestamp": timestamp(1000), "deletionGracePeriodSeconds": 30}
    assert "pods" in usage(PODS, gone, now=1029)
    assert "pods" not in usage(PODS, gone, now=1031)
    tally = Tally({"hard": {"pods": "1"}})
    tally.put(PODS, gone, now=1001)
    assert tally.expire(1002) == 1030
    assert tally.of("pods").value == 1
    assert tally.expire(1031) is None
    assert tally.of("pods").value == 0


@pytest.mark.parametrize(
    ("spec", "ports", "balancers"),
    [
        ({"type": "ClusterIP", "ports": [{}, {}]}, "0", "0"),
        ({"type": "NodePort", "ports": [{}, {}]}, "2", "0"),
        ({"type": "LoadBalancer", "ports": [{}, {}]}, "2", "1"),
        ({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False, "ports": [{"nodePort": 1}, {}]}, "1", "1"),
    ],
)
def test_services_count(spec: Object, ports: str, balancers: str) -> None:
    found = texts(usage(SERVICES, {"spec": spec}))
    assert (found["services.nodeports"], found["services.loadbalancers"], found["services"]) == (ports, balancers, "1")


def test_claims_count_by_class_and_what_they_were_given() -> None:
    claim = {
        "spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1.5"}}},
        "status": {"allocatedResources": {"storage": "3Gi"}},
    }
    found = texts(usage(CLAIMS, claim))
    assert found["requests.storage"] == found["gold.storageclass.storage.k8s.io/requests.storage"] == "3Gi"
    assert found["gold.storageclass.storage.k8s.io/persistentvolumeclaims"] == "1"
    assert texts(usage(CLAIMS, {**claim, "status": {}}))["requests.storage"] == "2"


def test_device_claims_count_the_worst_case() -> None:
    requests = [
        {"exactly": {"deviceClassName": "gpu", "count": 2, "allocationMode": "ExactCount"}},
        {
            "firstAvailable": [
                {"deviceClassName": "gpu", "count": 3, "allocationMode": "ExactCount"},
                {"deviceClassName": "gpu", "count": 1, "allocationMode": "ExactCount"},
                {"deviceClassName": "nic", "allocationMode": "All"},
            ]
        },
    ]
    found = texts(usage(DEVICE_CLAIMS, {"spec": {"devices": {"requests": requests}}}))
    assert found == {
        "count/resourceclaims.resource.k8s.io": "1",
        "gpu.deviceclass.resource.k8s.io/devices": "5",
        "nic.deviceclass.resource.k8s.io/devices": "32",
    }


def test_names_find_their_resources() -> None:
    hard = {
        "pods": "1",
        "requests.example.com/gpu": "1",
        "count/deployments.apps": "1",
        "secrets": "1",
        "x.storageclass.storage.k8s.io/requests.storage": "1",
        "count/events": "1",
        "services.nodeports": "1",
        "nonsense": "1",
    }
    deployments, secrets = Resource("apps", "deployments"), Resource("", "secrets")
    assert resources_of(hard) == {PODS, deployments, secrets, CLAIMS, SERVICES}
    assert names_of(PODS, hard) == ("pods", "requests.example.com/gpu")
    assert names_of(deployments, hard) == ("count/deployments.apps",)
    assert names_of(secrets, hard) == ("secrets",)
    assert names_of(Resource("example.com", "secrets"), hard) == ()


AFFINITY = {
    "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"podAffinityTerm": {"namespaces": ["x"]}}]}
}


@pytest.mark.parametrize(
    ("term", "obj", "inside"),
    [
        ({"scopeName": "Terminating"}, pod({}, spec={"activeDeadlineSeconds": 0}), True),
        ({"scopeName": "NotTerminating"}, pod({}, spec={"activeDeadlineSeconds": 0}), False),
        ({"scopeName": "BestEffort"}, pod(resources({"example.com/gpu": "1"})), True),
        ({"scopeName": "BestEffort"}, pod(resources({"cpu": "1"})), False),
        ({"scopeName": "NotBestEffort"}, pod(resources(None, {"memory": "1"})), True),
        ({"scopeName": "CrossNamespacePodAffinity"}, pod({}, spec={"affinity": AFFINITY}), True),
        ({"scopeName": "CrossNamespacePodAffinity"}, pod({}), False),
        ({"scopeName": "PriorityClass", "operator": "Exists"}, pod({}, spec={"priorityClassName": "a"}), True),
        ({"scopeName": "PriorityClass", "operator": "DoesNotExist"}, pod({}), True),
        (
            {"scopeName": "PriorityClass", "operator": "In", "values": ["a"]},
            pod({}, spec={"priorityClassName": "b"}),
            False,
        ),
        ({"scopeName": "PriorityClass", "operator": "NotIn", "values": ["a"]}, pod({}), True),
        ({"scopeName": "VolumeAttributesClass", "operator": "Exists"}, pod({}), False),
    ],
)
def test_scopes_of_pods(term: Object, obj: Object, inside: bool) -> None:
    assert in_scope(PODS, obj, [term]) is inside
    assert in_scope(SERVICES, obj, [term]) is False


def test_scopes_of_claims() -> None:
    term = {"scopeName": "VolumeAttributesClass", "operator": "In", "values": ["fast"]}
    moving = {"spec": {}, "status": {"modifyVolumeStatus": {"targetVolumeAttributesClassName": "fast"}}}
    assert in_scope(CLAIMS, moving, [term])
    assert not in_scope(CLAIMS, {"spec": {"volumeAttributesClassName": "slow"}}, [term])


def test_a_tally_follows_changes() -> None:
    tally = Tally({"hard": {"pods": "9", "requests.cpu": "9"}, "scopes": ["NotTerminating"]})
    first = pod(resources({"cpu": "100m"}))
    assert tally.put(PODS, first)
    assert not tally.put(PODS, first)
    assert texts(tally.used()) == {"pods": "1", "requests.cpu": "100m"}
    assert tally.put(PODS, pod(resources({"cpu": "100m"}), spec={"activeDeadlineSeconds": 1}))
    assert texts(tally.used()) == {"pods": "0", "requests.cpu": "0"}
    assert not tally.drop(PODS, "p")


def test_changes_during_a_long_count_win() -> None:
    def named(number: int, cpu: str = "1") -> Object:
        return {**pod(resources({"cpu": cpu})), "metadata": {"name": f"p{number}"}}

    tally = Tally({"hard": {"pods": "999", "cpu": "999"}})
    steps = tally.fill(PODS, [named(number) for number in range(250)])
    next(steps)
    assert texts(tally.used()) == {"pods": "100", "cpu": "100"}
    tally.drop(PODS, "p200")
    tally.put(PODS, named(201, "3"))
    assert len(list(steps)) == 1
    assert texts(tally.used()) == {"pods": "249", "cpu": "251"}


def test_sums_keep_their_form() -> None:
    assert str(parse_amount("1Gi").plus(parse_amount("1G"))) == "2073741824"
    assert str(parse_amount("0").plus(parse_amount("2Gi"))) == "2Gi"
    assert str(parse_amount("1e3").plus(parse_amount("1"))) == "1001"


def quota(used: dict[str, str] | None, hard: dict[str, str] | None = None) -> Object:
    status = {} if used is None else {"hard": hard or {"pods": "3"}, "used": used}
    return {"spec": {"hard": {"pods": "3"}}, "status": status}


@pytest.mark.parametrize(
    ("before", "counted", "released", "after", "settled"),
    [
        (quota(None), {"pods": "1"}, None, {"pods": "1"}, True),
        (quota({"pods": "1"}), {"pods": "1"}, None, None, True),
        (quota({"pods": "1"}), {"pods": "2"}, {}, {"pods": "2"}, True),
        (quota({"pods": "3"}), {"pods": "1"}, None, {"pods": "1"}, True),
        (quota({"pods": "3"}), {"pods": "1"}, {}, None, False),
        (quota({"pods": "3"}), {"pods": "1"}, {"pods": "1"}, {"pods": "2"}, False),
        (quota({"pods": "2"}), {"pods": "1"}, {"pods": "5"}, {"pods": "1"}, True),
        (quota({"pods": "1"}, {"pods": "7"}), {"pods": "1"}, None, {"pods": "1"}, True),
        (quota({"pods": "1", "old": "1"}), {"pods": "1"}, None, {"pods": "1"}, True),
    ],
)
def test_the_status_that_follows(
    before: Object, counted: dict[str, str], released: dict[str, str] | None, after: Any, settled: bool
) -> None:
    given = None if released is None else parse_amounts(released)
    outcome = decide(before, parse_amounts(counted), given)
    assert outcome.settled is settled
    assert outcome.status == (None if after is None else {"hard": {"pods": "3"}, "used": after})
