"""Patches: RFC examples, upstream's strategic rules; and laws that hold for any value."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumo.api.errors import StatusError
from kumo.api.patch.json_patch import apply_json_patch
from kumo.api.patch.merge_patch import apply_merge_patch, create_merge_patch
from kumo.api.patch.strategic import apply_strategic_patch
from kumo.api.resources import GVK
from kumo.api.schema import Node, builtin_schema

pytestmark = pytest.mark.unit

scalars = st.booleans() | st.integers(-5, 5) | st.text("abc", max_size=2)
keys = st.text("abc", min_size=1, max_size=1)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
)
objects = st.dictionaries(keys, values, max_size=4)


def deployment_root() -> Node:
    return builtin_schema(GVK("apps", "v1", "Deployment")).root


def deployment(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {**spec, "template": {"spec": {"containers": list(containers)}}},
    }


def containers(obj: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = obj["spec"]["template"]["spec"]["containers"]
    return found


# -- JSON patch, merge patch ------------------------------------------------------------------------------------------


def test_json_patch_operations() -> None:
    obj = {"a": [1, 2], "b": {"c": 3}}
    operations = [
        {"op": "test", "path": "/b/c", "value": 3},
        {"op": "add", "path": "/a/-", "value": 4},
        {"op": "replace", "path": "/b/c", "value": 5},
        {"op": "move", "from": "/b/c", "path": "/d"},
        {"op": "remove", "path": "/a/0"},
    ]
    assert apply_json_patch(obj, operations) == {"a": [2, 4], "b": {}, "d": 5}
    assert obj == {"a": [1, 2], "b": {"c": 3}}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": 2},
        {"op": "remove", "path": "/x"},
        {"op": "replace", "path": "/x/y", "value": 1},
        {"op": "jump", "path": "/a"},
    ],
)
def test_json_patch_that_does_not_fit(operation: dict[str, Any]) -> None:
    with pytest.raises(StatusError) as caught:
        apply_json_patch({"a": 1}, [operation])
    assert (caught.value.code, caught.value.reason) == (422, "Invalid")
    assert caught.value.message == "the server rejected our request due to an error in our request"


def test_json_patch_that_is_none() -> None:
    with pytest.raises(StatusError) as caught:
        apply_json_patch({}, {"a": 1})
    assert caught.value.code == 400


def test_merge_patch_of_rfc_7386() -> None:
    target = {"title": "Goodbye!", "author": {"givenName": "John", "familyName": "Doe"}, "tags": ["example"]}
    patch = {"title": "Hello!", "author": {"familyName": None}, "tags": ["a"], "phone": {"x": {"y": None}}}
    assert apply_merge_patch(target, patch) == {
        "title": "Hello!",
        "author": {"givenName": "John"},
        "tags": ["a"],
        "phone": {"x": {}},
    }


@given(objects, objects)
def test_merge_patch_round_trip(old: dict[str, Any], new: dict[str, Any]) -> None:
    before = copy.deepcopy(old)
    assert apply_merge_patch(old, create_merge_patch(old, new)) == new
    assert old == before


@given(objects, objects)
def test_merge_patch_twice_is_once(obj: dict[str, Any], patch: dict[str, Any]) -> None:
    once = apply_merge_patch(obj, patch)
    assert apply_merge_patch(once, patch) == once


# -- strategic merge patch --------------------------------------------------------------------------------------------


def test_lists_merge_by_key_and_new_items_come_first() -> None:
    old = deployment({"name": "a", "image": "1"})
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "b"}, {"name": "a", "tty": True}]}}}}
    found = apply_strategic_patch(old, patch, deployment_root())
    assert containers(found) == [{"name": "b"}, {"name": "a", "image": "1", "tty": True}]
    assert containers(old) == [{"name": "a", "image": "1"}]


def test_element_order() -> None:
    old = deployment({"name": "a"}, {"name": "s"}, {"name": "b"})
    spec = {
        "$setElementOrder/containers": [{"name": "b"}, {"name": "c"}, {"name": "a"}],
        "containers": [{"name": "c", "image": "3"}],
    }
    found = apply_strategic_patch(old, {"spec": {"template": {"spec": spec}}}, deployment_root())
    assert [c["name"] for c in containers(found)] == ["s", "b", "c", "a"]


def test_delete_and_replace_directives() -> None:
    root = deployment_root()
    old = deployment({"name": "a"}, {"name": "b"})

    def patched(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return containers(apply_strategic_patch(old, {"spec": {"template": {"spec": {"containers": items}}}}, root))

    assert patched([{"name": "a", "$patch": "delete"}]) == [{"name": "b"}]
    assert patched([{"$patch": "replace"}, {"name": "z"}]) == [{"name": "z"}]
    found = apply_strategic_patch(old, {"spec": {"$patch": "replace", "replicas": 1}}, root)
    assert found["spec"] == {"replicas": 1}
    assert apply_strategic_patch(old, {"spec": {"$patch": "delete"}}, root)["spec"] == {}


def test_retain_keys_and_null() -> None:
    old = deployment(strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}, replicas=2)
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}, "replicas": None}}
    found = apply_strategic_patch(old, patch, deployment_root())["spec"]
    assert found["strategy"] == {"type": "Recreate"} and "replicas" not in found


def test_primitive_lists() -> None:
    old = {"metadata": {"finalizers": ["a", "b"]}}
    root = deployment_root()
    found = apply_strategic_patch(old, {"metadata": {"finalizers": ["b", "c"]}}, root)
    assert sorted(found["metadata"]["finalizers"]) == ["a", "b", "c"]
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}
    assert apply_strategic_patch(old, patch, root) == {"metadata": {"finalizers": ["b"]}}


def test_bad_strategic_patches() -> None:
    old = deployment({"name": "a"})
    with pytest.raises(StatusError) as caught:
        apply_strategic_patch(
            old, {"spec": {"template": {"spec": {"containers": [{"image": "x"}]}}}}, deployment_root()
        )
    assert "does not contain declared merge key: name" in caught.value.message
    with pytest.raises(StatusError) as caught:
        apply_strategic_patch(old, {"spec": {"$patch": "smash"}}, deployment_root())
    assert "unknown patch type: smash in map: map[$patch:smash]" in caught.value.message


def test_a_directive_of_null() -> None:
    old = deployment({"name": "a"})
    with pytest.raises(StatusError) as caught:
        apply_strategic_patch(old, {"spec": {"$patch": None}}, deployment_root())
    assert caught.value.code == 400
    new = apply_strategic_patch(old, {"metadata": {"labels": {"$patch": None, "c": "d"}}}, deployment_root())
    assert new["metadata"]["labels"] == {"c": "d"}, "a null like others where nothing is to be merged with"


names = st.sampled_from(["a", "b", "c", "d"])
items = st.lists(
    st.fixed_dictionaries({"name": names}, optional={"image": st.sampled_from(["1", "2"])}),
    max_size=4,
    unique_by=lambda c: c["name"],
)


@given(items, items)
def test_strategic_merge_laws(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> None:
    root = deployment_root()
    base, patch = deployment(*old), {"spec": {"template": {"spec": {"containers": new}}}}
    once = apply_strategic_patch(base, patch, root)
    assert apply_strategic_patch(once, patch, root) == once
    found = {c["name"]: c for c in containers(once)}
    assert set(found) == {c["name"] for c in (*old, *new)}
    before = {c["name"]: c for c in old}
    assert all(found[c["name"]] == {**before.get(c["name"], {}), **c} for c in new)
    order = [c["name"] for c in containers(once) if c in new]
    assert order == [c["name"] for c in new if c in containers(once)]


@given(objects, objects)
def test_without_schema_it_is_a_merge_patch(obj: dict[str, Any], patch: dict[str, Any]) -> None:
    anything = Node("any", {})
    assert apply_strategic_patch(obj, patch, anything) == apply_merge_patch(obj, patch)
