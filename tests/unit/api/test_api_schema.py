"""Schemas: decoding as upstream does it, the quick way and the slow one alike; custom kinds."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumo.api.builtin import RESOURCE_TYPES, by_gvk, is_stored, storage_type
from kumo.api.resources import GVK
from kumo.api.schema import DecodeError, builtin_schema, crd_schema
from kumo.api.schema.decoding import canonical_micro_time, decode
from kumo.api.schema.definitions import load
from kumo.api.schema.validation import complaints

pytestmark = pytest.mark.unit

POD = GVK("", "v1", "Pod")
DEPLOYMENT = GVK("apps", "v1", "Deployment")


def pod(**spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "nginx", "env": [{"name": "A", "value": "1"}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "labels": {"a": "b"}, "creationTimestamp": "2026-01-02T03:04:05Z"},
        "spec": {"containers": [container], **spec},
    }


def test_a_good_object_comes_back_as_a_copy() -> None:
    obj = pod(hostNetwork=True, activeDeadlineSeconds=5)
    found = builtin_schema(POD).decode(obj, sparse=True)
    assert found == (obj, ())
    assert found.object is not obj
    assert found.object["spec"]["containers"][0] is not obj["spec"]["containers"][0]


def test_key_order_is_canonical() -> None:
    obj = {"data": {"a": "b"}, "metadata": {"name": "x"}, "kind": "ConfigMap", "apiVersion": "v1"}
    found = builtin_schema(GVK("", "v1", "ConfigMap")).decode(obj).object
    assert list(found) == ["apiVersion", "kind", "metadata", "data"]


def test_unknown_fields_are_pruned_and_named() -> None:
    obj = pod(foo=1)
    obj["spec"]["containers"][0]["bar"] = {"x": 1}
    found = builtin_schema(POD).decode(obj)
    assert sorted(found.unknown) == ["spec.containers[0].bar", "spec.foo"]
    assert found.object == builtin_schema(POD).decode(pod()).object


def test_zero_values_are_left_out_or_shown_as_go_has_them() -> None:
    obj = pod(nodeName="", hostNetwork=False, nodeSelector={}, terminationGracePeriodSeconds=0, affinity={})
    obj["spec"]["containers"][0] |= {"command": [], "image": "", "ports": [{"hostPort": 0, "containerPort": 80}]}
    found = builtin_schema(POD).decode(obj).object
    assert found["spec"] == {
        "affinity": {},
        "containers": [
            {
                "name": "c",
                "env": [{"name": "A", "value": "1"}],
                "ports": [{"containerPort": 80}],
                "resources": {},
            }
        ],
        "terminationGracePeriodSeconds": 0,
    }
    assert found["status"] == {}
    obj["spec"]["nodeSelector"] = None
    assert builtin_schema(POD).decode(obj).object == found
    service = {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"name": ""}]}}
    shown = builtin_schema(GVK("", "v1", "Service")).decode(service).object
    assert shown == {
        **service,
        "metadata": {},
        "spec": {"ports": [{"port": 0, "targetPort": 0}]},
        "status": {"loadBalancer": {}},
    }


def test_nulls_are_dropped_and_quantities_canonical() -> None:
    obj = pod(nodeName=None)
    obj["spec"]["containers"][0]["resources"] = {"limits": {"cpu": 0.5, "memory": "1024Mi"}, "requests": None}
    found = builtin_schema(POD).decode(obj).object
    assert found["spec"] == {
        "containers": [
            {**pod()["spec"]["containers"][0], "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}},
        ]
    }


PREFIX = 'Pod in version "v1" cannot be handled as a Pod: '
QUANTITY = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
TIME = 'parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006"'


UNMARSHAL = "json: cannot unmarshal {} into Go struct field {} of type {}"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("metadata.name", 1, UNMARSHAL.format("number", "ObjectMeta.metadata.name", "string")),
        ("metadata.labels", {"a": 1}, UNMARSHAL.format("number", "ObjectMeta.metadata.labels", "string")),
        ("spec", [], UNMARSHAL.format("array", "Pod.spec", "v1.PodSpec")),
        ("spec.hostNetwork", "x", UNMARSHAL.format("string", "PodSpec.spec.hostNetwork", "bool")),
        ("spec.containers", {}, UNMARSHAL.format("object", "PodSpec.spec.containers", "[]v1.Container")),
        ("spec.priority", 1 << 40, UNMARSHAL.format(f"number {1 << 40}", "PodSpec.spec.priority", "int32")),
        ("metadata.creationTimestamp", "x", TIME),
        ("spec.overhead", {"cpu": "lots"}, QUANTITY),
    ],
)
def test_wrong_types_are_refused_in_upstreams_words(path: str, value: Any, message: str) -> None:
    obj = pod()
    target = obj
    *steps, last = path.split(".")
    for step in steps:
        target = target[step]
    target[last] = value
    with pytest.raises(DecodeError) as caught:
        builtin_schema(POD).decode(obj)
    assert str(caught.value) == PREFIX + message


def test_null_in_a_map_of_texts_is_the_empty_text() -> None:
    obj = pod()
    obj["metadata"]["labels"] = {"a": None}
    assert builtin_schema(POD).decode(obj).object["metadata"]["labels"] == {"a": ""}


def test_secret_data_must_be_base64() -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "a b"}}
    with pytest.raises(DecodeError, match="illegal base64 data at input byte 1"):
        builtin_schema(GVK("", "v1", "Secret")).decode(secret)


@pytest.mark.parametrize("gvk", sorted(load().kinds), ids=str)
def test_every_kind_has_a_schema(gvk: GVK) -> None:
    schema = builtin_schema(gvk)
    obj = {"apiVersion": gvk.api_version, "kind": gvk.kind}
    if schema.root.field("apiVersion") is not None and gvk.kind != "WatchEvent":
        assert schema.decode(obj, sparse=True) == (obj, ())
        assert decode(schema.root, obj, []) == obj


def test_merging_is_known_along_the_path() -> None:
    schema = builtin_schema(DEPLOYMENT)
    containers = schema.field("spec", "template", "spec", "containers")
    assert containers is not None
    assert (containers.list_type, containers.list_keys) == ("map", ("name",))
    assert (containers.strategies, containers.merge_key) == (("merge",), "name")
    strategy = schema.field("spec", "strategy")
    assert strategy is not None and strategy.strategies == ("retainKeys",)
    ports = schema.field("spec", "template", "spec", "containers", "ports")
    assert ports is not None and ports.list_keys == ("containerPort", "protocol") and ports.merge_key == "containerPort"


def test_resources_are_those_of_discovery() -> None:
    names = {(t.gvr.group_resource, t.version) for t in RESOURCE_TYPES}
    assert len(names) == len(RESOURCE_TYPES) == 68
    assert ("deployments.apps", "v1") in names and ("horizontalpodautoscalers.autoscaling", "v1") in names
    kinds = by_gvk()
    event = kinds[GVK("events.k8s.io", "v1", "Event")]
    assert storage_type(event) is kinds[GVK("", "v1", "Event")]
    assert not is_stored(kinds[GVK("authorization.k8s.io", "v1", "SubjectAccessReview")])
    assert [t.resource for t in RESOURCE_TYPES if "all" in t.categories] == [
        "pods",
        "replicationcontrollers",
        "services",
        "daemonsets",
        "deployments",
        "replicasets",
        "statefulsets",
        "horizontalpodautoscalers",
        "horizontalpodautoscalers",
        "cronjobs",
        "jobs",
    ]


# -- custom kinds -----------------------------------------------------------------------------------------------------

WIDGET = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["color"],
            "properties": {
                "color": {"type": "string", "enum": ["red", "blue"]},
                "size": {"type": "integer", "default": 3, "minimum": 1, "maximum": 10},
                "on": {"type": "boolean"},
                "name": {"type": "string", "pattern": "^a+$", "maxLength": 3},
                "port": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "maybe": {"type": "string", "nullable": True},
                "parts": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["id"],
                    "items": {"type": "object", "properties": {"id": {"type": "string"}}},
                },
            },
        }
    },
}


def widget(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "x.io/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"color": "red", **spec}}


def schema() -> Any:
    return crd_schema(WIDGET, GVK("x.io", "v1", "Widget"))


def test_custom_objects_are_pruned() -> None:
    obj = widget(junk=1, free={"kept": True}, parts=[{"id": "a", "more": 1}])
    found = schema().decode(obj)
    assert found.object["spec"] == {"color": "red", "free": {"kept": True}, "parts": [{"id": "a"}]}
    assert sorted(found.unknown) == ["spec.junk", "spec.parts[0].more"]


def test_custom_defaults_and_nulls() -> None:
    obj = widget(size=None, on=None, maybe=None)
    schema().apply_defaults(obj)
    assert obj["spec"] == {"color": "red", "size": 3, "maybe": None}
    assert list(obj) == ["apiVersion", "kind", "metadata", "spec"]


OF_TYPE = 'Invalid value: "{1}": {0} in body must be of type {2}: "{1}"'


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"color": "green"}, "spec.color", 'Unsupported value: "green": supported values: "red", "blue"'),
        ({"size": 11}, "spec.size", "Invalid value: 11: spec.size in body should be less than or equal to 10"),
        ({"size": 0}, "spec.size", "Invalid value: 0: spec.size in body should be greater than or equal to 1"),
        ({"size": "x"}, "spec.size", OF_TYPE.format("spec.size", "string", "integer")),
        ({"on": "yes"}, "spec.on", OF_TYPE.format("spec.on", "string", "boolean")),
        ({"name": "b"}, "spec.name", "Invalid value: \"b\": spec.name in body should match '^a+$'"),
        ({"name": "aaaa"}, "spec.name", "Too long: may not be more than 3 bytes"),
        ({"port": True}, "spec.port", OF_TYPE.format("spec.port", "boolean", "integer,string")),
        ({"parts": [{"id": "a"}, {"id": "a"}]}, "spec.parts[1]", 'Duplicate value: {"id":"a"}'),
    ],
)
def test_custom_validation(change: dict[str, Any], field: str, message: str) -> None:
    found = schema().validate(widget(**change)) + schema().duplicates(widget(**change))
    assert [(c.field, c.message) for c in found] == [(field, message)]


def test_custom_required_field() -> None:
    obj = widget()
    del obj["spec"]["color"]
    assert [(c.field, c.message, c.reason) for c in schema().validate(obj)] == [
        ("spec.color", "Required value", "FieldValueRequired")
    ]
    assert schema().validate(widget(size=3, port="x")) == []


def test_custom_metadata_is_checked() -> None:
    obj = copy.deepcopy(widget())
    obj["metadata"]["name"] = 5
    with pytest.raises(DecodeError, match='Widget in version "v1" cannot be handled as a Widget'):
        schema().decode(obj)


meanings: list[dict[str, Any]] = [
    {},
    {"enum": ["a", 1, None]},
    {"minLength": 2},
    {"pattern": "^b"},
    {"maximum": 3},
    {"multipleOf": 2},
    {"format": "int32"},
    {"format": "date"},
    {"x-kubernetes-int-or-string": True},
    {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    {"not": {"type": "string"}},
]
simple: list[dict[str, Any]] = [
    *({"type": kind} for kind in ("string", "integer", "number", "boolean")),
    {"type": "string", "description": "of it", "default": "b"},
    {"type": "integer", "nullable": True},
    {},
]
leaf_schemas = st.builds(lambda words, meaning: words | meaning, st.sampled_from(simple), st.sampled_from(meanings))
schemas = st.recursive(
    leaf_schemas,
    lambda below: st.fixed_dictionaries(
        {"type": st.sampled_from(["object", "array"]), "properties": st.dictionaries(st.sampled_from("ab"), below)},
        optional={"items": below, "not": below},
    ),
    max_leaves=6,
)
VALUES = (None, True, False, -(1 << 40), 0, 1, 5, 1.0, 1.5, "", "a", "abc")
plain_values = st.sampled_from(VALUES)
json_values = st.recursive(
    plain_values,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from("abc"), below),
    max_leaves=6,
)


def with_more(found: Any) -> Any:
    """The schema, saying everywhere something that means nothing: so that nothing of it is simple."""
    if not isinstance(found, dict) or not found:
        return [with_more(v) for v in found] if isinstance(found, list) else found
    below: dict[str, Callable[[Any], Any]] = {
        "properties": lambda v: {name: with_more(part) for name, part in v.items()},
        "items": with_more,
        "not": with_more,
        "anyOf": with_more,
    }
    return {k: below[k](v) if k in below else v for k, v in found.items()} | {"x-more": True}


@pytest.mark.parametrize("meaning", meanings)
def test_what_is_simple_is_judged_like_the_rest(meaning: dict[str, Any]) -> None:
    for words in simple:
        found = words | meaning
        for value in VALUES:
            assert list(complaints(found, value)) == list(complaints(with_more(found), value)), (found, value)


@given(schemas, json_values)
def test_what_is_made_of_simple_parts_too(found: dict[str, Any], value: Any) -> None:
    assert list(complaints(found, value)) == list(complaints(with_more(found), value))


@given(st.datetimes(), st.integers(-12, 12))
def test_micro_times_in_their_form_stay(moment: datetime, hours: int) -> None:
    text = moment.isoformat(timespec="microseconds") + "Z"
    assert canonical_micro_time(text) == text
    there = moment.replace(tzinfo=UTC)
    if 1 < there.year < 9999:
        local = there.astimezone(timezone(timedelta(hours=hours)))
        assert canonical_micro_time(local.isoformat(timespec="microseconds")) == text
