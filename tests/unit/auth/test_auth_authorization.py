"""RBAC: rules, the authorizer's answers, upstream's words, default roles, escalation."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.api.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, ROLEBINDINGS, ROLES
from kumo.api.users import AUTHENTICATED_GROUP, UserInfo
from kumo.kubernetes.apiserver.attributes import RequestInfo
from kumo.kubernetes.apiserver.authentication import ANONYMOUS_USER
from kumo.kubernetes.apiserver.authorization import AccessReviews, Authorizer
from kumo.kubernetes.apiserver.authorization.rules import describe, rules_of, uncovered
from kumo.kubernetes.apiserver.bootstrap import default_rbac
from kumo.kubernetes.apiserver.bootstrap.notation import parse_rule
from support.reader import MemoryReader

pytestmark = pytest.mark.unit

_KINDS = {
    "ClusterRole": CLUSTERROLES,
    "Role": ROLES,
    "ClusterRoleBinding": CLUSTERROLEBINDINGS,
    "RoleBinding": ROLEBINDINGS,
}
GROUP = "rbac.authorization.k8s.io"


def role(name: str, *rules: str, namespace: str = "", **labels: str) -> tuple[str, Object]:
    meta: dict[str, Any] = {"name": name, "labels": labels} | ({"namespace": namespace} if namespace else {})
    return ("Role" if namespace else "ClusterRole"), {"metadata": meta, "rules": [parse_rule(r) for r in rules]}


def binding(
    name: str, role_name: str, *users: str, namespace: str = "", kind: str = "", groups: tuple[str, ...] = ()
) -> tuple[str, Object]:
    subjects: list[dict[str, str]] = [{"kind": "User", "name": u} for u in users]
    subjects += [{"kind": "Group", "name": g} for g in groups]
    ref = {"kind": kind or ("Role" if namespace else "ClusterRole"), "name": role_name}
    meta = {"name": name} | ({"namespace": namespace} if namespace else {})
    made = {"metadata": meta, "roleRef": ref, "subjects": subjects}
    return ("RoleBinding" if namespace else "ClusterRoleBinding"), made


def world(*objects: tuple[str, Object]) -> tuple[MemoryReader, Authorizer]:
    reader = MemoryReader()
    for kind, obj in objects:
        reader.put(_KINDS[kind], obj)
    return reader, Authorizer(reader)


def default_world(*objects: tuple[str, Object]) -> tuple[MemoryReader, Authorizer]:
    return world(*((o["kind"], o) for o in default_rbac()), *objects)


def user(name: str, *groups: str) -> UserInfo:
    return UserInfo(name, (*groups, AUTHENTICATED_GROUP))


def asks(verb: str, resource: str, namespace: str = "", name: str = "", group: str = "") -> RequestInfo:
    main, _, sub = resource.partition("/")
    return RequestInfo(verb, f"/{resource}", group, "v1", namespace, main, sub, name)


@pytest.mark.parametrize(
    ("rule", "verb", "resource", "group", "allowed"),
    [
        ("get | core | pods", "get", "pods", "", True),
        ("get | core | pods", "list", "pods", "", False),
        ("get | core | pods", "get", "pods/log", "", False),
        ("get | core | pods/log", "get", "pods/log", "", True),
        ("get | core | pods/log", "get", "pods", "", False),
        ("get | core | */log", "get", "pods/log", "", True),
        ("get | core | */scale", "get", "pods/log", "", False),
        ("* | core | pods", "whatever", "pods", "", True),
        ("get | * | pods", "get", "pods", "apps", True),
        ("get | apps | pods", "get", "pods", "", False),
        ("get | core | *", "get", "pods/exec", "", True),
    ],
)
def test_what_a_rule_allows(rule: str, verb: str, resource: str, group: str, allowed: bool) -> None:
    _, authorizer = world(role("r", rule), binding("b", "r", "jane"))
    assert authorizer.authorize(user("jane"), asks(verb, resource, group=group)).allowed is allowed


def test_resource_names_limit_a_rule() -> None:
    _, authorizer = world(role("r", "get update | core | configmaps | one two"), binding("b", "r", "jane"))
    jane = user("jane")
    assert authorizer.authorize(jane, asks("get", "configmaps", "ns", "one")).allowed
    assert authorizer.authorize(jane, asks("get", "configmaps", "ns", "two")).allowed
    assert not authorizer.authorize(jane, asks("get", "configmaps", "ns", "three")).allowed
    assert not authorizer.authorize(jane, asks("get", "configmaps", "ns")).allowed


def test_a_role_binding_is_for_its_namespace_whatever_role_it_names() -> None:
    _, authorizer = world(
        role("reader", "read | core | pods"),
        role("local", "read | core | secrets", namespace="a"),
        binding("one", "reader", "jane", namespace="a", kind="ClusterRole"),
        binding("two", "local", namespace="a", groups=("dev",)),
    )
    jane, dev = user("jane"), user("joe", "dev")
    assert authorizer.authorize(jane, asks("list", "pods", "a")).allowed
    assert not authorizer.authorize(jane, asks("list", "pods", "b")).allowed
    assert not authorizer.authorize(jane, asks("list", "pods")).allowed
    assert authorizer.authorize(dev, asks("list", "secrets", "a")).allowed
    assert not authorizer.authorize(jane, asks("list", "secrets", "a")).allowed


def test_service_accounts_are_subjects() -> None:
    kind, obj = binding("b", "r", namespace="a", kind="ClusterRole")
    obj["subjects"] = [{"kind": "ServiceAccount", "name": "robot"}]
    _, authorizer = world(role("r", "get | core | pods"), (kind, obj))
    assert authorizer.authorize(user("system:serviceaccount:a:robot"), asks("get", "pods", "a")).allowed
    assert not authorizer.authorize(user("system:serviceaccount:b:robot"), asks("get", "pods", "a")).allowed


def test_urls_with_and_without_wildcard() -> None:
    _, authorizer = world(role("r", "get | url | /healthz /api/*"), binding("b", "r", "jane"))

    def may(path: str, verb: str = "get") -> bool:
        return authorizer.authorize(user("jane"), RequestInfo(verb, path)).allowed

    assert may("/healthz")
    assert may("/api/v1")
    assert not may("/api")
    assert not may("/healthz/x")
    assert not may("/healthz", "post")


def test_changes_count_at_once() -> None:
    reader, authorizer = world(role("r", "get | core | pods"), binding("b", "r", "jane"))
    jane = user("jane")
    assert authorizer.authorize(jane, asks("get", "pods")).allowed
    reader.put(*(_KINDS["ClusterRole"], role("r", "get | core | nodes")[1]))
    assert not authorizer.authorize(jane, asks("get", "pods")).allowed
    assert authorizer.authorize(jane, asks("get", "nodes")).allowed
    reader.drop(CLUSTERROLEBINDINGS, "b")
    assert not authorizer.authorize(jane, asks("get", "nodes")).allowed


def test_aggregation_follows_labels_also_through_another_aggregate() -> None:
    kind, edit = role("edit", to_admin="true")
    edit["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {"to_edit": "true"}}]}
    _, admin = role("admin")
    admin["aggregationRule"] = {
        "clusterRoleSelectors": [{"matchExpressions": [{"key": "to_admin", "operator": "In", "values": ["true"]}]}]
    }
    reader, authorizer = world(
        (kind, edit), (kind, admin), role("part", "get | core | pods", to_edit="true"), binding("b", "admin", "jane")
    )
    assert authorizer.authorize(user("jane"), asks("get", "pods")).allowed
    reader.drop(CLUSTERROLES, "part")
    assert not authorizer.authorize(user("jane"), asks("get", "pods")).allowed


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (
            asks("list", "pods", "default"),
            'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default"',
        ),
        (
            asks("get", "deployments/scale", "ns", "web", "apps"),
            'deployments.apps "web" is forbidden: User "jane" cannot get resource "deployments/scale" '
            'in API group "apps" in the namespace "ns"',
        ),
        (
            asks("get", "nodes", "", "n1"),
            'nodes "n1" is forbidden: User "jane" cannot get resource "nodes" in API group "" at the cluster scope',
        ),
        (RequestInfo("get", "/metrics"), 'forbidden: User "jane" cannot get path "/metrics"'),
    ],
)
def test_refusals_in_upstreams_words(info: RequestInfo, message: str) -> None:
    _, authorizer = world()
    with pytest.raises(StatusError) as refusal:
        authorizer.check(user("jane"), info)
    assert (refusal.value.code, refusal.value.reason, refusal.value.message) == (403, "Forbidden", message)


def test_a_binding_to_a_missing_role_says_so() -> None:
    _, authorizer = world(binding("b", "nix", "jane"))
    with pytest.raises(StatusError) as refusal:
        authorizer.check(user("jane"), asks("list", "pods"))
    assert refusal.value.message.endswith(
        'at the cluster scope: RBAC: clusterrole.rbac.authorization.k8s.io "nix" not found'
    )


def test_defaults_let_everybody_do_what_upstream_does() -> None:
    _, authorizer = default_world(
        binding("v", "view", "viewer", namespace="ns", kind="ClusterRole"),
        binding("e", "edit", "editor", namespace="ns", kind="ClusterRole"),
        binding("a", "admin", "admin", namespace="ns", kind="ClusterRole"),
    )

    def may(who: UserInfo, *what: str, **more: str) -> bool:
        return authorizer.authorize(who, asks(*what, **more)).allowed

    viewer, editor, admin = user("viewer"), user("editor"), user("admin")
    assert may(viewer, "list", "pods", "ns")
    assert not may(viewer, "list", "secrets", "ns")
    assert not may(viewer, "create", "pods", "ns")
    assert may(editor, "list", "secrets", "ns")
    assert may(editor, "create", "deployments", "ns", group="apps")
    assert not may(editor, "create", "roles", "ns", group=GROUP)
    assert may(admin, "create", "roles", "ns", group=GROUP)
    assert not may(admin, "list", "nodes")
    assert may(user("root", "system:masters"), "anything", "anything", "anywhere")
    assert may(user("system:kube-scheduler"), "create", "pods/binding", "ns")
    assert may(user("system:serviceaccount:kube-system:deployment-controller"), "create", "replicasets", group="apps")
    assert may(user("system:kube-proxy"), "watch", "services")
    assert may(user("system:node:n1", "system:nodes"), "patch", "nodes/status", "", "n1")
    assert authorizer.authorize(ANONYMOUS_USER, RequestInfo("get", "/version")).allowed
    assert not authorizer.authorize(ANONYMOUS_USER, RequestInfo("get", "/apis")).allowed
    assert authorizer.authorize(user("anybody"), RequestInfo("get", "/apis/apps/v1")).allowed


def test_default_objects_are_complete_and_refer_to_each_other() -> None:
    objects = default_rbac()
    names = {(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects}
    assert len(names) == len(objects)
    for obj in objects:
        if "roleRef" in obj:
            ref, namespace = obj["roleRef"], obj["metadata"].get("namespace")
            assert (ref["kind"], namespace if ref["kind"] == "Role" else None, ref["name"]) in names
            assert obj.get("subjects") or obj["metadata"]["name"] == "system:node"
        else:
            assert obj["rules"]


@pytest.mark.parametrize(
    ("held", "wanted", "missing"),
    [
        ("get list | core | pods", "get | core | pods", []),
        ("get | core | pods", "get list | core | pods", ['{APIGroups:[""], Resources:["pods"], Verbs:["list"]}']),
        ("* | * | *", "get | apps | deployments/scale", []),
        ("get | core | pods", "get | core | pods | one", []),
        ("get | core | pods | one", "get | core | pods | one", []),
        ("get | core | pods | one", "get | core | pods", ['{APIGroups:[""], Resources:["pods"], Verbs:["get"]}']),
        ("get | core | */scale", "get | core | pods/scale", []),
        ("get | core | pods", "get | * | pods", ['{APIGroups:["*"], Resources:["pods"], Verbs:["get"]}']),
        ("get | url | /api/*", "get | url | /api/v1", []),
        ("get | url | /api", "get | url | *", ['{NonResourceURLs:["*"], Verbs:["get"]}']),
    ],
)
def test_coverage(held: str, wanted: str, missing: list[str]) -> None:
    assert describe(uncovered(rules_of([parse_rule(held)]), rules_of([parse_rule(wanted)]))) == missing


def test_reviews() -> None:
    _, authorizer = default_world(binding("v", "view", "viewer", namespace="ns", kind="ClusterRole"))
    reviews = AccessReviews(authorizer)

    def may(**attributes: str) -> bool:
        body = {"spec": {"user": "viewer", "resourceAttributes": attributes}}
        allowed: bool = reviews.subject(body)["status"]["allowed"]
        return allowed

    assert may(verb="list", resource="pods", namespace="ns")
    assert not may(verb="list", resource="pods", namespace="other")
    assert not may(verb="*", resource="pods", namespace="ns")
    own = reviews.self_subject(
        user("viewer"), {"spec": {"nonResourceAttributes": {"verb": "get", "path": "/api"}}, "metadata": {}}
    )
    assert own["status"]["allowed"] is True
    with pytest.raises(StatusError) as refusal:
        reviews.subject({"spec": {"user": "x"}})
    assert refusal.value.code == 422
    with pytest.raises(StatusError, match=r"must match metadata\.namespace"):
        reviews.local_subject("ns", {"spec": {"user": "x", "resourceAttributes": {"namespace": "other"}}})
    listed = reviews.self_rules(user("viewer"), {"spec": {"namespace": "ns"}})["status"]
    assert listed["incomplete"] is False
    assert any("pods" in r["resources"] for r in listed["resourceRules"])
