"""Strategies of built-in kinds: defaults, what a write may change, and upstream's complaints."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from kumo.api.builtin import RESOURCE_TYPES, is_stored
from kumo.api.resources import GVK, ResourceType
from kumo.api.schema import builtin_schema
from kumo.kubernetes.apiserver.kinds import strategy_for
from kumo.kubernetes.apiserver.kinds.conversion import (
    autoscaler_to_v1,
    autoscaler_to_v2,
    event_from_core,
    event_to_core,
)
from kumo.kubernetes.apiserver.kinds.cron_schedule import check_schedule
from kumo.kubernetes.apiserver.kinds.pod.defaults import pull_policy
from kumo.kubernetes.apiserver.kinds.qos import qos_class

pytestmark = pytest.mark.unit

KINDS = {t.kind: t.gvk for t in reversed(RESOURCE_TYPES) if t.gvk != GVK("events.k8s.io", "v1", "Event")}


def new(kind: str, name: str = "x", **body: Any) -> dict[str, Any]:
    """An object with defaults, as it is before validation of a create."""
    gvk = KINDS[kind]
    strategy = strategy_for(gvk)
    obj = {"apiVersion": gvk.api_version, "kind": kind, "metadata": {"name": name}, **copy.deepcopy(body)}
    if strategy.namespaced:
        obj["metadata"]["namespace"] = "default"
    strategy.default(obj)
    strategy.prepare_create(obj)
    return obj


def complaints(kind: str, name: str = "x", **body: Any) -> list[str]:
    """What a create of it is refused with."""
    return [f"{c.field}: {c.message}" for c in strategy_for(KINDS[kind]).validate_create(new(kind, name, **body))]


def update_complaints(kind: str, old: dict[str, Any], fresh: dict[str, Any]) -> list[str]:
    return [f"{c.field}: {c.message}" for c in strategy_for(KINDS[kind]).validate_update(fresh, old)]


CONTAINER = {"name": "c", "image": "nginx"}
LABELS = {"app": "x"}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": {"containers": [CONTAINER]}}


def pod_complaints(container: dict[str, Any] | None = None, **spec: Any) -> list[str]:
    return complaints("Pod", spec={"containers": [{**CONTAINER, **(container or {})}], **spec})


@pytest.mark.parametrize("kind", [t for t in RESOURCE_TYPES if is_stored(t)], ids=lambda t: t.gvr.group_resource)
def test_every_kind_keeps_to_its_schema(kind: ResourceType) -> None:
    strategy = strategy_for(kind.gvk)
    obj: dict[str, Any] = {"apiVersion": kind.gvk.api_version, "kind": kind.kind, "metadata": {"name": "x"}}
    if kind.namespaced:
        obj["metadata"]["namespace"] = "n"
    obj = builtin_schema(kind.gvk).decode(obj).object
    strategy.default(obj)
    strategy.prepare_create(obj)
    assert builtin_schema(kind.gvk).decode(obj) == (obj, ())
    again = copy.deepcopy(obj)
    strategy.default(again)
    assert again == obj
    assert strategy.has_status == any(s.name == "status" for s in kind.subresources)
    assert set(strategy.validate_update(copy.deepcopy(obj), obj)) <= set(strategy.validate_create(obj))
    assert set(strategy.selectable_fields(obj)) == set(strategy.selectable())


# -- metadata ---------------------------------------------------------------------------------------------------------


def test_names_and_labels() -> None:
    assert complaints("ConfigMap", "") == ["metadata.name: Required value: name or generateName is required"]
    [found] = complaints("ConfigMap", "X_")
    assert found.startswith('metadata.name: Invalid value: "X_": a lowercase RFC 1123 subdomain must consist of')
    assert complaints("ClusterRole", "system:x") == []
    config = new("ConfigMap")
    config["metadata"] |= {"labels": {"a b": "-"}, "finalizers": ["x"], "annotations": {"k": "v" * (256 << 10)}}
    fields = [(c.field, c.reason) for c in strategy_for(KINDS["ConfigMap"]).validate_create(config)]
    assert fields == [
        ("metadata.labels", "FieldValueInvalid"),
        ("metadata.labels", "FieldValueInvalid"),
        ("metadata.annotations", "FieldValueTooLong"),
        ("metadata.finalizers[0]", "FieldValueInvalid"),
    ]


def test_metadata_that_never_changes() -> None:
    old = new("ConfigMap")
    old["metadata"] |= {"uid": "1", "deletionTimestamp": "2026-01-01T00:00:00Z"}
    fresh = copy.deepcopy(old)
    fresh["metadata"] |= {"uid": "2", "finalizers": ["a.io/x"]}
    found = update_complaints("ConfigMap", old, fresh)  # As often as upstream says it; the message has each once.
    assert list(dict.fromkeys(found)) == [
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, "
        'found new finalizers []string{"a.io/x"}',
        'metadata.uid: Invalid value: "2": field is immutable',
    ]


# -- pods -------------------------------------------------------------------------------------------------------------


def test_pod_defaults() -> None:
    limits = {"cpu": "1", "memory": "1Gi"}
    port = {"containerPort": 80}
    probe = {"httpGet": {"port": 80}}
    pod = new(
        "Pod",
        spec={
            "containers": [{**CONTAINER, "resources": {"limits": limits}, "ports": [port], "livenessProbe": probe}],
            "volumes": [{"name": "a"}, {"name": "b", "secret": {"secretName": "s"}}],
            "serviceAccount": "sa",
        },
    )
    assert pod["spec"] == {
        "containers": [
            {
                **CONTAINER,
                "resources": {"limits": limits, "requests": limits},
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "livenessProbe": {
                    "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                    "timeoutSeconds": 1,
                    "periodSeconds": 10,
                    "successThreshold": 1,
                    "failureThreshold": 3,
                },
                "imagePullPolicy": "Always",
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }
        ],
        "volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "secret": {"secretName": "s", "defaultMode": 420}}],
        "serviceAccount": "sa",
        "serviceAccountName": "sa",
        "dnsPolicy": "ClusterFirst",
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "enableServiceLinks": True,
    }
    assert pod["status"] == {"phase": "Pending", "qosClass": "Guaranteed"}
    assert pod["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1", "IfNotPresent"),
        ("host:5000/nginx", "Always"),
        ("host:5000/nginx@sha256:00", "IfNotPresent"),
    ],
)
def test_pull_policy(image: str, policy: str) -> None:
    assert pull_policy(image) == policy


@pytest.mark.parametrize(
    ("resources", "quality"),
    [
        ([{}], "BestEffort"),
        ([{"requests": {"cpu": "1"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}, {}], "Burstable"),
        ([{"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1"}}], "Burstable"),
    ],
)
def test_qos(resources: list[dict[str, Any]], quality: str) -> None:
    assert qos_class({"containers": [{"resources": r} for r in resources]}) == quality


C0 = "spec.containers[0]"


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ({"image": ""}, f"{C0}.image: Required value"),
        ({"image": " x"}, f'{C0}.image: Invalid value: " x": must not have leading or trailing whitespace'),
        (
            {"imagePullPolicy": "Maybe"},
            f'{C0}.imagePullPolicy: Unsupported value: "Maybe": supported values: "Always", "IfNotPresent", "Never"',
        ),
        (
            {"ports": [{"containerPort": 70000}]},
            f"{C0}.ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            {"ports": [{"containerPort": 1, "protocol": "ICMP"}]},
            f'{C0}.ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"',
        ),
        ({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}, f'{C0}.volumeMounts[0].name: Not found: "v"'),
        (
            {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}},
            f'{C0}.resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
        ),
        (
            {"resources": {"requests": {"memory": "-1"}}},
            f'{C0}.resources.requests[memory]: Invalid value: "-1": must be greater than or equal to 0',
        ),
        ({"env": [{"name": ""}]}, f"{C0}.env[0].name: Required value"),
        ({"livenessProbe": {}}, f"{C0}.livenessProbe: Required value: must specify a handler type"),
        (
            {"livenessProbe": {"tcpSocket": {"port": 1}, "successThreshold": 2}},
            f"{C0}.livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ),
    ],
)
def test_container_complaints(container: dict[str, Any], expected: str) -> None:
    assert pod_complaints(container) == [expected]


def test_pod_complaints() -> None:
    assert pod_complaints() == []
    assert complaints("Pod", spec={"containers": []}) == ["spec.containers: Required value"]
    assert complaints("Pod", spec={"containers": [CONTAINER, CONTAINER]}) == [
        'spec.containers[1].name: Duplicate value: "c"'
    ]
    assert pod_complaints(restartPolicy="Perhaps") == [
        'spec.restartPolicy: Unsupported value: "Perhaps": supported values: "Always", "OnFailure", "Never"'
    ]
    assert pod_complaints(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]) == [
        "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"
    ]
    assert pod_complaints(tolerations=[{"operator": "Equal", "value": "x"}]) == [
        'spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, '
        'which means "match all values and all keys"'
    ]
    assert pod_complaints(
        initContainers=[{**CONTAINER, "name": "i", "readinessProbe": {"exec": {"command": ["x"]}}}]
    ) == [
        "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without "
        "restartPolicy=Always"
    ]


def test_what_a_pod_update_may_change() -> None:
    old = new("Pod", spec={"containers": [CONTAINER]})
    fresh = copy.deepcopy(old)
    fresh["spec"]["containers"][0]["image"] = "nginx:2"
    assert update_complaints("Pod", old, fresh) == []
    fresh["spec"]["hostNetwork"] = True
    [found] = update_complaints("Pod", old, fresh)
    assert found.startswith("spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,")
    assert "-\t\tHostNetwork:           true," not in found and "HostNetwork" in found
    fresh["spec"]["containers"].append({**fresh["spec"]["containers"][0], "name": "d"})
    assert "spec.containers: Forbidden: pod updates may not add or remove containers" in (
        update_complaints("Pod", old, fresh)
    )


def test_status_and_spec_are_written_apart() -> None:
    strategy = strategy_for(KINDS["Pod"])
    old = new("Pod", spec={"containers": [CONTAINER]})
    fresh = copy.deepcopy(old)
    fresh["spec"]["activeDeadlineSeconds"] = 5
    fresh["status"] = {"phase": "Running"}
    by_object, by_status = copy.deepcopy(fresh), copy.deepcopy(fresh)
    strategy.prepare_update(by_object, old)
    assert by_object["status"] == old["status"] and by_object["spec"]["activeDeadlineSeconds"] == 5
    strategy.settle(by_object, old)
    assert by_object["metadata"]["generation"] == 2
    strategy.prepare_update(by_status, old, "status")
    assert by_status["spec"] == old["spec"] and by_status["status"] == {"phase": "Running", "qosClass": "BestEffort"}
    assert by_status["metadata"]["generation"] == 1


def test_pod_fields() -> None:
    pod = new("Pod", spec={"containers": [CONTAINER], "nodeName": "n", "hostNetwork": True})
    found = strategy_for(KINDS["Pod"]).selectable_fields(pod)
    assert found["spec.nodeName"] == "n" and found["spec.hostNetwork"] == "true" and found["status.phase"] == "Pending"


# -- workloads --------------------------------------------------------------------------------------------------------


def test_deployment() -> None:
    obj = new("Deployment", spec={"selector": {"matchLabels": LABELS}, "template": TEMPLATE})
    spec = obj["spec"]
    assert (spec["replicas"], spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (1, 10, 600)
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
    assert "enableServiceLinks" not in spec["template"]["spec"]
    other = {"matchLabels": {"app": "y"}}
    assert complaints("Deployment", spec={"selector": other, "template": TEMPLATE}) == [
        'spec.template.metadata.labels: Invalid value: {"app":"x"}: `selector` does not match template `labels`'
    ]
    fresh = copy.deepcopy(obj)
    fresh["spec"]["selector"] = other
    assert update_complaints("Deployment", obj, fresh)[1:] == [
        'spec.selector: Invalid value: {"matchLabels":{"app":"y"}}: field is immutable'
    ]
    assert complaints("Deployment", spec={"template": TEMPLATE}) == [
        "spec.selector: Required value",
        'spec.template.metadata.labels: Invalid value: {"app":"x"}: `selector` does not match template `labels`',
    ]
    never = {**TEMPLATE, "spec": {"containers": [CONTAINER], "restartPolicy": "Never"}}
    assert complaints("Deployment", spec={"selector": {"matchLabels": LABELS}, "template": never}) == [
        'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"'
    ]
    zero = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "0%"}}
    body = {"selector": {"matchLabels": LABELS}, "template": TEMPLATE, "strategy": zero}
    assert complaints("Deployment", spec=body) == [
        "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"
    ]


def test_stateful_set_update() -> None:
    old = new("StatefulSet", spec={"selector": {"matchLabels": LABELS}, "template": TEMPLATE, "serviceName": "a"})
    fresh = copy.deepcopy(old)
    fresh["spec"]["serviceName"] = "b"
    assert update_complaints("StatefulSet", old, fresh) == [
        "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
        "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are "
        "forbidden"
    ]


def test_job() -> None:
    template = {"spec": {"containers": [CONTAINER], "restartPolicy": "Never"}}
    job = new("Job", spec={"template": template})
    uid = job["metadata"]["uid"]
    assert job["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert labels["batch.kubernetes.io/job-name"] == "x" and labels["controller-uid"] == uid
    assert (job["spec"]["completions"], job["spec"]["backoffLimit"], job["spec"]["suspend"]) == (1, 6, False)
    assert complaints("Job", spec={"template": {"spec": {"containers": [CONTAINER]}}}) == [
        'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'
    ]


@pytest.mark.parametrize(
    ("schedule", "wrong"),
    [
        ("*/5 0-12/2 1,15 JAN-mar MON", ""),
        ("@hourly", ""),
        ("@every 5m", ""),
        ("* * *", "expected exactly 5 fields, found 3: [* * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
    ],
)
def test_cron_schedules(schedule: str, wrong: str) -> None:
    assert check_schedule(schedule) == wrong


# -- the rest ---------------------------------------------------------------------------------------------------------


def test_service() -> None:
    service = new("Service", spec={"ports": [{"port": 80}]})
    assert service["spec"] == {
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "sessionAffinity": "None",
        "type": "ClusterIP",
        "internalTrafficPolicy": "Cluster",
    }
    assert service["status"] == {"loadBalancer": {}}
    assert complaints("Service", spec={}) == ["spec.ports: Required value"]
    assert complaints("Service", "1x", spec={"clusterIP": "None"}) == []
    assert complaints("Service", "x.y", spec={"clusterIP": "None"})[0].startswith(
        'metadata.name: Invalid value: "x.y": must not contain dots'
    )
    old = {**service, "spec": {**service["spec"], "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]}}
    fresh = copy.deepcopy(service)
    strategy_for(KINDS["Service"]).prepare_update(fresh, old)
    assert fresh["spec"]["clusterIP"] == "10.0.0.1" and fresh["spec"]["clusterIPs"] == ["10.0.0.1"]
    fresh["spec"] |= {"clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.2"]}
    assert update_complaints("Service", old, fresh) == [
        'spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set'
    ]


def test_secret() -> None:
    secret = new("Secret", data={"a": "eA=="}, stringData={"b": "y"})
    assert secret["data"] == {"a": "eA==", "b": "eQ=="} and secret["type"] == "Opaque" and "stringData" not in secret
    assert complaints("Secret", type="kubernetes.io/tls") == [
        "data[tls.crt]: Required value",
        "data[tls.key]: Required value",
    ]
    frozen = {**secret, "immutable": True}
    assert update_complaints("Secret", frozen, {**frozen, "data": {}}) == [
        "data: Forbidden: field is immutable when `immutable` is set"
    ]
    assert strategy_for(KINDS["Secret"]).selectable_fields(secret)["type"] == "Opaque"


def test_namespace() -> None:
    namespace = new("Namespace")
    assert namespace["metadata"]["labels"] == {"kubernetes.io/metadata.name": "x"}
    assert namespace["spec"] == {"finalizers": ["kubernetes"]} and namespace["status"] == {"phase": "Active"}
    strategy = strategy_for(KINDS["Namespace"])
    fresh = {**copy.deepcopy(namespace), "spec": {}}
    strategy.prepare_update(fresh, namespace)
    assert fresh["spec"] == namespace["spec"]


def test_rbac() -> None:
    binding = {"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}]}
    assert new("RoleBinding", **binding)["subjects"][0]["apiGroup"] == "rbac.authorization.k8s.io"
    assert complaints("RoleBinding", **binding) == []
    assert complaints("ClusterRoleBinding", **binding) == [
        'roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"'
    ]
    assert complaints("Role", rules=[{"resources": ["pods"], "apiGroups": [""]}]) == [
        "rules[0].verbs: Required value: verbs must contain at least one value"
    ]
    old = new("RoleBinding", **binding)
    fresh = {**old, "roleRef": {**old["roleRef"], "name": "z"}}
    assert "cannot change roleRef" in update_complaints("RoleBinding", old, fresh)[0]


def test_custom_resource_definition() -> None:
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    spec = {"group": "x.io", "scope": "Namespaced", "names": {"plural": "ws", "kind": "W"}, "versions": [version]}
    found = new("CustomResourceDefinition", "ws.x.io", spec=spec)
    assert found["spec"]["names"] == {"plural": "ws", "kind": "W", "singular": "w", "listKind": "WList"}
    names = {"plural": "", "kind": ""}
    assert found["status"] == {"conditions": None, "acceptedNames": names, "storedVersions": ["v1"]}
    assert complaints("CustomResourceDefinition", "ws.x.io", spec=spec) == []
    assert complaints("CustomResourceDefinition", "w.x.io", spec=spec) == [
        'metadata.name: Invalid value: "w.x.io": must be spec.names.plural+"."+spec.group'
    ]
    bad = {**version, "storage": False, "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {}}}}}
    found = complaints("CustomResourceDefinition", "ws.x.io", spec={**spec, "versions": [bad]})
    path = "spec.validation.openAPIV3Schema.properties[spec].type"
    assert found[0].endswith("must have exactly one version marked as storage version")
    assert found[1] == f"{path}: Required value: must not be empty for specified object fields"


def test_conversions_round_trip() -> None:
    event = {"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {}, "note": "n", "regarding": {"name": "p"}}
    core = event_to_core(event)
    assert core == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {},
        "message": "n",
        "involvedObject": {"name": "p"},
    }
    assert event_from_core(core) == event
    old = new("HorizontalPodAutoscaler") | {"apiVersion": "autoscaling/v1"}
    old["spec"] = {"maxReplicas": 2, "targetCPUUtilizationPercentage": 50, "scaleTargetRef": {"name": "d"}}
    modern = autoscaler_to_v2(old)
    target = {"type": "Utilization", "averageUtilization": 50}
    assert modern["spec"]["metrics"] == [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    assert autoscaler_to_v1(modern)["spec"] == old["spec"]


def test_autoscaler_is_served_in_two_versions() -> None:
    assert strategy_for(GVK("autoscaling", "v1", "HorizontalPodAutoscaler")).has_status
    body = {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 0}
    assert (
        complaints("HorizontalPodAutoscaler", spec=body)[0]
        == "spec.maxReplicas: Required value: must be set and greater than 0"
    )
