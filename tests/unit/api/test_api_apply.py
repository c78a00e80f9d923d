"""Server-side apply and the books of other writes: sets, merging, conflicts, pruning; and laws for any value."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumo.api.errors import StatusError
from kumo.api.patch.apply import apply
from kumo.api.patch.configuration import check
from kumo.api.patch.field_sets import compact, difference, in_order, intersection, paths, scalar, union
from kumo.api.patch.managers import MAX_UPDATERS, is_reset
from kumo.api.patch.scale import to_parent, to_scale
from kumo.api.patch.shapes import Shape, shape_of
from kumo.api.patch.tracking import Tracker
from kumo.api.patch.typed import MAX_SPECS, TypedError, added, compare, fields_of, item_element, made, merge
from kumo.api.resources import GVK
from kumo.api.schema import builtin_schema, crd_schema

pytestmark = pytest.mark.unit

Object = dict[str, Any]
items = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from("abcd")}, optional={"image": st.sampled_from("xyz")}),
    max_size=4,
    unique_by=lambda item: item["name"],
)


def shape(group: str = "apps", version: str = "v1", kind: str = "Deployment") -> Shape:
    return shape_of(builtin_schema(GVK(group, version, kind)).root)


def tracker(subresource: str = "", reset: Object | None = None) -> Tracker:
    found = shape()

    def view(obj: Object, version: str) -> tuple[Object, Shape] | None:
        return (obj, found) if version == "apps/v1" else None

    return Tracker(found, "apps/v1", view, subresource, reset or {"f:status": {}})


def deployment(*containers: Object, **spec: Any) -> Object:
    made: Object = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": dict(spec)}
    if containers:
        made["spec"]["template"] = {"spec": {"containers": list(containers)}}
    return made


def applied(
    live: Object | None, config: Object, manager: str, *, force: bool = False, now: str = "2026-01-01T00:00:00Z"
) -> Object:
    found = apply(tracker(), live, copy.deepcopy(config), manager, force=force, now=now)
    return {**found.object, "metadata": {**found.object["metadata"], "managedFields": found.managed_fields}}


def updated(
    old: Object | None,
    new: Object,
    manager: str,
    *,
    subresource: str = "",
    now: str = "2026-01-01T00:00:00Z",
    stated: list[Object] | None = None,
) -> Object:
    entries = tracker(subresource).updated(old, new, manager, now=now, stated=stated)
    return {**new, "metadata": {**new["metadata"], "managedFields": entries}}


def entry(obj: Object, manager: str) -> Object:
    found: Object = next(e for e in obj["metadata"]["managedFields"] if e["manager"] == manager)
    return found


def fields(obj: Object, manager: str) -> list[str]:
    return sorted(paths(entry(obj, manager)["fieldsV1"]))


def containers(obj: Object) -> list[Object]:
    found: list[Object] = obj["spec"]["template"]["spec"]["containers"]
    return found


# -- the books of creates, updates and patches --------------------------------------------------------------------


def test_a_create_owns_all_it_says_but_not_the_places_every_object_has() -> None:
    made = updated(None, deployment({"name": "a", "image": "1"}, replicas=1), "m")
    assert entry(made, "m")["fieldsV1"] == {
        "f:spec": {
            "f:replicas": {},
            "f:template": {
                "f:spec": {"f:containers": {'k:{"name":"a"}': {".": {}, "f:image": {}, "f:name": {}}}},
            },
        }
    }


def test_a_place_that_holds_a_pointer_belongs_to_who_makes_it() -> None:
    obj = deployment(strategy={"rollingUpdate": {"maxSurge": 1}, "type": "RollingUpdate"})
    spec = entry(updated(None, obj, "m"), "m")["fieldsV1"]["f:spec"]
    assert spec["f:strategy"] == {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}, "f:type": {}}


def test_updates_take_what_they_change_and_times_move_only_then() -> None:
    made = updated(None, deployment(replicas=1, paused=True), "one", now="2026-01-01T00:00:00Z")
    changed = updated(made, deployment(replicas=2, paused=True), "two", now="2026-01-02T00:00:00Z")
    assert fields(changed, "one") == [".spec.paused"] and fields(changed, "two") == [".spec.replicas"]
    assert entry(changed, "one")["time"] == "2026-01-01T00:00:00Z"
    same = updated(changed, deployment(replicas=2, paused=True), "three", now="2026-01-03T00:00:00Z")
    assert same["metadata"]["managedFields"] == changed["metadata"]["managedFields"]
    gone = updated(changed, deployment(replicas=2), "three", now="2026-01-03T00:00:00Z")
    assert [e["manager"] for e in gone["metadata"]["managedFields"]] == ["two"]


def test_what_a_write_has_no_effect_on_has_no_manager() -> None:
    made = updated(None, {**deployment(replicas=1), "status": {"replicas": 5}}, "m")
    assert "f:status" not in entry(made, "m")["fieldsV1"]


def test_keys_in_upstreams_order() -> None:
    found = in_order(['v:"x"', "f:b", 'k:{"port":443}', "f:a", ".", 'k:{"port":80}'])
    assert found == [".", "f:a", "f:b", 'k:{"port":80}', 'k:{"port":443}', 'v:"x"']


def test_the_oldest_updaters_are_put_together() -> None:
    obj = updated(None, deployment(paused=True), "m00", now="2026-01-01T00:00:00Z")
    for number in range(1, MAX_UPDATERS + 3):
        new = deployment(paused=True)
        new["metadata"] = {"name": "d", "annotations": {f"k{n}": "v" for n in range(1, number + 1)}}
        obj = updated(obj, new, f"m{number:02}", now=f"2026-01-{number + 1:02}T00:00:00Z")
    managers = [e["manager"] for e in obj["metadata"]["managedFields"]]
    assert len(managers) == MAX_UPDATERS and managers[0] == "ancient-changes"
    assert fields(obj, "ancient-changes")[:2] == [".metadata.annotations", ".metadata.annotations.k1"]


@pytest.mark.parametrize(("entries", "reset"), [([], True), ([{}], True), (None, False), ([{"manager": "x"}], False)])
def test_what_resets(entries: Any, reset: bool) -> None:
    assert is_reset(entries) is reset


def test_reset_invalid_and_stated_entries() -> None:
    made = updated(None, deployment(replicas=1), "one")
    bare = {k: v for k, v in made["metadata"].items() if k != "managedFields"}
    new = {**deployment(replicas=1), "metadata": {**bare, "annotations": {"a": "b"}}}
    assert updated(made, new, "two", stated=[])["metadata"]["managedFields"] == []
    nonsense: Object = {"manager": "x", "operation": "Nope", "apiVersion": "apps/v1", "fieldsType": "FieldsV1"}
    kept = updated(made, new, "two", stated=[nonsense])
    assert [e["manager"] for e in kept["metadata"]["managedFields"]] == ["one", "two"]
    good = {**nonsense, "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    replaced = updated(made, new, "two", stated=[good])
    assert [e["manager"] for e in replaced["metadata"]["managedFields"]] == ["x", "two"]
    untouched = updated(made, new, "two", stated=[good], subresource="status")
    assert [e["manager"] for e in untouched["metadata"]["managedFields"]] == ["one", "two"]


def test_scale_and_back() -> None:
    made = updated(None, deployment(replicas=1, paused=True), "one")
    entries = made["metadata"]["managedFields"]

    def path_of(version: str) -> str:
        return "spec.replicas" if version == "apps/v1" else ""

    seen = to_scale(entries, path_of)
    assert [(e["manager"], e["apiVersion"], e["fieldsV1"]) for e in seen] == [
        ("one", "autoscaling/v1", {"f:spec": {"f:replicas": {}}})
    ]
    stolen = [{**seen[0], "manager": "hpa", "subresource": "scale"}]
    back = to_parent(entries, stolen, path_of, "apps/v1")
    assert {e["manager"]: sorted(paths(e["fieldsV1"])) for e in back} == {
        "hpa": [".spec.replicas"],
        "one": [".spec.paused"],
    }
    assert to_parent(entries, seen, path_of, "apps/v1") == entries


# -- apply --------------------------------------------------------------------------------------------------------


def test_apply_creates_and_owns() -> None:
    made = applied(None, deployment({"name": "a", "image": "1"}, replicas=1), "m")
    assert fields(made, "m") == [
        ".spec.replicas",
        '.spec.template.spec.containers[name="a"]',
        '.spec.template.spec.containers[name="a"].image',
        '.spec.template.spec.containers[name="a"].name',
    ]
    assert {k: v for k, v in entry(made, "m").items() if k != "fieldsV1"} == {
        "manager": "m",
        "operation": "Apply",
        "apiVersion": "apps/v1",
        "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1",
    }


def test_apply_conflicts_force_and_sharing() -> None:
    made = applied(None, deployment({"name": "a", "image": "1"}, replicas=1), "one")
    same = applied(made, deployment(replicas=1), "two")
    assert fields(same, "two") == [".spec.replicas"] and ".spec.replicas" in fields(same, "one")
    with pytest.raises(StatusError) as caught:
        applied(made, deployment(replicas=2), "two")
    assert caught.value.code == 409
    assert caught.value.message == 'Apply failed with 1 conflict: conflict with "one": .spec.replicas'
    assert caught.value.details == {
        "causes": [{"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".spec.replicas"}]
    }
    taken = applied(made, deployment(replicas=2), "two", force=True)
    assert taken["spec"]["replicas"] == 2 and ".spec.replicas" not in fields(taken, "one")


def test_several_conflicts_are_listed_by_manager() -> None:
    made = applied(None, deployment(replicas=1, paused=True), "one")
    changed = updated(made, deployment(replicas=3, paused=True), "two", subresource="scale")
    with pytest.raises(StatusError) as caught:
        applied(changed, deployment(replicas=2, paused=False), "three")
    assert caught.value.message == (
        'Apply failed with 2 conflicts: conflicts with "one":\n- .spec.paused\n'
        'conflicts with "two" with subresource "scale" using apps/v1:\n- .spec.replicas'
    )


def test_apply_removes_what_is_given_up_unless_another_has_it() -> None:
    made = applied(None, deployment({"name": "a"}, {"name": "b"}, replicas=1, paused=True), "one")
    made = applied(made, deployment({"name": "b", "image": "2"}, replicas=1), "two")
    found = applied(made, deployment({"name": "a"}), "one")
    assert containers(found) == [{"name": "a"}, {"name": "b", "image": "2"}]
    assert found["spec"]["replicas"] == 1 and "paused" not in found["spec"]


def test_apply_after_other_writes() -> None:
    live = deployment({"name": "a", "image": "1"}, replicas=1)
    with pytest.raises(StatusError, match="before-first-apply"):
        applied(live, deployment(replicas=2), "m")
    made = applied(None, deployment(replicas=1), "m")
    changed = updated(made, deployment(replicas=5), "scaler", subresource="scale")
    assert fields(changed, "scaler") == [".spec.replicas"]
    with pytest.raises(StatusError) as caught:
        applied(changed, deployment(replicas=1), "m")
    expected = 'conflict with "scaler" with subresource "scale" using apps/v1: .spec.replicas'
    assert caught.value.message == "Apply failed with 1 conflict: " + expected


def test_apply_twice_changes_nothing() -> None:
    config = deployment({"name": "a", "image": "1"}, replicas=1)
    once = applied(None, config, "m", now="2026-01-01T00:00:00Z")
    assert applied(once, config, "m", now="2027-01-01T00:00:00Z") == once


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (deployment(wrong=1), ".spec.wrong: field not declared in schema"),
        (deployment(replicas="x"), ".spec.replicas: expected numeric (int or float), got string"),
        (
            deployment({"name": "a"}, {"name": "a"}),
            '.spec.template.spec.containers: duplicate entries for key [name="a"]',
        ),
    ],
)
def test_a_configuration_that_does_not_fit(config: Object, message: str) -> None:
    with pytest.raises(TypedError) as caught:
        applied(None, config, "m")
    assert str(caught.value) == message


def test_keys_have_their_defaults() -> None:
    found = fields_of(shape("", "v1", "Service"), {"spec": {"ports": [{"port": 80}]}})
    assert found == {"f:spec": {"f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}}}}


def test_items_without_their_keys() -> None:
    """Built-in keys that must be there count as empty; custom ones that are not there have no default."""
    assert fields_of(shape(), {"spec": deployment({"image": "a"})["spec"]}) == {
        "f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":""}': {".": {}, "f:image": {}}}}}}
    }
    items_ = {"type": "object", "properties": {"id": {"type": "string"}, "x": {"type": "string"}}}
    list_ = {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"], "items": items_}
    root = shape_of(crd_schema({"type": "object", "properties": {"list": list_}}, GVK("a.io", "v1", "Thing")).root)
    with pytest.raises(TypedError) as caught:
        check(root, {"list": [{"x": "1"}]})
    assert str(caught.value) == (
        '.list: element 0: associative list with keys has an element that omits all key fields ["id"] '
        "(and doesn't have default values for any key fields)"
    )


def test_custom_kinds() -> None:
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {}},
                    "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                    "list": {"type": "array", "items": {"type": "string"}},
                },
            }
        },
    }
    root = shape_of(crd_schema(schema, GVK("a.io", "v1", "Thing")).root)
    spec = {"any": {"x": {"y": 1, "l": [1]}}, "whole": {"x": "y"}, "set": ["b", "a"], "list": ["z"]}
    found = compare(root, {}, {"spec": spec})
    assert found.changed == {
        "f:spec": {
            ".": {},
            "f:any": {".": {}, "f:x": {".": {}, "f:l": {}, "f:y": {}}},
            "f:list": {},
            "f:set": {".": {}, 'v:"a"': {}, 'v:"b"': {}},
            "f:whole": {},
        }
    }


# -- laws ---------------------------------------------------------------------------------------------------------


@given(items, items)
def test_merge_and_compare_laws(one: list[Object], two: list[Object]) -> None:
    root = shape()
    old, new = deployment({"name": "z"}, *one), deployment({"name": "z"}, *two)
    merged = merge(root, old, new)
    assert merge(root, merged, new) == merged
    assert not compare(root, old, old)
    changed, removed = compare(root, merged, old)
    assert set(paths(removed)) <= set(paths(fields_of(root, merged) or {}))
    assert set(paths(changed)) <= set(paths(fields_of(root, old) or {}))


@given(items, items)
def test_field_set_laws(one: list[Object], two: list[Object]) -> None:
    root = shape()
    a, b = fields_of(root, deployment(*one)) or {}, fields_of(root, deployment(*two)) or {}
    members_a, members_b = set(paths(a)), set(paths(b))
    assert set(paths(union(a, b))) == members_a | members_b
    assert set(paths(intersection(a, b))) == members_a & members_b
    assert set(paths(difference(a, b))) == members_a - members_b
    assert union(difference(a, b), intersection(a, b)) == a


texts = st.sampled_from(["a", "b", "", 'say "x"', "back\\slash", "tab\t", "ä", "a b", "!"]) | st.text(max_size=4)
scalars = texts | st.integers(-3, 70000) | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False)


@given(scalars)
def test_scalars_are_written_as_json(value: Any) -> None:
    assert json.loads(scalar(value)) == json.loads(compact(value))
    assert not set(scalar(value)) & set("<>&\u2028\u2029")


ports = st.lists(
    st.fixed_dictionaries(
        {"containerPort": st.integers(1, 3)},
        optional={"protocol": st.sampled_from(["TCP", "UDP"]), "name": texts, "hostPort": st.integers(0, 2)},
    ),
    max_size=3,
)
any_containers = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["a", "b", 'c"'])},
        optional={
            "image": texts,
            "ports": ports,
            "resources": st.dictionaries(st.sampled_from(["limits", "requests"]), st.just({"cpu": "1"})),
            "env": st.lists(
                st.fixed_dictionaries({"name": texts}, optional={"value": texts, "valueFrom": st.just({"x": {}})}),
                max_size=4,
            ),
            "unheard": st.just({"of": [1]}),
        },
    ),
    max_size=3,
)


def plainly_added(at: Shape, value: Any) -> Object:
    """What `added` says, without its memory."""
    if at.kind == "leaf" or not value or isinstance(value, dict) != (at.kind in ("map", "deduced")):
        return {}
    found: Object = {}
    if isinstance(value, dict):
        for name, child in value.items():
            found[f"f:{name}"] = plainly_added(at.field(name), child)
        found |= {f"f:{name}": {} for name in at.times}
    elif isinstance(value, list):
        elements = [item_element(at, item) for item in value]
        for element, item in zip(elements, value, strict=True):
            found[element] = plainly_added(at.item, item) if elements.count(element) == 1 else {}
    else:
        return {}
    return {".": {}, **{element: found[element] for element in in_order(found)}}


@given(any_containers)
def test_what_is_remembered_of_objects_is_what_they_say(found: list[Object]) -> None:
    spec = shape().field("spec").field("template").field("spec")
    for value in ({"containers": found}, {"containers": copy.deepcopy(found)}):
        said = added(spec, value)
        assert repr(said) == repr(plainly_added(spec, value))


metas = st.fixed_dictionaries({"name": texts}, optional={"labels": st.dictionaries(texts, texts, max_size=2)})
deployments = st.fixed_dictionaries(
    {"kind": st.just("Deployment")},
    optional={
        "metadata": metas,
        "spec": st.fixed_dictionaries(
            {},
            optional={"replicas": scalars, "template": st.fixed_dictionaries({"spec": st.just({})}), "extra": scalars},
        ),
        "status": st.sampled_from([{}, {"replicas": 1}]),
        "data": scalars,
    },
)


@given(st.lists(deployments, max_size=8), any_containers)
def test_what_makes_an_object_of_nothing(found: list[Object], parts: list[Object]) -> None:
    at = shape()
    for obj in [*found, *copy.deepcopy(found)]:
        if obj.get("spec", {}).get("template"):
            obj["spec"]["template"] = {"spec": {"containers": parts}}
        assert repr(made(at, obj)) == repr(compare(at, at.zero(), obj))
    assert len(at.specs) <= MAX_SPECS
    assert at.zero() == {"metadata": {}, "spec": at.zero()["spec"], "status": {}}
