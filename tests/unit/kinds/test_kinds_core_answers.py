"""What kube-apiserver 1.36 says of core, batch, autoscaling and policy objects: tables of requests and answers."""

# ruff: noqa: E501 (the rows of tables are one line each)

from __future__ import annotations

import base64
import copy
from typing import Any

import pytest

from kumo.api.builtin import RESOURCE_TYPES
from kumo.api.resources import GVK
from kumo.api.schema import builtin_schema
from kumo.kubernetes.apiserver.kinds import strategy_for
from kumo.kubernetes.apiserver.kinds.autoscaler_conversion import autoscaler_to_v1, autoscaler_to_v2
from kumo.kubernetes.apiserver.kinds.tls_pairs import tls_complaint
from kumo.kubernetes.apiserver.preconditions import shown_key

pytestmark = pytest.mark.unit

KINDS = {t.kind: t.gvk for t in reversed(RESOURCE_TYPES)} | {
    "Event": GVK("", "v1", "Event"),
    "NewEvent": GVK("events.k8s.io", "v1", "Event"),
}
NAME_PART = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
STANDARD = "must be a standard resource type or fully qualified"
POD = {"containers": [{"name": "a", "image": "i"}]}
LABELS = {"a": "b"}
JOB = {"template": {"spec": {"restartPolicy": "Never", **POD}}}
SOURCE = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}
SUBJECT = {"kind": "Pod", "name": "p", "namespace": "n"}
MOMENT = "2020-01-01T00:00:00.000000Z"
NEW_EVENT = {
    "eventTime": MOMENT,
    "regarding": SUBJECT,
    "reportingController": "a.b/c",
    "reportingInstance": "i",
    "action": "Do",
    "reason": "R",
    "type": "Normal",
}


def decoded(kind: str, body: dict[str, Any], name: str = "x") -> dict[str, Any]:
    gvk = KINDS[kind]
    meta = {"name": name, **({"namespace": "n"} if strategy_for(gvk).namespaced else {}), **body.pop("metadata", {})}
    return (
        builtin_schema(gvk)
        .decode({"apiVersion": gvk.api_version, "kind": gvk.kind, "metadata": meta, **copy.deepcopy(body)})
        .object
    )


def made(kind: str, **body: Any) -> dict[str, Any]:
    """A new object, as it is judged."""
    obj, strategy = decoded(kind, body), strategy_for(KINDS[kind])
    strategy.default(obj)
    strategy.prepare_create(obj)
    return obj


def told(kind: str, **body: Any) -> list[str]:
    """What the creation of it is refused with."""
    causes = strategy_for(KINDS[kind]).validate_create(made(kind, **body))
    return [f"{c.field}: {c.message}" for c in causes]


def changed(kind: str, old: dict[str, Any], new: dict[str, Any], below: str = "") -> list[str]:
    """What an update is refused with; each once."""
    strategy, before, after = strategy_for(KINDS[kind]), made(kind, **old), decoded(kind, {**new})
    if kind == "Job":
        after["metadata"]["uid"] = before["metadata"]["uid"]
    if "status" in old:
        before["status"] = old["status"]
    strategy.default(after)
    strategy.prepare_update(after, before, below)
    return list(dict.fromkeys(f"{c.field}: {c.message}" for c in strategy.validate_update(after, before, below)))


def limits(**item: Any) -> dict[str, Any]:
    return {"spec": {"limits": [{"type": "Container", **item}]}}


def quota(**spec: Any) -> dict[str, Any]:
    return {"spec": spec}


def selector(**item: Any) -> dict[str, Any]:
    return {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["x"], **item}]}


def volume(**spec: Any) -> dict[str, Any]:
    return {"spec": {k: v for k, v in {**SOURCE, **spec}.items() if v is not None}}


CREATED: list[tuple[str, dict[str, Any], list[str]]] = [
    (
        "LimitRange",
        limits(type="Bogus"),
        ['spec.limits[0].type: Invalid value: "Bogus": must be a standard limit type or fully qualified'],
    ),
    (
        "LimitRange",
        limits(min={"cpu": "2"}, max={"cpu": "1"}),
        [
            'spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1',
            'spec.limits[0].default[cpu]: Invalid value: "2": min value 2 is greater than default value 1',
            'spec.limits[0].defaultRequest[cpu]: Invalid value: "1": min value 2 is greater than default request value 1',
        ],
    ),
    (
        "LimitRange",
        limits(min={"cpu": "1"}, max={"cpu": "2"}, maxLimitRequestRatio={"cpu": "20"}),
        ['spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "20": ratio 20 is greater than max/min = 2.000000'],
    ),
    (
        "LimitRange",
        limits(maxLimitRequestRatio={"cpu": "0"}),
        ['spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "0": ratio 0 is less than 1'],
    ),
    (
        "LimitRange",
        limits(max={"ok": "1"}, type="Pod"),
        [
            f'spec.limits[0].max[ok]: Invalid value: "ok": {STANDARD}',
            'spec.limits[0].max[ok]: Invalid value: "ok": must be a standard resource for containers',
        ],
    ),
    (
        "LimitRange",
        limits(type="Pod", default={"cpu": "1"}),
        ["spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'"],
    ),
    (
        "LimitRange",
        limits(type="PersistentVolumeClaim"),
        [
            "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided"
        ],
    ),
    (
        "ResourceQuota",
        quota(hard={"ok": "1"}),
        [
            f'spec.hard[ok]: Invalid value: "ok": {STANDARD}',
            'spec.hard[ok]: Invalid value: "ok": must be a standard resource for quota',
        ],
    ),
    ("ResourceQuota", quota(hard={"pods": "1.5"}), ['spec.hard[pods]: Invalid value: "1500m": must be an integer']),
    (
        "ResourceQuota",
        quota(hard={"cpu": "1"}, scopes=["BestEffort"]),
        ['spec.scopes: Invalid value: ["BestEffort"]: unsupported scope applied to resource'],
    ),
    (
        "ResourceQuota",
        quota(scopes=["BestEffort", "NotBestEffort"]),
        ['spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes'],
    ),
    ("ResourceQuota", quota(scopes=["Bogus"]), ['spec.scopes: Invalid value: ["Bogus"]: unsupported scope']),
    (
        "ResourceQuota",
        quota(scopeSelector=selector(values=[])),
        [
            "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
        ],
    ),
    (
        "ResourceQuota",
        quota(scopeSelector=selector(operator="Is")),
        ['spec.scopeSelector.matchExpressions.operator: Invalid value: "Is": not a valid selector operator'],
    ),
    (
        "Node",
        {"spec": {"taints": [{"key": "k", "effect": "No"}]}},
        [
            'metadata.taints[0].effect: Unsupported value: "No": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"'
        ],
    ),
    (
        "Node",
        {"spec": {"taints": [{"key": "k", "effect": "NoExecute"}] * 2}},
        [
            'metadata.taints[1]: Duplicate value: {"Key":"k","Value":"","Effect":"NoExecute","TimeAdded":null}: taints must be unique by key and effect pair'
        ],
    ),
    (
        "Node",
        {"spec": {"podCIDRs": ["10.0.0.0/24", "10.1.0.0/24"]}},
        [
            'spec.podCIDRs: Invalid value: ["10.0.0.0/24","10.1.0.0/24"]: may specify no more than one CIDR for each IP family'
        ],
    ),
    (
        "Node",
        {"status": {"capacity": {"cpu": "-1"}}},
        [
            'status.capacity.cpu: Invalid value: "-1": must be greater than or equal to 0',
            'status.allocatable.cpu: Invalid value: "-1": must be greater than or equal to 0',
        ],
    ),
    ("Event", {"involvedObject": {}}, ['involvedObject.namespace: Invalid value: "": does not match event.namespace']),
    (
        "Event",
        {"involvedObject": SUBJECT, "eventTime": MOMENT},
        [
            "reportingComponent: Required value",
            'reportingComponent: Invalid value: "": name part must be non-empty',
            f'reportingComponent: Invalid value: "": {NAME_PART}',
            "reportingInstance: Required value",
            "action: Required value",
            "reason: Required value",
        ],
    ),
    ("NewEvent", NEW_EVENT, []),
    ("NewEvent", {**NEW_EVENT, "type": "Odd"}, ['type: Invalid value: "": has invalid value: Odd']),
    ("NewEvent", {**NEW_EVENT, "deprecatedCount": 1}, ['count: Invalid value: "": needs to be unset']),
    (
        "NewEvent",
        {**NEW_EVENT, "series": {"count": 1}},
        ['series.count: Invalid value: "": should be at least 2', "series.lastObservedTime: Required value"],
    ),
    ("PersistentVolume", volume(hostPath=None), ["spec: Required value: must specify a volume type"]),
    (
        "PersistentVolume",
        volume(capacity={}),
        ["spec.capacity: Required value", 'spec.capacity: Unsupported value: null: supported values: "storage"'],
    ),
    (
        "PersistentVolume",
        volume(nfs={"server": "s", "path": "/"}),
        ["spec.nfs: Forbidden: may not specify more than 1 volume type"],
    ),
    (
        "PersistentVolume",
        volume(hostPath=None, nfs={"server": "s", "path": "x"}),
        ['spec.nfs.path: Invalid value: "x": must be an absolute path'],
    ),
    (
        "PersistentVolume",
        volume(hostPath=None, local={"path": "/x"}),
        ["spec.nodeAffinity: Required value: Local volume requires node affinity"],
    ),
    (
        "PersistentVolume",
        volume(hostPath=None, csi={"driver": "d", "volumeHandle": ""}),
        ["spec.csi.volumeHandle: Required value"],
    ),
    (
        "PersistentVolume",
        volume(hostPath={"path": "/"}, persistentVolumeReclaimPolicy="Recycle"),
        ["spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"],
    ),
    (
        "PersistentVolume",
        volume(volumeAttributesClassName="x"),
        ["spec.csi: Required value: has to be specified when using volumeAttributesClassName"],
    ),
    (
        "Namespace",
        {"spec": {"finalizers": ["bad"]}},
        ['spec.finalizers: Invalid value: "bad": name is neither a standard finalizer name nor is it fully qualified'],
    ),
    (
        "Secret",
        {"type": "kubernetes.io/ssh-auth", "data": {"ssh-privatekey": ""}},
        ["data[ssh-privatekey]: Required value"],
    ),
    (
        "Secret",
        {"type": "kubernetes.io/dockercfg", "data": {".dockercfg": base64.b64encode(b"[]").decode()}},
        [
            'data[.dockercfg]: Invalid value: "<secret contents redacted>": json: cannot unmarshal array into Go value of type map[string]interface {}'
        ],
    ),
    (
        "ConfigMap",
        {"metadata": {"generation": -7}},
        ["metadata.generation: Invalid value: -7: must be greater than or equal to 0"],
    ),
]


@pytest.mark.parametrize(("kind", "body", "answer"), CREATED, ids=[f"{i}-{k}" for i, (k, _, _) in enumerate(CREATED)])
def test_creations_are_refused_in_upstreams_words(kind: str, body: dict[str, Any], answer: list[str]) -> None:
    assert sorted(told(kind, **copy.deepcopy(body))) == sorted(answer)


UPDATED: list[tuple[str, str, dict[str, Any], dict[str, Any], list[str]]] = [
    (
        "ResourceQuota",
        "",
        quota(scopes=["BestEffort"]),
        quota(scopes=["Terminating"]),
        ['spec.scopes: Invalid value: ["Terminating"]: field is immutable'],
    ),
    (
        "ResourceQuota",
        "status",
        quota(),
        {"status": {"used": {"cpu": "-1"}}},
        ['status.used[cpu]: Invalid value: "-1": must be greater than or equal to 0'],
    ),
    (
        "Node",
        "",
        {"spec": {"podCIDR": "10.0.0.0/24"}},
        {"spec": {"podCIDR": "10.1.0.0/24"}},
        ['spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid'],
    ),
    (
        "Node",
        "",
        {"spec": {"providerID": "a"}},
        {"spec": {"providerID": "b"}},
        ['spec.providerID: Forbidden: node updates may not change providerID except from "" to valid'],
    ),
    (
        "Node",
        "status",
        {},
        {"status": {"addresses": [{"type": "InternalIP", "address": "1.2.3.4"}] * 2}},
        ['status.addresses[1]: Duplicate value: {"Type":"InternalIP","Address":"1.2.3.4"}'],
    ),
    (
        "Namespace",
        "status",
        {},
        {"status": {"phase": "Terminating"}},
        ["status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"],
    ),
    (
        "NewEvent",
        "",
        NEW_EVENT,
        {**NEW_EVENT, "regarding": {**SUBJECT, "name": "q"}},
        [
            'involvedObject: Invalid value: {"Kind":"Pod","Namespace":"n","Name":"q","UID":"","APIVersion":"","ResourceVersion":"","FieldPath":""}: field is immutable'
        ],
    ),
    (
        "PersistentVolume",
        "",
        volume(),
        volume(hostPath={"path": "/y"}),
        [
            "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation\n@@ -2,7 +2,7 @@\n"
            '  "GCEPersistentDisk": null,\n  "AWSElasticBlockStore": null,\n  "HostPath": {\n-  "Path": "/x",\n+  "Path": "/y",\n'
            '   "Type": ""\n  },\n  "Glusterfs": null,\n'
        ],
    ),
    (
        "PersistentVolumeClaim",
        "status",
        {"spec": {}},
        {"status": {"capacity": {"storage": "-1"}}},
        ["status.capacity[storage]: Invalid value: -1: must be a valid resource quantity"],
    ),
    (
        "PodDisruptionBudget",
        "status",
        {"spec": {}},
        {"status": {"currentHealthy": -1}},
        ["status.currentHealthy: Invalid value: -1: must be greater than or equal to 0"],
    ),
    (
        "ReplicaSet",
        "status",
        {"spec": {"selector": {"matchLabels": LABELS}}},
        {"status": {"replicas": 1, "readyReplicas": -1}},
        [
            "status.readyReplicas: Invalid value: -1: must be greater than or equal to 0",
            "status.availableReplicas: Invalid value: 0: cannot be greater than readyReplicas",
        ],
    ),
    (
        "ConfigMap",
        "",
        {"data": {"a": "b"}, "immutable": True},
        {"data": {"a": "c"}, "immutable": True},
        ["data: Forbidden: field is immutable when `immutable` is set"],
    ),
    (
        "ConfigMap",
        "",
        {},
        {"metadata": {"deletionTimestamp": "2020-01-01T00:00:00Z"}},
        ['metadata.deletionTimestamp: Invalid value: "2020-01-01T00:00:00Z": field is immutable'],
    ),
    (
        "Pod",
        "status",
        {"spec": POD},
        {"status": {"podIP": "bad"}},
        ['status.podIPs[0]: Invalid value: "bad": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'],
    ),
]


@pytest.mark.parametrize(
    ("kind", "below", "old", "new", "answer"), UPDATED, ids=[f"{i}-{row[0]}" for i, row in enumerate(UPDATED)]
)
def test_updates_are_refused_in_upstreams_words(
    kind: str, below: str, old: dict[str, Any], new: dict[str, Any], answer: list[str]
) -> None:
    found = changed(kind, copy.deepcopy(old), copy.deepcopy(new), below)
    wrong = [text for text in found if not text.startswith(("status.qosClass", "status.phase"))]
    assert sorted(wrong) == sorted(answer)


def test_a_suspended_job_may_change_what_its_pods_ask_for_and_nothing_else_of_them() -> None:
    job = made("Job", spec={**JOB, "suspend": True})
    for image, resources, path in (("i", {"limits": {"cpu": "1"}}, ""), ("j", {}, "spec.template.spec")):
        fresh = copy.deepcopy(job)
        fresh["spec"]["template"]["spec"]["containers"][0] |= {"image": image, "resources": resources}
        found = strategy_for(KINDS["Job"]).validate_update(fresh, job)
        assert [c.field for c in found] == ([path] if path else [])
    running = copy.deepcopy(job)
    running["spec"]["suspend"] = False
    changed = copy.deepcopy(running)
    changed["spec"]["template"]["metadata"]["annotations"] = {"b": "c", "a": "d"}
    found = strategy_for(KINDS["Job"]).validate_update(changed, running)
    assert [c.field for c in found] == ["spec.template"]
    assert '"annotations":{"a":"d","b":"c"},"Spec":{"Volumes":null,' in found[0].message


NULLS = [
    ("Event", {}, {"eventTime": None, "firstTimestamp": None, "lastTimestamp": None}),
    ("LimitRange", {"spec": {"limits": []}}, {"spec": {"limits": None}}),
    ("Node", {"status": {"images": [{}]}}, {"status": {"images": [{"names": None}]}}),
    ("ConfigMap", {"data": {}}, {}),
    ("HorizontalPodAutoscaler", {"status": {}}, {"status": {"currentMetrics": None, "desiredReplicas": 0}}),
]


@pytest.mark.parametrize(("kind", "body", "shown"), NULLS, ids=[k for k, _, _ in NULLS])
def test_null_is_shown_where_go_shows_it(kind: str, body: dict[str, Any], shown: dict[str, Any]) -> None:
    found = decoded("HorizontalPodAutoscaler" if kind.startswith("H") else kind, dict(body))
    left = {k: v for k, v in found.items() if k in (*shown, *body)}
    for key, value in shown.items():
        if isinstance(value, dict):
            left[key] = {k: v for k, v in left[key].items() if k in value or not value}
    assert left == shown


def test_microseconds_are_demanded() -> None:
    text = "2020-01-01T00:00:00Z"
    with pytest.raises(ValueError, match=r"cannot parse \"Z\" as \"\.000000\""):
        decoded("Lease", {"spec": {"renewTime": text}})
    assert decoded("Lease", {"spec": {"renewTime": MOMENT}})["spec"]["renewTime"] == MOMENT


def test_autoscalers_lose_nothing_between_versions() -> None:
    policy = {"type": "Pods", "value": 4, "periodSeconds": 15}
    rules = {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [policy], "tolerance": "100m"}
    metric = {"name": "m", "selector": {"matchLabels": LABELS}}
    obj: dict[str, Any] = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h"},
        "spec": {
            "maxReplicas": 3,
            "behavior": {"scaleUp": rules},
            "metrics": [
                {"type": "Pods", "pods": {"metric": metric, "target": {"type": "AverageValue", "averageValue": "1"}}},
                {"type": "External", "external": {"metric": metric, "target": {"type": "Value", "value": "2"}}},
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
                },
            ],
        },
        "status": {
            "desiredReplicas": 1,
            "currentMetrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "current": {"averageUtilization": 5, "averageValue": "10m"}},
                }
            ],
            "conditions": [{"type": "AbleToScale", "status": "True", "lastTransitionTime": None, "message": "a<b"}],
        },
    }
    first = autoscaler_to_v1(obj)
    notes = {k.rpartition("/")[2]: v for k, v in first["metadata"]["annotations"].items()}
    assert first["spec"] == {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50}
    assert first["status"] == {"currentReplicas": 0, "desiredReplicas": 1, "currentCPUUtilizationPercentage": 5}
    assert notes["current-metrics"] == (
        '[{"type":"Resource","resource":{"name":"cpu","currentAverageUtilization":5,"currentAverageValue":"10m"}}]'
    )
    assert notes["metrics"].startswith(
        '[{"type":"Pods","pods":{"metricName":"m","targetAverageValue":"1","selector":{"matchLabels":{"a":"b"}}}},'
    )
    assert notes["behavior"] == (
        '{"ScaleUp":{"StabilizationWindowSeconds":0,"SelectPolicy":"Max","Policies":[{"Type":"Pods","Value":4,'
        '"PeriodSeconds":15}],"Tolerance":"100m"},"ScaleDown":null}'
    )
    assert "a\\u003cb" in notes["conditions"]
    assert autoscaler_to_v2(first) == obj


def test_key_pairs_that_do_not_fit_are_told_of() -> None:
    def pem(kind: str) -> bytes:
        return f"-----BEGIN {kind}-----\nYQ==\n-----END {kind}-----\n".encode()

    certificate, key = pem("CERTIFICATE"), pem("RSA PRIVATE KEY")
    assert tls_complaint(b"", b"") == "tls: failed to find any PEM data in certificate input"
    assert tls_complaint(certificate, b"x") == "tls: failed to find any PEM data in key input"
    assert tls_complaint(key, certificate).endswith("but did find a private key; PEM inputs may have been switched")
    assert tls_complaint(certificate, certificate).startswith("tls: found a certificate rather than a key")
    assert tls_complaint(certificate, key) == "x509: malformed certificate"


ENDED = {
    "startTime": "2020-01-01T00:00:00Z",
    "completionTime": "2020-01-01T00:00:01Z",
    "conditions": [{"type": kind, "status": "True"} for kind in ("SuccessCriteriaMet", "Complete")],
}
TURNS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    ({"active": 1}, ["status.active: Invalid value: 1: active>0 is invalid for finished job"]),
    ({"terminating": 1}, ["status.terminating: Invalid value: 1: terminating>0 is invalid for finished job"]),
    ({"uncountedTerminatedPods": {"failed": ["a"]}}, ['status.uncountedTerminatedPods: Invalid value: {"Succeeded":null,"Failed":["a"]}: must be empty for finished job']),
    ({"startTime": None}, [
        "status.startTime: Required value: startTime is required for finished job",
        "status.startTime: Invalid value: null: field is immutable for unsuspended job once set",
    ]),
    ({"conditions": ENDED["conditions"][1:]}, [
        "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
        "status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("fresh", "answer"), TURNS, ids=[next(iter(f), "same") for f, _ in TURNS])
def test_a_finished_job_stays_what_it_is(fresh: dict[str, Any], answer: list[str]) -> None:
    status = {k: v for k, v in {**ENDED, **fresh}.items() if v is not None}
    assert changed("Job", {"spec": JOB, "status": ENDED}, {"spec": JOB, "status": status}, "status") == answer


def test_messages_name_the_keys_of_upstreams_etcd() -> None:
    types = {t.kind: t for t in RESOURCE_TYPES}
    keys = {kind: shown_key(types[kind], "n", "x") for kind in ("ReplicationController", "Service", "Deployment")}
    assert keys == {
        "ReplicationController": "/registry/controllers/n/x",
        "Service": "/registry/services/specs/n/x",
        "Deployment": "/registry/deployments/n/x",
    }
    assert shown_key(types["Node"], "", "x") == "/registry/minions/x"
    assert shown_key(types["CustomResourceDefinition"], "", "x").startswith("/registry/apiextensions.k8s.io/custom")
