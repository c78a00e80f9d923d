"""What a conversion webhook may answer, and what clients are told of answers that are none."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.kubernetes.apiserver.conversion.metrics import ConversionMetrics
from kumo.kubernetes.apiserver.conversion.review import (
    CALL,
    INVALID,
    MALFORMED,
    BadReview,
    check_object,
    converted_objects,
    question,
)
from kumo.kubernetes.apiserver.conversion.scope import Scope, Wanted

pytestmark = pytest.mark.unit
V1 = {"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1"}
BETA = {"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1beta1"}
META = {"name": "a", "namespace": "n", "uid": "u", "generation": 3, "labels": {"l": "1"}, "annotations": {"k": "v"}}
OBJECT = {"apiVersion": "x.io/v1", "kind": "Foo", "metadata": META, "spec": {"one": 1}}


def _answer(**response: Any) -> dict[str, Any]:
    return {**V1, "response": {"uid": "id", "result": {"status": "Success"}, **response}}


def _made(**more: Any) -> dict[str, Any]:
    return {**OBJECT, "apiVersion": "x.io/v2", **more}


def _with(**meta: Any) -> dict[str, Any]:
    return _made(metadata={**META, **meta})


def test_a_question_names_the_version_and_the_objects() -> None:
    asked = question("v1beta1", "id", "x.io/v2", [OBJECT])
    assert asked["apiVersion"] == "apiextensions.k8s.io/v1beta1"
    assert asked["request"] == {"uid": "id", "desiredAPIVersion": "x.io/v2", "objects": [OBJECT]}


def test_a_good_answer_gives_its_objects() -> None:
    assert converted_objects(_answer(convertedObjects=[1, 2]), "v1", "id") == [1, 2]
    assert converted_objects(_answer(convertedObjects=None), "v1", "id") == []
    # v1beta1 never looked at kind, version and uid.
    beta = {"response": {"convertedObjects": [1], "result": {"status": "Success"}}}
    assert converted_objects(beta, "v1beta1", "id") == [1]


@pytest.mark.parametrize(
    ("body", "message", "kind"),
    [
        (_answer(uid="other"), 'failed: expected response.uid="id", got "other"', MALFORMED),
        (_answer(uid=None), 'failed: expected response.uid="id", got ""', MALFORMED),
        (_answer(result={"status": "Failure", "message": "no way"}), "failed: no way", MALFORMED),
        (
            _answer(result={"status": "Failure"}),
            "failed: response.result.status was 'Failure', not 'Success'",
            MALFORMED,
        ),
        (_answer(result=None), "failed: response.result.status was '', not 'Success'", MALFORMED),
        (V1, "failed: no response provided", MALFORMED),
        (
            {"apiVersion": V1["apiVersion"]},
            "failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, "
            "got apiextensions.k8s.io/v1, Kind=",
            MALFORMED,
        ),
        (BETA, "failed: converting (v1beta1.ConversionReview) to (v1.ConversionReview): unknown conversion", CALL),
        (
            {"kind": "Foo", "apiVersion": "v1"},
            'failed: no kind "Foo" is registered for version "v1" in scheme '
            '"k8s.io/apiserver/pkg/util/webhook/client.go:71"',
            CALL,
        ),
        (
            {**V1, "response": {"convertedObjects": "x"}},
            "failed: json: cannot unmarshal string into Go struct field ConversionResponse.response.convertedObjects "
            "of type []runtime.RawExtension",
            CALL,
        ),
    ],
)
def test_an_answer_that_is_none(body: Any, message: str, kind: str) -> None:
    with pytest.raises(BadReview) as caught:
        converted_objects(body, "v1", "id")
    assert (str(caught.value), caught.value.kind) == (message, kind)


def test_only_labels_and_annotations_of_the_metadata_may_change() -> None:
    made = _with(generation=9, finalizers=["a.b/c"], labels={"new": "2"})
    made["metadata"].pop("annotations")
    found = check_object(OBJECT, made, "x.io/v2")
    assert found["metadata"] == {"name": "a", "namespace": "n", "uid": "u", "generation": 3, "labels": {"new": "2"}}
    assert list(found)[:3] == ["apiVersion", "kind", "metadata"]
    assert OBJECT["metadata"] is META and META["annotations"] == {"k": "v"}


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (_made(apiVersion="x.io/v3"), "returned invalid object at index 0: invalid groupVersion (expected x.io/v2, "
         "received x.io/v3)"),
        (_made(kind="Bar"), "returned invalid object at index 0: invalid kind (expected Foo, received Bar)"),
        (_with(name="b"), "returned invalid object: must have the same name: a != b"),
        (_with(namespace="m"), "returned invalid object: must have the same namespace: n != m"),
        (_with(uid="w"), "returned invalid object: must have the same UID: u != w"),
        (_made(metadata="x"), "returned invalid object: must have the same name: a != "),
        (_with(labels=["a"]), "returned invalid metadata: invalid metadata.labels of type []interface {} in converted "
         "object"),
        (_with(labels={"a": 5}), "returned invalid metadata: metadata.labels[a] must be a string, but is int64 in "
         "converted object"),
        (None, "unexpected end of JSON input"),
        ("x", "json: cannot unmarshal string into Go value of type map[string]interface {}"),
        ({"apiVersion": "x.io/v2"}, """Object 'Kind' is missing in '{"apiVersion":"x.io/v2"}'"""),
    ],
)  # fmt: skip
def test_an_object_that_is_not_the_one(made: Any, message: str) -> None:
    with pytest.raises(BadReview) as caught:
        check_object(OBJECT, made, "x.io/v2")
    assert (str(caught.value), caught.value.kind) == (message, INVALID)


@pytest.mark.parametrize("key", ["labels", "annotations"])
def test_new_labels_and_annotations_are_checked(key: str) -> None:
    with pytest.raises(BadReview, match=r"^returned invalid metadata: metadata\.(labels|annotation): Invalid value"):
        check_object(OBJECT, _with(**{key: {"bad key!": "x"}}), "x.io/v2")
    bad = {**OBJECT, "metadata": {**META, key: {"bad key!": "x"}}}
    check_object(bad, _with(**{key: {"bad key!": "x"}}), "x.io/v2")  # What was there before may stay.


class _Doubling:
    def __init__(self) -> None:
        self.calls: list[tuple[list[Any], str]] = []

    async def convert(self, objects: list[Any], version: str) -> list[Any]:
        self.calls.append((objects, version))
        return [{"n": obj["n"] * 2} for obj in objects]


async def test_what_is_wanted_is_converted_and_the_work_begun_again() -> None:
    scope, converter, runs = Scope(), _Doubling(), []

    def work() -> int:
        runs.append(1)
        first = scope.converted(converter, {"n": 1}, "v2")
        first["n"] += 1  # A copy of its own.
        second = scope.converted(converter, first, "v2")
        return int(second["n"] + scope.converted(converter, {"n": 1}, "v2")["n"])

    assert await scope.settle(work) == 8
    assert len(runs) == 3 and len(converter.calls) == 2
    with pytest.raises(Wanted):
        work()  # Nothing is known outside.


def test_metrics_have_upstreams_names() -> None:
    metrics = ConversionMetrics()
    assert metrics.lines() == []
    metrics.observe("foos.x.io", "v1", "v2", "", 0.003)
    metrics.observe("foos.x.io", "v1", "v2", CALL, 40.0)
    text = "\n".join(metrics.lines())
    labels = 'crd_name="foos.x.io",from_version="v1",to_version="v2",succeeded="true"'
    assert f'apiserver_crd_conversion_webhook_duration_seconds_bucket{{{labels},le="0.004"}} 1' in text
    assert f'apiserver_crd_conversion_webhook_duration_seconds_bucket{{{labels},le="0.002"}} 0' in text
    failure = 'result="failure",failure_type="conversion_webhook_call_failure"'
    assert f"apiserver_conversion_webhook_request_total{{{failure}}} 1" in text
    metrics.forget("foos.x.io")
    assert "crd_name" not in "\n".join(metrics.lines())
