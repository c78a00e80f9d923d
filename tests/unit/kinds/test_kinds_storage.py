"""The kinds of storage.k8s.io, node.k8s.io, scheduling.k8s.io and rbac: good objects, and one wrong field each."""

from __future__ import annotations

from typing import Any

import pytest

from support.judging import GONE, judge_of, made, put, refused, updated

pytestmark = pytest.mark.unit


def _object(api: str, kind: str, **body: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": "x"}, **body}


STORAGE, RBAC = "storage.k8s.io/v1", "rbac.authorization.k8s.io/v1"
CLASS = _object(
    STORAGE,
    "StorageClass",
    provisioner="a.io/b",
    parameters={"k": "v"},
    volumeBindingMode="WaitForFirstConsumer",
    allowedTopologies=[{"matchLabelExpressions": [{"key": "zone", "values": ["a", "b"]}]}],
)
ATTRIBUTES = _object(STORAGE, "VolumeAttributesClass", driverName="a.io", parameters={"k": "v"})
ATTACHMENT = _object(
    STORAGE,
    "VolumeAttachment",
    spec={"attacher": "a.io", "nodeName": "n", "source": {"persistentVolumeName": "pv"}},
)
DRIVER = _object(STORAGE, "CSIDriver", spec={"tokenRequests": [{"audience": "a", "expirationSeconds": 3600}]})
NODE = _object(
    STORAGE,
    "CSINode",
    spec={"drivers": [{"name": "a.io", "nodeID": "i", "topologyKeys": ["a.io/z"], "allocatable": {"count": 5}}]},
)
CAPACITY = _object(
    STORAGE,
    "CSIStorageCapacity",
    storageClassName="c",
    nodeTopology={"matchLabels": {"a": "b"}},
    capacity="10Gi",
    maximumVolumeSize="1Gi",
)
RUNTIME = _object(
    "node.k8s.io/v1",
    "RuntimeClass",
    handler="h",
    overhead={"podFixed": {"cpu": "100m"}},
    scheduling={"nodeSelector": {"a": "b"}, "tolerations": [{"key": "k", "operator": "Exists"}]},
)
PRIORITY = _object("scheduling.k8s.io/v1", "PriorityClass", value=1000)
ROLE = _object(RBAC, "ClusterRole", rules=[{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}])
BINDING = _object(
    RBAC,
    "RoleBinding",
    roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
    subjects=[{"kind": "ServiceAccount", "name": "s", "namespace": "n"}],
)
GOOD = [CLASS, ATTRIBUTES, ATTACHMENT, DRIVER, NODE, CAPACITY, RUNTIME, PRIORITY, ROLE, BINDING]


@pytest.mark.parametrize("obj", GOOD)
def test_good_objects_are_taken(obj: dict[str, Any]) -> None:
    assert refused(obj, "metadata.labels", {"a": "b"}) == []
    assert updated(obj, "metadata.labels", {"a": "b"})[1] == []


@pytest.mark.parametrize(
    ("obj", "path", "value", "wrong"),
    [
        (CLASS, "provisioner", "", "provisioner: Required value"),
        (CLASS, "provisioner", "A_/", "provisioner: Invalid value"),
        (CLASS, "parameters", {"": "v"}, "parameters: Invalid value"),
        (CLASS, "reclaimPolicy", "Recycled", 'reclaimPolicy: Unsupported value: "Recycled"'),
        (CLASS, "volumeBindingMode", "Later", 'volumeBindingMode: Unsupported value: "Later"'),
        (CLASS, "allowedTopologies.0.matchLabelExpressions.0.values", [], "values: Required value"),
        (CLASS, "allowedTopologies.0.matchLabelExpressions.0.values", ["a", "a"], "values[1]: Duplicate value"),
        (CLASS, "allowedTopologies.0.matchLabelExpressions.0.key", "_", "key: Invalid value"),
        (ATTRIBUTES, "driverName", "", "driverName: Required value"),
        (ATTRIBUTES, "parameters", {}, "parameters: Required value: must contain at least one key/value pair"),
        (ATTRIBUTES, "parameters", {"": "v"}, "parameters: Invalid value"),
        (ATTACHMENT, "spec.attacher", "", "spec.attacher: Required value"),
        (ATTACHMENT, "spec.nodeName", "A_", "spec.nodeName: Invalid value"),
        (ATTACHMENT, "spec.source", {}, "spec.source: Required value: must specify exactly one of inlineVolumeSpec"),
        (ATTACHMENT, "spec.source.persistentVolumeName", "A_", "persistentVolumeName: Invalid value"),
        (DRIVER, "metadata.name", "A_", "metadata.name: Invalid value"),
        (DRIVER, "spec.volumeLifecycleModes", ["Both"], 'spec.volumeLifecycleModes: Unsupported value: "Both"'),
        (DRIVER, "spec.fsGroupPolicy", "All", 'spec.fsGroupPolicy: Unsupported value: "All"'),
        (DRIVER, "spec.tokenRequests.0.expirationSeconds", 599, "may not specify a duration less than 10 minutes"),
        (DRIVER, "spec.tokenRequests", [{"audience": "a"}] * 2, "spec.tokenRequests[1].audience: Duplicate value"),
        (DRIVER, "spec.nodeAllocatableUpdatePeriodSeconds", 9, "must be greater than or equal to 10 seconds"),
        (NODE, "spec.drivers.0.name", "", "spec.drivers[0].name: Required value"),
        (NODE, "spec.drivers.0.nodeID", "", "spec.drivers[0].nodeID: Required value"),
        (NODE, "spec.drivers.0.allocatable.count", -1, "spec.drivers[0].allocatable.count: Invalid value: -1"),
        (NODE, "spec.drivers.0.topologyKeys", ["z", "z"], 'spec.drivers[0]: Duplicate value: "z"'),
        (CAPACITY, "storageClassName", "A_", "storageClassName: Invalid value"),
        (CAPACITY, "capacity", "-1", 'capacity: Invalid value: "-1": must be greater than or equal to 0'),
        (CAPACITY, "nodeTopology.matchLabels", {"b": "_"}, "nodeTopology.matchLabels: Invalid value"),
        (CAPACITY, "nodeTopology.matchLabels", {"_": "b"}, "nodeTopology.matchLabels: Invalid value"),
        (RUNTIME, "handler", "A_", "handler: Invalid value"),
        (RUNTIME, "overhead.podFixed.cpu", "-1", "overhead.limits[cpu]: Invalid value"),
        (RUNTIME, "scheduling.nodeSelector", {"_": "b"}, "scheduling.nodeSelector: Invalid value"),
        (RUNTIME, "scheduling.tolerations.0.value", "v", "value must be empty when `operator` is 'Exists'"),
        (PRIORITY, "value", 1000000001, "maximum allowed value of a user defined priority is 1000000000"),
        (PRIORITY, "metadata.name", "system-x", "priority class names with 'system-' prefix are reserved"),
        (PRIORITY, "preemptionPolicy", "Maybe", 'preemptionPolicy: Unsupported value: "Maybe"'),
        (ROLE, "rules.0.verbs", [], "rules[0].verbs: Required value: verbs must contain at least one value"),
        (ROLE, "rules.0.apiGroups", [], "resource rules must supply at least one api group"),
        (ROLE, "rules.0.nonResourceURLs", ["/x"], "rules cannot apply to both regular resources and non-resource URLs"),
        (ROLE, "aggregationRule", {}, "aggregationRule.clusterRoleSelectors: Required value: at least one"),
        (BINDING, "roleRef.kind", "Rule", 'roleRef.kind: Unsupported value: "Rule"'),
        (BINDING, "roleRef.apiGroup", "x.io", 'roleRef.apiGroup: Unsupported value: "x.io"'),
        (BINDING, "roleRef.name", "", "roleRef.name: Required value"),
        (BINDING, "subjects.0.name", "", "subjects[0].name: Required value"),
        (
            put(BINDING, "kind", "ClusterRoleBinding"),
            "subjects.0.namespace",
            GONE,
            "subjects[0].namespace: Required value",
        ),
        (BINDING, "subjects.0.name", "A_", 'subjects[0].name: Invalid value: "A_"'),
        (BINDING, "subjects.0.kind", "Robot", 'subjects[0].kind: Unsupported value: "Robot"'),
    ],
)
def test_one_wrong_field(obj: dict[str, Any], path: str, value: Any, wrong: str) -> None:
    found = refused(obj, path, value)
    assert any(wrong in message for message in found), found


@pytest.mark.parametrize(
    ("obj", "path", "value", "wrong"),
    [
        (CLASS, "parameters", {"k": "w"}, 'parameters: Invalid value: {"k":"w"}: field is immutable'),
        (CLASS, "provisioner", "c.io/d", 'provisioner: Invalid value: "c.io/d": field is immutable'),
        (CLASS, "reclaimPolicy", "Retain", "field is immutable"),
        (CLASS, "volumeBindingMode", "Immediate", "volumeBindingMode: Invalid value"),
        (CLASS, "allowVolumeExpansion", True, ""),
        (ATTRIBUTES, "driverName", "b.io", "driverName: Forbidden: updates to driverName are forbidden."),
        (ATTRIBUTES, "parameters", {"k": "w"}, "parameters: Forbidden: updates to parameters are forbidden."),
        (ATTACHMENT, "spec.nodeName", "m", "field is immutable"),
        (DRIVER, "spec.attachRequired", False, "spec.attachedRequired: Invalid value: false: field is immutable"),
        (DRIVER, "spec.volumeLifecycleModes", ["Ephemeral"], "spec.volumeLifecycleModes: Invalid value"),
        (DRIVER, "spec.requiresRepublish", True, ""),
        (NODE, "spec.drivers.0.nodeID", "j", "field is immutable"),
        (NODE, "spec.drivers", [], ""),
        (CAPACITY, "capacity", "20Gi", ""),
        (CAPACITY, "storageClassName", "d", "storageClassName: Invalid value"),
        (CAPACITY, "nodeTopology", GONE, "field is immutable"),
        (RUNTIME, "handler", "i", "handler: Invalid value"),
        (RUNTIME, "overhead", GONE, ""),
        (PRIORITY, "value", 5, "value: Forbidden: may not be changed in an update."),
        (PRIORITY, "preemptionPolicy", "Never", "field is immutable"),
        (PRIORITY, "globalDefault", True, ""),
        (ROLE, "rules", [], ""),
        (BINDING, "roleRef.name", "q", "cannot change roleRef"),
        (BINDING, "subjects", [], ""),
    ],
)
def test_updates(obj: dict[str, Any], path: str, value: Any, wrong: str) -> None:
    _, found = updated(obj, path, value)
    assert any(wrong in message for message in found) if wrong else found == [], found


@pytest.mark.parametrize(
    ("obj", "path", "value"),
    [
        (CLASS, "reclaimPolicy", "Delete"),
        (DRIVER, "spec.attachRequired", True),
        (DRIVER, "spec.podInfoOnMount", False),
        (DRIVER, "spec.fsGroupPolicy", "ReadWriteOnceWithFSType"),
        (DRIVER, "spec.volumeLifecycleModes", ["Persistent"]),
        (PRIORITY, "preemptionPolicy", "PreemptLowerPriority"),
    ],
)
def test_defaults(obj: dict[str, Any], path: str, value: Any) -> None:
    assert put(made(obj), path, value) == made(obj)


@pytest.mark.parametrize(
    ("status", "wrong"),
    [
        ({"attached": True, "attachmentMetadata": {"k": "v"}}, ""),
        ({"attached": False, "attachError": {"message": "m" * 262145}}, "status.attachError.message: Too long"),
        ({"attached": True, "attachmentMetadata": {"k": "v" * 262144}}, "status.attachmentMetadata: Too long"),
    ],
)
def test_attachment_status(status: dict[str, Any], wrong: str) -> None:
    fresh, found = updated(ATTACHMENT, "status", status, "status")
    assert any(wrong in message for message in found) if wrong else found == [], found
    assert updated(fresh, "spec.nodeName", "m", "status")[0]["spec"] == ATTACHMENT["spec"]


@pytest.mark.parametrize(
    ("kind", "may"),
    [(CLASS, True), (DRIVER, False), (NODE, False), (RUNTIME, False), (PRIORITY, True), (ROLE, True)],
)
def test_updates_that_name_no_version(kind: dict[str, Any], may: bool) -> None:
    assert judge_of(kind).unconditional_update is may
