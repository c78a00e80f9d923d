"""Tables as kubectl shows them."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api.builtin import RESOURCE_TYPES, by_gvk
from kumo.api.objects import parse_timestamp
from kumo.api.resources import GVK, ResourceType
from kumo.api.schema.definitions import load
from kumo.kubernetes.apiserver.tables import human_duration, table
from kumo.kubernetes.apiserver.tables.descriptions import FIELDS

pytestmark = pytest.mark.unit

NOW = parse_timestamp("2026-01-01T01:00:00Z")
META = {"name": "x", "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z"}
AT = {"finishedAt": "2026-01-01T00:59:50Z"}


def row(kind: str, group: str = "", version: str = "v1", **body: Any) -> list[Any]:
    obj = {"kind": kind, "metadata": {**META, **body.pop("metadata", {})}, **body}
    cells: list[Any] = table(by_gvk()[GVK(group, version, kind)], [obj], now=NOW)["rows"][0]["cells"]
    return cells


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (0, "0s"), (119, "119s"), (120, "2m"), (200, "3m20s"), (600, "10m"), (3 * 3600 - 1, "179m"),
        (3 * 3600, "3h"), (5 * 3600 + 60, "5h1m"), (8 * 3600, "8h"), (47 * 3600, "47h"), (50 * 3600, "2d2h"),
        (8 * 86400, "8d"), (729 * 86400, "729d"), (731 * 86400, "2y1d"), (9 * 365 * 86400, "9y"),
    ],
)  # fmt: skip
def test_durations(seconds: int, text: str) -> None:
    assert human_duration(seconds) == text


def status(
    name: str = "c", restarts: int = 0, *, ready: bool = False, last: bool = False, **state: Any
) -> dict[str, Any]:
    found = {"name": name, "ready": ready, "restartCount": restarts, "state": state}
    return {**found, "lastState": {"terminated": AT}} if last else found


RUNNING = status(ready=True, running={})
ENDED = {"exitCode": 0, "reason": "Completed"}
CRASHED = status(restarts=3, last=True, waiting={"reason": "CrashLoopBackOff"})
GATED = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
EXITED = status(terminated={"exitCode": 3})
KILLED = status(terminated={"signal": 9})
SIDECAR = {"name": "s", "restartPolicy": "Always"}


@pytest.mark.parametrize(
    ("spec", "status_", "metadata", "ready", "shown", "restarts"),
    [
        ({}, {"phase": "Pending"}, {}, "0/1", "Pending", "0"),
        ({}, {"phase": "Running", "containerStatuses": [RUNNING]}, {}, "1/1", "Running", "0"),
        (
            {},
            {"phase": "Running", "containerStatuses": [CRASHED]},
            {}, "0/1", "CrashLoopBackOff", "3 (10s ago)",
        ),
        ({}, {"phase": "Succeeded", "containerStatuses": [status(terminated=ENDED)]}, {}, "0/1", "Completed", "0"),
        ({}, {"phase": "Failed", "containerStatuses": [EXITED]}, {}, "0/1", "ExitCode:3", "0"),
        ({}, {"phase": "Failed", "containerStatuses": [KILLED]}, {}, "0/1", "Signal:9", "0"),
        ({}, {"phase": "Failed", "reason": "Evicted"}, {}, "0/1", "Evicted", "0"),
        (
            {"initContainers": [{"name": "i"}, {"name": "j"}]},
            {"phase": "Pending", "initContainerStatuses": [status("i", terminated=ENDED), status("j", running={})]},
            {}, "0/1", "Init:1/2", "0",
        ),
        (
            {"initContainers": [{"name": "i"}]},
            {"phase": "Pending", "initContainerStatuses": [status("i", 2, waiting={"reason": "CrashLoopBackOff"})]},
            {}, "0/1", "Init:CrashLoopBackOff", "2",
        ),
        (
            {"initContainers": [{"name": "i"}]},
            {"phase": "Pending", "initContainerStatuses": [status("i", terminated={"exitCode": 1, "reason": "Error"})]},
            {}, "0/1", "Init:Error", "0",
        ),
        (
            {"initContainers": [SIDECAR]},
            {"phase": "Running", "initContainerStatuses": [{**status("s", 1, ready=True, running={}), "started": True}],
             "containerStatuses": [RUNNING]},
            {}, "2/2", "Running", "1",
        ),
        (
            {}, {"phase": "Running", "containerStatuses": [RUNNING]}, {"deletionTimestamp": "2026-01-01T00:59:00Z"},
            "1/1", "Terminating", "0",
        ),
        (
            {}, {"phase": "Pending", "conditions": [GATED]},
            {}, "0/1", "SchedulingGated", "0",
        ),
    ],
)  # fmt: skip
def test_pods(
    spec: dict[str, Any], status_: dict[str, Any], metadata: dict[str, Any], ready: str, shown: str, restarts: str
) -> None:
    found = row("Pod", spec={"containers": [{"name": "c"}], **spec}, status=status_, metadata=metadata)
    assert found == ["x", ready, shown, restarts, "60m", "<none>", "<none>", "<none>", "<none>"]


TEMPLATE = {"spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "j"}]}}
WORKLOAD = {"replicas": 3, "selector": {"matchLabels": {"k": "v"}}, "template": TEMPLATE}


def test_workloads() -> None:
    counts = {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1, "replicas": 3}
    wide = ["a,b", "i,j", "k=v"]
    assert row("Deployment", "apps", spec=WORKLOAD, status=counts) == ["x", "1/3", 2, 1, "60m", *wide]
    assert row("ReplicaSet", "apps", spec=WORKLOAD, status=counts) == ["x", 3, 3, 1, "60m", *wide]
    assert row("StatefulSet", "apps", spec=WORKLOAD, status=counts) == ["x", "1/3", "60m", "a,b", "i,j"]
    job = {"completions": 2, "template": TEMPLATE, "selector": {"matchLabels": {"k": "v"}}}
    done = {"succeeded": 1, "startTime": "2026-01-01T00:58:00Z"}
    assert row("Job", "batch", spec=job, status=done) == ["x", "Running", "1/2", "2m", "60m", *wide]


def test_services_and_friends() -> None:
    ports = [{"port": 80, "protocol": "TCP", "nodePort": 30000}, {"port": 53, "protocol": "UDP"}]
    spec = {"type": "NodePort", "clusterIP": "10.0.0.1", "ports": ports, "selector": {"a": "b"}}
    assert row("Service", spec=spec) == ["x", "NodePort", "10.0.0.1", "<none>", "80:30000/TCP,53/UDP", "60m", "a=b"]
    assert row("Service", spec={"type": "LoadBalancer", "clusterIP": "None"})[2:5] == ["None", "<pending>", "<none>"]
    subsets = [{"addresses": [{"ip": f"10.0.0.{i}"} for i in range(5)], "ports": [{"port": 80}]}]
    assert row("Endpoints", subsets=subsets)[1] == "10.0.0.0:80,10.0.0.1:80,10.0.0.2:80 + 2 more..."
    rules = [{"host": "a.example"}, {}]
    assert row("Ingress", "networking.k8s.io", spec={"rules": rules}) == ["x", "<none>", "a.example", "", "80", "60m"]


def test_cluster() -> None:
    conditions = [{"type": "Ready", "status": "True"}]
    node = row(
        "Node",
        metadata={"labels": {"node-role.kubernetes.io/control-plane": ""}},
        spec={"unschedulable": True},
        status={
            "conditions": conditions,
            "addresses": [{"type": "InternalIP", "address": "1.2.3.4"}],
            "nodeInfo": {"kubeletVersion": "v1.36.0"},
        },
    )
    expected = ["x", "Ready,SchedulingDisabled", "control-plane", "60m", "v1.36.0", "1.2.3.4", "<none>"]
    assert node == expected + ["<unknown>"] * 3
    event = row(
        "Event",
        type="Normal",
        reason="Pulled",
        message=" done \n",
        involvedObject={"kind": "Pod", "name": "p"},
        source={"component": "kubelet", "host": "n"},
        firstTimestamp="2026-01-01T00:00:00Z",
        lastTimestamp="2026-01-01T00:59:00Z",
    )
    assert event == ["60s", "Normal", "Pulled", "pod/p", "", "kubelet, n", "done", "60m", 1, "x"]
    assert row("Secret", type="Opaque", data={"a": ""}) == ["x", "Opaque", 1, "60m"]
    assert row("Role", "rbac.authorization.k8s.io") == ["x", "2026-01-01T00:00:00Z"]
    default = {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
    found = row("StorageClass", "storage.k8s.io", provisioner="p", metadata=default)
    assert found == ["x (default)", "p", "Delete", "Immediate", False, "60m"]


@pytest.mark.parametrize("kind", RESOURCE_TYPES, ids=lambda t: f"{t.gvr.group_resource}.{t.version}")
def test_every_kind_has_as_many_cells_as_columns(kind: ResourceType) -> None:
    found = table(kind, [{"kind": kind.kind, "metadata": META}], now=NOW)
    more = 1 if kind.resource == "ipaddresses" else 0  # Upstream gives the age, but no column for it.
    assert len(found["rows"][0]["cells"]) == len(found["columnDefinitions"]) + more
    named = ["Name", "Attacher"] if kind.resource == "volumeattachments" else ["Name"]
    assert [c["name"] for c in found["columnDefinitions"] if c["format"] == "name"] == named
    assert all(c["description"] for c in found["columnDefinitions"])


@pytest.mark.parametrize(
    ("resource", "types"),
    [
        ("csidrivers", "string boolean boolean boolean string boolean string string"),
        ("csistoragecapacities", "string date"),
        ("configmaps", "string string string"),
        ("controllerrevisions", "string string string string"),
        ("cronjobs", "string string string boolean integer string string string string string"),
        ("deployments", "string string string string string string string string"),
        ("flowschemas", "string string string string string string"),
        ("horizontalpodautoscalers", "string string string string string string string"),
        ("priorityclasses", "string integer boolean string string"),
        ("secrets", "string string string string"),
        ("serviceaccounts", "string string"),
        ("volumeattachments", "string string string string boolean string"),
    ],
)
def test_types_of_columns(resource: str, types: str) -> None:
    kind = next(t for t in RESOURCE_TYPES if t.resource == resource)
    assert [c["type"] for c in table(kind, [], now=NOW)["columnDefinitions"]] == types.split()


@pytest.mark.parametrize(
    ("resource", "column", "field"),
    [
        ("pods", "IP", "core.v1.PodStatus.podIP"),
        ("csidrivers", "AttachRequired", "storage.v1.CSIDriverSpec.attachRequired"),
        ("leases", "Holder", "coordination.v1.LeaseSpec.holderIdentity"),
    ],
)
def test_columns_are_described_by_their_fields(resource: str, column: str, field: str) -> None:
    kind = next(t for t in RESOURCE_TYPES if t.resource == resource)
    definition, _, name = field.rpartition(".")
    wanted = load().descriptions()[f"io.k8s.api.{definition}"][name]
    found = {c["name"]: c["description"] for c in table(kind, [], now=NOW)["columnDefinitions"]}
    assert found[column] == wanted


def test_every_description_is_found() -> None:
    texts = load().descriptions()
    for known in FIELDS.values():
        for part in known.split("|"):
            definition, _, name = part.partition("=")[2].rpartition(".")
            assert texts[f"io.k8s.api.{definition}"].get(name), part


def test_parameters_of_bindings() -> None:
    kind = next(t for t in RESOURCE_TYPES if t.resource == "mutatingadmissionpolicybindings")
    selector = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "k", "operator": "In", "values": ["x", "y"]}]}
    go = (
        "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{"
        "LabelSelectorRequirement{Key:k,Operator:In,Values:[x y],},},}"
    )
    for reference, shown in (
        (None, "<unset>"),
        ({"name": "n"}, "*/n"),
        ({"name": "n", "namespace": "ns"}, "ns/n"),
        ({"selector": selector}, go),
    ):
        obj = {"metadata": META, "spec": {"policyName": "p", "paramRef": reference}}
        assert table(kind, [obj], now=NOW)["rows"][0]["cells"] == ["x", "p", shown, "60m"]


def test_custom_columns_and_objects() -> None:
    kind = ResourceType("x.io", "v1", "W", "ws", "w", True)
    columns = [
        {"name": "Color", "type": "string", "jsonPath": ".spec.color"},
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size", "priority": 1},
        {"name": "Since", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
    ]
    obj = {"metadata": META, "spec": {"color": "red", "size": 3}}
    found = table(kind, [obj], columns, now=NOW, metadata={"resourceVersion": "7"})
    assert [c["name"] for c in found["columnDefinitions"]] == ["Name", "Color", "Size", "Since", "Ready"]
    assert found["rows"] == [
        {
            "cells": ["x", "red", 3, "60m", None],
            "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": META},
        }
    ]
    assert found["metadata"] == {"resourceVersion": "7"}
    assert table(kind, [obj], [], now=NOW)["rows"][0]["cells"] == ["x", "60m"]
    assert table(kind, [obj], [], now=NOW, include_object="None")["rows"][0]["object"] is None
    assert table(kind, [obj], [], now=NOW, include_object="Object")["rows"][0]["object"] is obj
