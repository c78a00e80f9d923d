"""What published definitions and manifests asked of pruning, base64 and the tracking of fields."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api.patch.field_sets import scalar
from kumo.api.patch.shapes import shape_of
from kumo.api.patch.typed import compare
from kumo.api.resources import GVK
from kumo.api.schema import builtin_schema
from kumo.api.schema.decoding import canonical_base64, canonical_time
from kumo.api.schema.pruning import prune
from kumo.api.schema.structural import structural_node

pytestmark = pytest.mark.unit
KEEP = {"x-kubernetes-preserve-unknown-fields": True}
INNER = {"type": "object", "properties": {"k": {"type": "object", "properties": {"a": {"type": "string"}}}}}


@pytest.mark.parametrize(
    ("schema", "value", "expected", "unknown"),
    [
        ({"type": "array", "items": {"type": "object"}, **KEEP}, [{"a": {"b": 1}}], [{"a": {"b": 1}}], []),
        ({"type": "array", "items": {"type": "object"}}, [{"a": 1}], [{}], ["x[0].a"]),
        ({"type": "array", "items": INNER, **KEEP}, [{"k": {"b": 1}, "u": 1}], [{"k": {}, "u": 1}], ["x[0].k.b"]),
        # An object where none may be has no fields at all.
        ({"type": "array", "items": {"type": "string"}}, {"a": 1, "b": 2}, {}, ["x.a", "x.b"]),
        ({"type": "string"}, {"a": 1}, {}, ["x.a"]),
    ],
)
def test_pruning(schema: dict[str, Any], value: Any, expected: Any, unknown: list[str]) -> None:
    said: list[str] = []
    assert prune(structural_node(schema), value, "x", said) == expected
    assert said == unknown


@pytest.mark.parametrize(("text", "expected"), [("YWJj", "YWJj"), ("YW\nJj\r\n", "YWJj"), ("", "")])
def test_base64_without_line_breaks(text: str, expected: str) -> None:
    assert canonical_base64(text) == expected


@pytest.mark.parametrize(
    ("kind", "new", "changed"),
    [
        (GVK("rbac.authorization.k8s.io", "v1", "ClusterRole"), {"rules": None}, {}),
        (GVK("rbac.authorization.k8s.io", "v1", "ClusterRole"), {"rules": []}, {"f:rules": {}}),
        (GVK("rbac.authorization.k8s.io", "v1", "ClusterRole"), {"rules": [{"verbs": []}]}, {"f:rules": {}}),
        (GVK("discovery.k8s.io", "v1", "EndpointSlice"), {"endpoints": None, "ports": None}, {}),
        (
            GVK("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding"),
            {"spec": {"validationActions": ["Deny"]}},
            {"f:spec": {"f:validationActions": {".": {}, 'v:"Deny"': {}}}},
        ),
    ],
)
def test_who_owns_what_of_a_new_object(kind: GVK, new: dict[str, Any], changed: dict[str, Any]) -> None:
    shape = shape_of(builtin_schema(kind).root)
    assert compare(shape, shape.zero(), new).changed == changed


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a<b>&c", r'"a\u003cb\u003e\u0026c"'),
        ("\u2028", r'"\u2028"'),
        ('q"', r'"q\""'),
        ("é", '"é"'),
        (3, "3"),
        (True, "true"),
    ],
)
def test_scalars_in_path_elements(value: Any, expected: str) -> None:
    assert scalar(value) == expected


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("2018-12-02 09:24:46+00:00", ' as "2006-01-02T15:04:05Z07:00": cannot parse " 09:24:46+00:00" as "T"'),
        ("now", ' as "2006-01-02T15:04:05Z07:00": cannot parse "now" as "2006"'),
        ("2018-12", ' as "2006-01-02T15:04:05Z07:00": cannot parse "" as "-"'),
        ("2018-12-02T09:24:46", ' as "2006-01-02T15:04:05Z07:00": cannot parse "" as "Z07:00"'),
        ("2018-12-02T09:24:46Zx", ': extra text: "x"'),
        ("2018-13-02T09:24:46Z", ": month out of range"),
        ("2018-02-30T09:24:46Z", ": day out of range"),
        ("2018-12-02T25:24:46Z", ": hour out of range"),
    ],
)
def test_what_is_wrong_with_a_time(text: str, wrong: str) -> None:
    with pytest.raises(ValueError) as refused:
        canonical_time(text)
    assert str(refused.value) == f'parsing time "{text}"{wrong}'
