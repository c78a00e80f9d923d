"""What a deletion does to an object."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api.builtin import by_gvk
from kumo.api.errors import StatusError
from kumo.api.objects import Object, timestamp
from kumo.api.resources import GVK, ResourceType
from kumo.kubernetes.apiserver.deletion import (
    CLEANUP_FINALIZER,
    DeleteOptions,
    check_preconditions,
    mark,
    parse_options,
)

pytestmark = pytest.mark.unit
NOW = 1_000_000.0


def kind(group: str, name: str) -> ResourceType:
    return by_gvk()[GVK(group, "v1", name)]


POD, CONFIGMAP = kind("", "Pod"), kind("", "ConfigMap")


def obj(kind: str, spec: Any = None, status: Any = None, **meta: Any) -> Object:
    found: Object = {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": "x", "uid": "u", "resourceVersion": "5", **meta},
    }
    if spec is not None:
        found["spec"] = spec
    if status is not None:
        found["status"] = status
    return found


def test_plain_objects_go_at_once() -> None:
    assert mark(CONFIGMAP, obj("ConfigMap"), DeleteOptions(), NOW) is None


@pytest.mark.parametrize(
    ("spec", "status", "grace", "wanted"),
    [
        ({"nodeName": "n", "terminationGracePeriodSeconds": 7}, None, None, 7),
        ({"nodeName": "n"}, None, None, 30),
        ({"nodeName": "n"}, None, 3, 3),
        ({"nodeName": "n"}, None, -5, 1),
        ({"nodeName": "n"}, None, 0, None),
        ({}, None, None, None),
        ({"nodeName": "n"}, {"phase": "Succeeded"}, None, None),
        ({"nodeName": "n"}, {"phase": "Failed"}, 9, None),
    ],
)
def test_grace_of_pods(spec: Object, status: Object | None, grace: int | None, wanted: int | None) -> None:
    marked = mark(POD, obj("Pod", spec, status, generation=1), DeleteOptions(grace), NOW)
    if wanted is None:
        assert marked is None
        return
    assert marked is not None
    meta = marked["metadata"]
    assert meta["deletionGracePeriodSeconds"] == wanted
    assert meta["deletionTimestamp"] == timestamp(NOW + wanted)
    assert meta["generation"] == 2


def test_a_grace_period_only_shrinks() -> None:
    pod = mark(POD, obj("Pod", {"nodeName": "n"}), DeleteOptions(20), NOW)
    assert pod is not None
    longer = mark(POD, pod, DeleteOptions(60), NOW + 5)
    assert longer is not None and longer["metadata"]["deletionGracePeriodSeconds"] == 20
    shorter = mark(POD, pod, DeleteOptions(10), NOW + 5)
    assert shorter is not None and shorter["metadata"]["deletionTimestamp"] == timestamp(NOW + 10)
    assert mark(POD, pod, DeleteOptions(0), NOW + 5) is None


def test_finalizers_hold() -> None:
    held = mark(CONFIGMAP, obj("ConfigMap", finalizers=["a/b"]), DeleteOptions(), NOW)
    assert held is not None and held["metadata"]["deletionTimestamp"] == timestamp(NOW)
    pod = mark(POD, obj("Pod", {"nodeName": "n"}, finalizers=["a/b"]), DeleteOptions(0), NOW)
    assert pod is not None and pod["metadata"]["deletionGracePeriodSeconds"] == 0


@pytest.mark.parametrize(
    ("before", "policy", "after"),
    [
        ([], "Orphan", ["orphan"]),
        ([], "Foreground", ["foregroundDeletion"]),
        (["orphan"], "Foreground", ["foregroundDeletion"]),
        (["foregroundDeletion", "a/b"], "Background", ["a/b"]),
        (["orphan"], "", ["orphan"]),
        (["a/b"], "", ["a/b"]),
    ],
)
def test_propagation(before: list[str], policy: str, after: list[str]) -> None:
    held = mark(CONFIGMAP, obj("ConfigMap", finalizers=before), DeleteOptions(propagation=policy), NOW)
    assert held is not None and held["metadata"]["finalizers"] == after


def test_jobs_keep_their_pods_by_default() -> None:
    held = mark(kind("batch", "Job"), obj("Job"), DeleteOptions(), NOW)
    assert held is not None and held["metadata"]["finalizers"] == ["orphan"]
    assert mark(kind("batch", "Job"), obj("Job"), DeleteOptions(propagation="Background"), NOW) is None


def test_namespaces_terminate() -> None:
    held = mark(kind("", "Namespace"), obj("Namespace", {"finalizers": ["kubernetes"]}), DeleteOptions(), NOW)
    assert held is not None and held["status"]["phase"] == "Terminating"
    assert mark(kind("", "Namespace"), {**held, "spec": {}}, DeleteOptions(), NOW) is None


def test_definitions_wait_for_their_instances() -> None:
    definition = kind("apiextensions.k8s.io", "CustomResourceDefinition")
    held = mark(definition, obj("CustomResourceDefinition"), DeleteOptions(), NOW)
    assert held is not None and held["metadata"]["finalizers"] == [CLEANUP_FINALIZER]


def test_options() -> None:
    body = {"gracePeriodSeconds": 5, "propagationPolicy": "Foreground", "preconditions": {"uid": "u"}}
    assert parse_options(body, {"gracePeriodSeconds": "9"}) == DeleteOptions(5, "Foreground", "u")
    assert parse_options({}, {"gracePeriodSeconds": "9", "orphanDependents": "true"}) == DeleteOptions(9, "Orphan")
    with pytest.raises(StatusError):
        parse_options({"orphanDependents": True, "propagationPolicy": "Orphan"}, {})


def test_preconditions() -> None:
    check_preconditions(POD, obj("Pod"), DeleteOptions(uid="u", resource_version="5"))
    for options in (DeleteOptions(uid="v"), DeleteOptions(resource_version="4")):
        with pytest.raises(StatusError) as refused:
            check_preconditions(POD, obj("Pod"), options)
        assert refused.value.reason == "Conflict"
