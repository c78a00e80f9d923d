"""The objects that are there from the start: upstream's mandatory and suggested configuration, as data."""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object
from kumo.api.resources import GVR

GROUP = "flowcontrol.apiserver.k8s.io"
FLOWSCHEMAS = GVR(GROUP, "v1", "flowschemas", False)
LEVELS = GVR(GROUP, "v1", "prioritylevelconfigurations", False)
AUTOUPDATE = "apf.kubernetes.io/autoupdate-spec"
MANDATORY = ("exempt", "catch-all")
"""The names of the flow schemas and of the levels whose specs nobody may change."""

_EVERYBODY = ("Group system:unauthenticated", "Group system:authenticated")
_KCM, _SCHEDULER = "User system:kube-controller-manager", "User system:kube-scheduler"
_KUBE_SYSTEM = "ServiceAccount kube-system/*"


def _subject(text: str) -> dict[str, Any]:
    kind, _, name = text.partition(" ")
    if kind == "ServiceAccount":
        namespace, _, account = name.partition("/")
        return {"kind": kind, "serviceAccount": {"name": account, "namespace": namespace}}
    return {"kind": kind, kind.lower(): {"name": name}}


def _resources(groups: list[str], resources: list[str], verbs: list[str], *, cluster: bool = False) -> dict[str, Any]:
    rule: dict[str, Any] = {"verbs": verbs, "apiGroups": groups, "resources": resources}
    if cluster:
        rule["clusterScope"] = True
    return {**rule, "namespaces": ["*"]}


_ALL_RESOURCES = _resources(["*"], ["*"], ["*"], cluster=True)
_ALL_PATHS = {"verbs": ["*"], "nonResourceURLs": ["*"]}
_EVERYTHING: dict[str, Any] = {"resourceRules": [_ALL_RESOURCES], "nonResourceRules": [_ALL_PATHS]}


def _schema(
    name: str, precedence: int, level: str, method: str, subjects: tuple[str, ...], rules: dict[str, Any] = _EVERYTHING
) -> Object:
    spec: dict[str, Any] = {"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence}
    if method:
        spec["distinguisherMethod"] = {"type": method}
    spec["rules"] = [{"subjects": [_subject(text) for text in subjects], **rules}]
    return _object("FlowSchema", name, spec)


def _level(name: str, shares: int, lendable: int, queues: tuple[int, int] | None) -> Object:
    response: dict[str, Any] = {"type": "Reject"}
    if queues is not None:
        response = {
            "type": "Queue",
            "queuing": {"queues": queues[0], "handSize": queues[1], "queueLengthLimit": 50},
        }
    limited = {"nominalConcurrencyShares": shares, "limitResponse": response, "lendablePercent": lendable}
    return _object("PriorityLevelConfiguration", name, {"type": "Limited", "limited": limited})


def _object(kind: str, name: str, spec: dict[str, Any]) -> Object:
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": kind,
        "metadata": {"name": name, "annotations": {AUTOUPDATE: "true"}},
        "spec": spec,
    }


def default_levels() -> list[Object]:
    """The priority levels, in the order in which they are created; shares, lendable percent, queues and hand size."""
    exempt = {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}
    return [
        _level("system", 30, 33, (64, 6)),
        _level("node-high", 40, 25, (64, 6)),
        _level("leader-election", 10, 0, (16, 4)),
        _level("workload-high", 40, 50, (128, 6)),
        _level("workload-low", 100, 90, (128, 6)),
        _level("global-default", 20, 50, (128, 6)),
        _level("catch-all", 5, 0, None),
        _object("PriorityLevelConfiguration", "exempt", exempt),
    ]


def default_schemas() -> list[Object]:
    """The flow schemas, in the order in which they are created."""
    nodes = ("Group system:nodes",)
    node_objects = [
        _resources([""], ["nodes", "nodes/status"], ["*"], cluster=True),
        _resources(["coordination.k8s.io"], ["leases"], ["*"]),
    ]
    leases = _resources(["coordination.k8s.io"], ["leases"], ["get", "create", "update"])
    probes = {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}
    return [
        _schema("system-nodes", 500, "system", "ByUser", nodes),
        _schema("system-node-high", 400, "node-high", "ByUser", nodes, {"resourceRules": node_objects}),
        _schema(
            "system-leader-election",
            100,
            "leader-election",
            "ByUser",
            (_KCM, _SCHEDULER, _KUBE_SYSTEM),
            {"resourceRules": [leases]},
        ),
        _schema("kube-controller-manager", 800, "workload-high", "ByNamespace", (_KCM,)),
        _schema("kube-scheduler", 800, "workload-high", "ByNamespace", (_SCHEDULER,)),
        _schema("kube-system-service-accounts", 900, "workload-high", "ByNamespace", (_KUBE_SYSTEM,)),
        _schema("service-accounts", 9000, "workload-low", "ByUser", ("Group system:serviceaccounts",)),
        _schema("global-default", 9900, "global-default", "ByUser", _EVERYBODY),
        _schema("probes", 2, "exempt", "", _EVERYBODY, {"nonResourceRules": [probes]}),
        _schema("exempt", 1, "exempt", "", ("Group system:masters",)),
        _schema("catch-all", 10000, "catch-all", "ByUser", _EVERYBODY),
    ]


def mandatory_spec(kind: str, name: str) -> dict[str, Any] | None:
    """The spec that the object of that name must have, or None when anything goes."""
    if name not in MANDATORY:
        return None
    objects = default_schemas() if kind == "FlowSchema" else default_levels()
    found: dict[str, Any] = next(o["spec"] for o in objects if o["metadata"]["name"] == name)
    return found
