"""What a stateful set's controller decides, by tables; and the revisions it shares with daemon sets."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api.objects import name_of
from kumo.kubernetes.controller_manager import revisions
from kumo.kubernetes.controller_manager.statefulset import claims, identity
from kumo.kubernetes.controller_manager.statefulset import status as s
from kumo.kubernetes.controller_manager.statefulset.decision import Act, Plan, State, plan

pytestmark = pytest.mark.unit
NOW = 1_000_000.0
LONG_AGO = "1970-01-12T13:00:00Z"
SECONDS_AGO = "1970-01-12T13:46:37Z"
CLAIM = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}


def stateful_set(replicas: int = 3, **spec: Any) -> Any:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "b:2"}]}}
    spec = {"replicas": replicas, "serviceName": "web", "template": template, "updateStrategy": strategy, **spec}
    spec["selector"] = {"matchLabels": {"app": "web"}}
    meta = {"name": "web", "namespace": "default", "uid": "set", "generation": 4}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": meta, "spec": spec}


def pod(number: int, revision: str = "new", *, phase: str = "Running", ready: bool = True, **meta: Any) -> Any:
    since = meta.pop("since", LONG_AGO)
    name = f"web-{number}"
    labels = {"app": "web", identity.NAME_LABEL: name, identity.INDEX_LABEL: str(number)}
    labels[revisions.HASH_LABEL] = revision
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": labels, **meta},
        "spec": {},
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": str(ready), "lastTransitionTime": since}],
        },
    }


def pending(number: int) -> Any:
    return pod(number, phase="Pending", ready=False)


def failed(number: int) -> Any:
    return pod(number, phase="Failed", ready=False)


def ending(number: int, revision: str = "new") -> Any:
    return pod(number, revision, deletionTimestamp=LONG_AGO)


def revision(name: str, image: str) -> Any:
    data = {"spec": {"template": {"$patch": "replace", "metadata": {}, "spec": {"containers": [{"image": image}]}}}}
    return {"metadata": {"name": name}, "data": data}


def decided(obj: Any, pods: list[Any], known: dict[str, Any] | None = None, current: str = "new") -> Plan:
    old, new = revision("old", "b:1"), revision("new", "b:2")
    return plan(State(obj, old if current == "old" else new, new, pods, known or {}, NOW))


def steps(made: Plan) -> list[str]:
    return [f"{step.act.name} {name_of(step.pod)}" for stage in made.stages for step in stage]


PARALLEL = {"podManagementPolicy": "Parallel"}
ON_DELETE: dict[str, Any] = {"updateStrategy": {"type": "OnDelete"}}


def partition(number: int) -> dict[str, Any]:
    return {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": number}}}


@pytest.mark.parametrize(
    ("spec", "pods", "wanted"),
    [
        ({}, [], ["CREATE web-0"]),
        ({}, [pending(0)], ["CLAIMS web-0"]),
        ({}, [pod(0, ready=False)], []),
        ({}, [pod(0)], ["CREATE web-1"]),
        ({"minReadySeconds": 10}, [pod(0, since=SECONDS_AGO)], []),
        ({}, [pod(0), ending(1), pod(2)], []),
        ({}, [pod(0), pod(2)], ["CREATE web-1"]),
        ({}, [failed(0), pod(1)], ["DELETE web-0"]),
        ({}, [pod(0), pod(1), pod(2)], []),
        (PARALLEL, [], ["CREATE web-0", "CREATE web-1", "CREATE web-2"]),
        (PARALLEL, [failed(0), pending(1)], ["DELETE web-0", "CLAIMS web-1", "CREATE web-2"]),
        ({"ordinals": {"start": 5}}, [], ["CREATE web-5"]),
        ({"ordinals": {"start": 2}}, [pod(1), pod(2), pod(3), pod(4)], ["DELETE web-1"]),
        ({"replicas": 0}, [], []),
        ({"replicas": 1}, [pod(0), pod(1), pod(2)], ["DELETE web-2"]),
        ({"replicas": 1}, [pod(0), pod(1), ending(2)], []),
        ({"replicas": 1}, [pod(0, ready=False), pod(1)], []),
        ({"replicas": 1}, [pod(0), pod(1, ready=False), pod(2, ready=False)], []),
        ({"replicas": 1}, [pod(0), pod(1), pod(2, ready=False)], ["DELETE web-2"]),
        ({"replicas": 1, **PARALLEL}, [pod(0), pod(1), pod(2, ready=False)], ["DELETE web-2", "DELETE web-1"]),
    ],
)
def test_controller_stateful_set_scales(spec: dict[str, Any], pods: list[Any], wanted: list[str]) -> None:
    assert steps(decided(stateful_set(**spec), pods)) == wanted


@pytest.mark.parametrize(
    ("spec", "pods", "wanted"),
    [
        ({}, [pod(0, "old"), pod(1, "old"), pod(2, "old")], ["DELETE web-2"]),
        ({}, [pod(0, "old"), pod(1, "old"), pod(2)], ["DELETE web-1"]),
        ({}, [pod(0, "old"), pod(1, "old"), ending(2, "old")], []),
        ({}, [pod(0, "old"), pod(1, "old"), pod(2, ready=False)], []),
        ({}, [pod(0, "old"), pod(1, "old")], ["CREATE web-2"]),
        (PARALLEL, [pod(0, "old"), pod(1, "old", ready=False), pod(2)], ["DELETE web-1"]),
        (PARALLEL, [pod(0, "old"), pod(1, "old"), pod(2, ready=False)], []),
        (partition(2), [pod(0, "old"), pod(1, "old"), pod(2, "old")], ["DELETE web-2"]),
        (partition(2), [pod(0, "old"), pod(1, "old"), pod(2)], []),
        (partition(9), [pod(0, "old"), pod(1, "old"), pod(2, "old")], []),
        (ON_DELETE, [pod(0, "old"), pod(1, "old"), pod(2, "old")], []),
        ({"minReadySeconds": 10}, [pod(0, "old"), pod(1, "old"), pod(2, since=SECONDS_AGO)], []),
    ],
)
def test_controller_stateful_set_rolls(spec: dict[str, Any], pods: list[Any], wanted: list[str]) -> None:
    made = decided(stateful_set(**spec), pods, current="old")
    assert steps(made) == wanted
    gone = sum(w.startswith("DELETE") for w in wanted)
    assert (
        made.status["currentReplicas"]
        == sum(revisions.hash_of(p) == "old" and "deletionTimestamp" not in p["metadata"] for p in pods) - gone
    )


@pytest.mark.parametrize(("spec", "number", "image"), [({}, 0, "b:2"), (partition(1), 0, "b:1"), (ON_DELETE, 0, "b:2")])
def test_controller_stateful_set_pod_is_of_its_revision(spec: dict[str, Any], number: int, image: str) -> None:
    made = decided(stateful_set(volumeClaimTemplates=[CLAIM], **spec), [], current="old").stages[0][0].pod
    assert made["spec"]["containers"][0]["image"] == image
    assert made["spec"]["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "data-web-0"}}]
    assert made["metadata"]["labels"][revisions.HASH_LABEL] == {"b:1": "old", "b:2": "new"}[image]


def test_controller_stateful_set_mends_identity_and_does_nothing_when_deleted() -> None:
    stranger = pod(1)
    del stranger["metadata"]["labels"][identity.NAME_LABEL]
    obj = stateful_set()
    assert steps(decided(obj, [pod(0), stranger, pod(2)])) == ["UPDATE web-1"]
    assert identity.with_identity(obj, stranger)["metadata"]["labels"] == pod(1)["metadata"]["labels"]
    obj["metadata"]["deletionTimestamp"] = LONG_AGO
    made = decided(obj, [pod(0)])
    assert (steps(made), made.status["replicas"]) == ([], 1)


@pytest.mark.parametrize(
    ("name", "found"),
    [("web-0", ("web", 0)), ("a-b-12", ("a-b", 12)), ("web", ("", -1)), ("web-", ("", -1)), ("w-9999999999", ("", -1))],
)
def test_controller_stateful_set_ordinals(name: str, found: tuple[str, int]) -> None:
    assert identity.parent_and_ordinal({"metadata": {"name": name}}) == found


def test_controller_stateful_set_status_is_complete_when_all_are_new() -> None:
    obj = stateful_set(2)
    made = decided(obj, [pod(0), pod(1)], current="old").status
    assert (made["currentRevision"], made["currentReplicas"]) == ("old", 0)
    done = s.shown(s.completed(obj, made))
    assert done == {
        "observedGeneration": 4,
        "replicas": 2,
        "readyReplicas": 2,
        "currentReplicas": 2,
        "updatedReplicas": 2,
        "availableReplicas": 2,
        "currentRevision": "new",
        "updateRevision": "new",
        "collisionCount": 0,
    }
    assert s.completed(stateful_set(2, **ON_DELETE), made) == made


# -- claims -----------------------------------------------------------------------------------------------------------


def keeping(deleted: str, scaled: str, replicas: int = 1) -> Any:
    policy = {"whenDeleted": deleted, "whenScaled": scaled}
    return stateful_set(replicas, volumeClaimTemplates=[CLAIM], persistentVolumeClaimRetentionPolicy=policy)


def owned(*uids: str, controller: bool = True) -> Any:
    kinds = {"set": ("apps/v1", "StatefulSet", "web"), "web-0": ("v1", "Pod", "web-0"), "web-1": ("v1", "Pod", "web-1")}
    refs = []
    for uid in uids:
        api_version, kind, name = kinds.get(uid, ("v1", "Pod", "web-0"))
        refs.append({"apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": controller})
    return {"metadata": {"name": "data-web-0", "ownerReferences": refs}}


@pytest.mark.parametrize(
    ("deleted", "scaled", "number", "owners"),
    [
        ("Retain", "Retain", 0, []),
        ("Delete", "Retain", 0, ["set"]),
        ("Delete", "Retain", 1, ["set"]),
        ("Retain", "Delete", 0, []),
        ("Retain", "Delete", 1, ["web-1"]),
        ("Delete", "Delete", 0, ["set"]),
        ("Delete", "Delete", 1, ["web-1"]),
    ],
)
def test_controller_stateful_set_claims_have_owners(deleted: str, scaled: str, number: int, owners: list[str]) -> None:
    obj, mine = keeping(deleted, scaled), pod(number)
    for before in (owned(), owned("set"), owned(f"web-{number}"), owned("set", controller=False)):
        right = claims.is_owned_rightly(before, obj, mine)
        after = claims.with_owners(before, obj, mine)
        references = after["metadata"].get("ownerReferences") or []
        assert [r["uid"] for r in references] == owners
        assert right == (before == owned(*owners))
        assert claims.is_owned_rightly(after, obj, mine)


def test_controller_stateful_set_claims_of_others_are_left_alone() -> None:
    obj, mine = keeping("Delete", "Delete"), pod(0)
    other = {"apiVersion": "v1", "kind": "Thing", "name": "x", "uid": "x", "controller": True}
    claim = {"metadata": {"name": "data-web-0", "ownerReferences": [other]}}
    assert claims.has_other_controller(claim, obj, mine) and claims.is_owned_rightly(claim, obj, mine)
    both = {
        "metadata": {"name": "data-web-0", "ownerReferences": [other, *owned("set")["metadata"]["ownerReferences"]]}
    }
    assert not claims.is_owned_rightly(both, obj, mine)
    assert claims.with_owners(both, obj, mine) == claim
    former = {"data-web-0": owned("former-pod")}
    assert claims.is_stale(obj, pod(0), former)
    assert steps(decided(obj, [], former)) == []
    assert not claims.is_stale(keeping("Delete", "Retain"), pod(0), former)


# -- revisions --------------------------------------------------------------------------------------------------------


def test_controller_revisions_are_named_by_what_they_keep() -> None:
    obj = stateful_set()
    one, again, collided = (revisions.new_revision(obj, 1, c) for c in (0, 0, 1))
    assert one == again and name_of(one) != name_of(collided)
    digest = one["metadata"]["labels"][revisions.OWN_HASH_LABEL]
    assert name_of(one) == f"web-{digest}"
    assert revisions.template_of(one) == obj["spec"]["template"]
    assert revisions.same_data(one, {**collided, "revision": 7})


def test_controller_revisions_have_the_names_that_upstream_gives() -> None:
    container = {
        "command": ["sh", "-c", "a<b && c>d"],
        "image": "busybox",
        "imagePullPolicy": "Always",
        "name": "c",
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    }
    spec = {
        "containers": [container],
        "dnsPolicy": "ClusterFirst",
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
    }
    obj = stateful_set(template={"metadata": {"labels": {"app": "web"}}, "spec": spec})
    assert name_of(revisions.new_revision(obj, 1)) == "web-d9447fcdd"


@pytest.mark.parametrize(("limit", "gone"), [(0, ["r1", "r3"]), (1, ["r1"]), (2, []), (9, [])])
def test_controller_revisions_beyond_the_limit_go(limit: int, gone: list[str]) -> None:
    known = [{"metadata": {"name": f"r{n}"}, "revision": n} for n in (4, 3, 1, 2)]
    assert [name_of(r) for r in revisions.to_forget(known, {"r2", "r4"}, limit)] == gone


def test_controller_stateful_set_acts_are_all_used() -> None:
    obj = keeping("Retain", "Delete", 1)
    made = decided(obj, [pod(0), pod(1)], {"data-web-1": {"metadata": {"name": "data-web-1"}}})
    assert {step.act for stage in made.stages for step in stage} == {Act.UPDATE, Act.OWNERS, Act.DELETE}
