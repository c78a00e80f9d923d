"""Who may write which part of a ResourceClaim's status, and where admin access to devices may be asked for."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.api.resources import GVK, GVR, NAMESPACES
from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.admission.device_rights import DeviceRights
from kumo.kubernetes.apiserver.admission.namespaces import NamespaceTable
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Operation
from kumo.kubernetes.apiserver.authorization import Authorizer
from support.reader import MemoryReader

pytestmark = pytest.mark.unit

GROUP, RBAC = "resource.k8s.io", "rbac.authorization.k8s.io"
DRIVER = "system:serviceaccount:d:driver"
NODE = "authentication.kubernetes.io/node-name"
RIGHTS = {
    "binder": [("update", "binding", [])],
    "patcher": [("patch", "binding", [])],
    "anywhere": [("arbitrary-node:update", "driver", [])],
    "named": [("arbitrary-node:update", "driver", ["a.io"])],
    DRIVER: [("associated-node:update", "driver", [])],
}


def _rights() -> DeviceRights:
    reader = MemoryReader()
    reader.put(NAMESPACES, {"metadata": {"name": "d"}})
    labels = {"resource.kubernetes.io/admin-access": "true"}
    reader.put(NAMESPACES, {"metadata": {"name": "admin", "labels": labels}})
    for user, granted in RIGHTS.items():
        name = user.rpartition(":")[2]
        rules = [
            {"apiGroups": [GROUP], "resources": [f"resourceclaims/{part}"], "verbs": [verb], "resourceNames": only}
            for verb, part, only in granted
        ]
        reader.put(GVR(RBAC, "v1", "clusterroles", namespaced=False), {"metadata": {"name": name}, "rules": rules})
        binding = {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "User", "name": user, "apiGroup": RBAC}],
        }
        reader.put(GVR(RBAC, "v1", "clusterrolebindings", namespaced=False), binding)
    return DeviceRights(NamespaceTable(reader), Authorizer(reader))


def _attributes(
    new: Object, old: Object | None = None, user: str = "", verb: str = "update", namespace: str = "d", node: str = ""
) -> AdmissionAttributes:
    operation: Operation = "CREATE" if old is None else "UPDATE"
    kind, resource = GVK(GROUP, "v1", "ResourceClaim"), GVR(GROUP, "v1", "resourceclaims")
    asking = UserInfo(user, extra={NODE: (node,)} if node else {})
    return AdmissionAttributes(
        operation, kind, resource, namespace, "c", asking, object=new, old_object=old, subresource="status", verb=verb
    )


def _refusal(check: Any, attributes: AdmissionAttributes) -> list[str]:
    try:
        check(attributes)
    except StatusError as error:
        assert (error.code, error.reason) == (422, "Invalid")
        return [f"{c['field']}: {c['message']}" for c in (error.details or {})["causes"]]
    return []


def _allocated(node: str = "n", **more: Any) -> Object:
    result = {"request": "r", "driver": "a.io", "pool": "p", "device": "d"}
    fields = [{"key": "metadata.name", "operator": "In", "values": [node]}]
    selector = {"nodeSelectorTerms": [{"matchFields": fields}]}
    return {"allocation": {"devices": {"results": [result]}, "nodeSelector": selector}, **more}


A = {"driver": "a.io", "pool": "p", "device": "d"}
B = {**A, "driver": "b.io"}
BINDING = (
    "status.allocation: Forbidden: changing status.allocation or status.reservedFor requires "
    'resource="resourceclaims/binding", verb="{0}" permission: resourceclaims.resource.k8s.io is forbidden: '
    'User "{1}" cannot {0} resource "resourceclaims/binding" in API group "resource.k8s.io" at the cluster scope'
)
REPORT = (
    'status.devices: Forbidden: changing status.devices requires resource="resourceclaims/driver", verb="[{0}]" '
    'permission: resourceclaims.resource.k8s.io "{2}" is forbidden: User "{1}" cannot {3} '
    'resource "resourceclaims/driver" in API group "resource.k8s.io" in the namespace "d"'
)
ANY = "arbitrary-node:update"
MINE = "associated-node:update"


@pytest.mark.parametrize(
    ("user", "verb", "old", "new", "wrong"),
    [
        ("nobody", "update", {}, _allocated(), [BINDING.format("update", "nobody")]),
        ("nobody", "patch", _allocated(), {}, [BINDING.format("patch", "nobody")]),
        ("binder", "update", {}, _allocated(), []),
        ("binder", "patch", {}, _allocated(), [BINDING.format("patch", "binder")]),
        ("patcher", "patch", {}, _allocated(), []),
        ("binder", "update", _allocated(), _allocated(reservedFor=[{"name": "p"}]), []),
        ("anywhere", "update", _allocated(), _allocated(reservedFor=[{}]), [BINDING.format("update", "anywhere")]),
        ("nobody", "update", _allocated(), _allocated(reservedFor=[], devices=[]), []),
        ("binder", "update", _allocated(), _allocated(devices=[A]), [REPORT.format(ANY, "binder", "a.io", ANY)]),
        ("anywhere", "update", _allocated(), _allocated(devices=[A, B]), []),
        ("named", "update", _allocated(), _allocated(devices=[A, B]), [REPORT.format(ANY, "named", "b.io", ANY)]),
        ("named", "update", _allocated(devices=[A, B]), _allocated(devices=[B]), []),
        ("nobody", "update", _allocated(devices=[A, B]), _allocated(devices=[B, A]), []),
        ("binder", "update", _allocated(devices=[A]), {}, []),
    ],
)
def test_parts_of_a_status(user: str, verb: str, old: Object, new: Object, wrong: list[str]) -> None:
    attributes = _attributes({"status": new}, {"status": old}, user, verb)
    assert _refusal(_rights().validate_status, attributes) == wrong


@pytest.mark.parametrize(
    ("user", "token", "node", "wrong"),
    [
        (DRIVER, "n", "n", []),
        (DRIVER, "n", "m", [REPORT.format(ANY, DRIVER, "a.io", ANY)]),
        (DRIVER, "", "n", [REPORT.format(ANY, DRIVER, "a.io", ANY)]),
        ("nobody", "n", "n", [REPORT.format(ANY, "nobody", "a.io", ANY)]),
        (
            "system:serviceaccount:d:other",
            "n",
            "n",
            [REPORT.format(f"{MINE} {ANY}", "system:serviceaccount:d:other", "a.io", MINE)],
        ),
    ],
)
def test_drivers_on_their_own_node(user: str, token: str, node: str, wrong: list[str]) -> None:
    status = _allocated(node)
    attributes = _attributes({"status": {**status, "devices": [A]}}, {"status": status}, user, node=token)
    assert _refusal(_rights().validate_status, attributes) == wrong


UNLABELLED = (
    "Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the "
    "containing namespace"
)


@pytest.mark.parametrize(
    ("namespace", "access", "wrong"),
    [
        ("d", True, [f"spec.devices.requests[1].adminAccess: {UNLABELLED}"]),
        ("d", False, []),
        ("admin", True, []),
        ("gone", True, [f"spec.devices.requests[1].adminAccess: {UNLABELLED}"]),
    ],
)
def test_admin_access_is_asked_for_in_labelled_namespaces(namespace: str, access: bool, wrong: list[str]) -> None:
    spec = {"devices": {"requests": [{"name": "a"}, {"name": "b", "exactly": {"adminAccess": access}}]}}
    attributes = _attributes({"spec": spec}, namespace=namespace)
    assert _refusal(_rights().validate_requests, attributes) == wrong
    attributes = _attributes({"spec": {"spec": spec}}, namespace=namespace)
    attributes.gvr = GVR(GROUP, "v1", "resourceclaimtemplates")
    assert _refusal(_rights().validate_requests, attributes) == wrong


@pytest.mark.parametrize(
    ("namespace", "before", "wrong"),
    [
        ("d", False, [f"status.allocation.devices.results[0].adminAccess: {UNLABELLED}"]),
        ("d", True, []),
        ("admin", False, []),
    ],
)
def test_admin_access_is_given_in_labelled_namespaces(namespace: str, before: bool, wrong: list[str]) -> None:
    def given(access: bool) -> Object:
        return {"status": {"allocation": {"devices": {"results": [{**A, "adminAccess": access}]}}}}

    attributes = _attributes(given(True), given(before), "binder", namespace=namespace)
    assert _refusal(_rights().validate_status, attributes) == wrong
