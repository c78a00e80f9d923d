"""What a node may read and write: its own pods' things."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.api.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, GVK, LEASES, NODES, PODS
from kumo.api.users import AUTHENTICATED_GROUP, UserInfo
from kumo.kubernetes.apiserver.admission.node_restriction import NodeRestriction
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, RequestInfo
from kumo.kubernetes.apiserver.authorization import Authorizer
from kumo.kubernetes.apiserver.authorization.pod_references import MIRROR, named_by_pod
from kumo.kubernetes.apiserver.bootstrap import default_rbac, node_rules
from support.reader import MemoryReader

pytestmark = pytest.mark.unit

NODE = UserInfo("system:node:n1", ("system:nodes", AUTHENTICATED_GROUP))


def pod(name: str, node: str, **spec: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "ns"}, "spec": {"nodeName": node, **spec}}


RICH = pod(
    "rich",
    "n1",
    imagePullSecrets=[{"name": "pull"}],
    volumes=[
        {"name": "a", "secret": {"secretName": "volume"}},
        {"name": "b", "configMap": {"name": "map"}},
        {"name": "c", "projected": {"sources": [{"secret": {"name": "projected"}}, {"configMap": {"name": "root"}}]}},
        {"name": "d", "persistentVolumeClaim": {"claimName": "claim"}},
        {"name": "e", "ephemeral": {}},
        {"name": "f", "csi": {"driver": "x", "nodePublishSecretRef": {"name": "csi"}}},
    ],
    containers=[
        {"name": "x", "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}}]},
        {"name": "y", "envFrom": [{"configMapRef": {"name": "all"}}, {"secretRef": {"name": "every"}}]},
    ],
    initContainers=[{"name": "i", "env": [{"name": "E", "valueFrom": {"configMapKeyRef": {"name": "init"}}}]}],
)


def test_what_a_pod_names() -> None:
    found = named_by_pod(RICH)

    def names(resource: str) -> set[str]:
        return {name for kind, namespace, name in found if kind == resource and namespace == "ns"}

    assert names("secrets") == {"pull", "volume", "projected", "csi", "env", "every"}
    assert names("configmaps") == {"map", "root", "all", "init"}
    assert names("persistentvolumeclaims") == {"claim", "rich-e"}
    assert not named_by_pod({**RICH, "metadata": {**RICH["metadata"], "annotations": {MIRROR: "x"}}})


def test_a_node_reads_what_its_pods_name_and_nothing_else() -> None:
    reader = MemoryReader()
    for obj in default_rbac():
        if obj["kind"] in ("ClusterRole", "ClusterRoleBinding"):
            reader.put(CLUSTERROLES if obj["kind"] == "ClusterRole" else CLUSTERROLEBINDINGS, obj)
    reader.put(PODS, RICH)
    reader.put(PODS, pod("far", "n2", volumes=[{"name": "a", "secret": {"secretName": "far"}}]))
    authorizer = Authorizer(reader, node_rules())

    def asks(verb: str, resource: str, name: str = "", namespace: str = "ns") -> RequestInfo:
        return RequestInfo(verb, "", "", "v1", namespace, resource, "", name)

    def may(verb: str, resource: str, name: str = "", namespace: str = "ns") -> bool:
        return authorizer.authorize(NODE, asks(verb, resource, name, namespace)).allowed

    assert may("get", "secrets", "volume")
    assert may("watch", "configmaps", "map")
    assert may("get", "persistentvolumeclaims", "claim")
    assert not may("get", "secrets", "far")
    assert not may("get", "secrets", "volume", "other")
    assert not may("list", "secrets")
    assert not may("update", "secrets", "volume")
    assert not may("list", "pods")
    own = RequestInfo("list", "", "", "v1", "", "pods", field_requirements=(("spec.nodeName", "=", "n1"),))
    assert authorizer.authorize(NODE, own).allowed
    assert may("get", "pods", "rich")
    assert not may("get", "pods", "far")
    assert may("get", "nodes", "n1")
    with pytest.raises(StatusError) as refusal:
        authorizer.check(NODE, asks("get", "secrets", "far"))
    assert refusal.value.message == (
        'secrets "far" is forbidden: User "system:node:n1" cannot get resource "secrets" in API group "" '
        "in the namespace \"ns\": no relationship found between node 'n1' and this object"
    )
    reader.drop(PODS, "rich", "ns")
    assert not may("get", "secrets", "volume")


def test_a_node_writes_its_own_things_only() -> None:
    reader = MemoryReader()
    mine, far = pod("mine", "n1"), pod("far", "n2")
    for obj in (mine, far):
        reader.put(PODS, obj)
    restriction = NodeRestriction(reader)

    def refusal(gvr: Any, kind: str, operation: Any, user: UserInfo = NODE, **more: Any) -> str:
        attrs = AdmissionAttributes(
            operation,
            GVK(gvr.group, gvr.version, kind),
            gvr,
            more.pop("namespace", "ns"),
            more.pop("name"),
            user,
            **more,
        )
        try:
            restriction.validate(attrs)
        except StatusError as error:
            assert error.code == 403
            return error.message
        return ""

    assert not refusal(PODS, "Pod", "UPDATE", name="mine", old_object=mine, object=mine, subresource="status")
    assert "can only update pod status" in refusal(
        PODS, "Pod", "UPDATE", name="far", old_object=far, object=far, subresource="status"
    )
    assert "can only delete pods" in refusal(PODS, "Pod", "DELETE", name="far", old_object=far)
    assert "can only create mirror pods" in refusal(PODS, "Pod", "CREATE", name="new", object=pod("new", "n1"))
    assert not refusal(NODES, "Node", "UPDATE", name="n1", object={}, old_object={}, namespace="")
    tainted = {"spec": {"taints": [{"key": "a"}]}}
    assert "not allowed to modify taints" in refusal(
        NODES, "Node", "UPDATE", name="n1", object=tainted, old_object={}, namespace=""
    )
    assert 'not allowed to modify node "n2"' in refusal(NODES, "Node", "UPDATE", name="n2", object={}, namespace="")
    assert not refusal(LEASES, "Lease", "UPDATE", name="n1", object={}, namespace="kube-node-lease")
    assert refusal(LEASES, "Lease", "UPDATE", name="n2", object={}, namespace="kube-node-lease")
    assert refusal(LEASES, "Lease", "UPDATE", name="n1", object={}, namespace="kube-system")
    assert not refusal(PODS, "Pod", "DELETE", UserInfo("jane"), name="far", old_object=far)
    nobody = UserInfo("system:node:", ("system:nodes",))
    assert "could not determine node" in refusal(PODS, "Pod", "DELETE", nobody, name="far")
