"""Which requests rules match; what an answer must look like."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api.resources import GVK, GVR
from kumo.kubernetes.apiserver.admission.matching import Asked, find_target, parse_rules
from kumo.kubernetes.apiserver.admission.webhooks.reviews import BadAnswer, check_answer, verdict

pytestmark = pytest.mark.unit

PODS = GVR("", "v1", "pods")
POD = GVK("", "v1", "Pod")


def _rule(**more: Any) -> dict[str, Any]:
    every: dict[str, Any] = {"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["pods"], "operations": ["*"]}
    return {**every, **more}


@pytest.mark.parametrize(
    ("rule", "subresource", "operation", "matches"),
    [
        (_rule(), "", "CREATE", True),
        (_rule(), "status", "UPDATE", False),
        (_rule(resources=["pods/*"]), "status", "UPDATE", True),
        (_rule(resources=["pods/*"]), "", "CREATE", True),
        (_rule(resources=["*/*"]), "exec", "CONNECT", True),
        (_rule(resources=["*"]), "exec", "CONNECT", False),
        (_rule(resources=["*/exec"]), "exec", "CONNECT", True),
        (_rule(operations=["DELETE"]), "", "CREATE", False),
        (_rule(apiGroups=["apps"]), "", "CREATE", False),
        (_rule(apiVersions=["v2"]), "", "CREATE", False),
        (_rule(scope="Cluster"), "", "CREATE", False),
        (_rule(scope="Namespaced"), "", "CREATE", True),
        (_rule(resourceNames=["a"]), "", "CREATE", True),
        (_rule(resourceNames=["b"]), "", "CREATE", False),
    ],
)
def test_rules(rule: dict[str, Any], subresource: str, operation: str, matches: bool) -> None:
    asked = Asked(PODS, POD, subresource, operation, False)
    assert (find_target(parse_rules([rule]), asked, None, "a") is not None) is matches


ASKED = {"apiVersion": "admission.k8s.io/v1", "request": {"uid": "u"}}


def _answer(**response: Any) -> dict[str, Any]:
    return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response}


@pytest.mark.parametrize(
    ("answer", "mutating", "message"),
    [
        ({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}, False, "webhook response was absent"),
        (_answer(uid="x", allowed=True), False, 'expected response.uid="u", got "x"'),
        (_answer(uid="u", patch="e30="), False, "validating webhook may not return response.patch"),
        (_answer(uid="u", patchType="JSONPatch"), False, "validating webhook may not return response.patchType"),
        (_answer(uid="u", patch="e30="), True, "webhook returned response.patch but not response.patchType"),
        (_answer(uid="u", patchType="JSONPatch"), True, "webhook returned response.patchType but not response.patch"),
    ],
)
def test_bad_verdicts(answer: dict[str, Any], mutating: bool, message: str) -> None:
    with pytest.raises(BadAnswer) as caught:
        verdict(check_answer(answer, "v1"), ASKED, mutating=mutating)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("text", "couldn't get version/kind; json parse error: json: cannot unmarshal string into Go value of type"),
        ({**_answer(), "kind": "Foo"}, 'no kind "Foo" is registered for version "admission.k8s.io/v1"'),
        ({**_answer(), "apiVersion": "admission.k8s.io/v1beta1"}, "converting (v1beta1.AdmissionReview) to (v1"),
        (
            _answer(allowed="yes"),
            "json: cannot unmarshal string into Go struct field AdmissionResponse.response.allowed",
        ),
        (_answer(warnings=[1]), "json: cannot unmarshal number into Go struct field"),
        (_answer(auditAnnotations={"a": 1}), "json: cannot unmarshal number into Go struct field"),
        (_answer(status={"code": "x"}), "json: cannot unmarshal string into Go struct field"),
        (_answer(patch="!!!"), "illegal base64 data at input byte 0"),
    ],
)
def test_bad_answers(answer: Any, message: str) -> None:
    with pytest.raises(BadAnswer) as caught:
        check_answer(answer, "v1")
    assert str(caught.value).startswith(message)


def test_an_old_review_checks_less() -> None:
    asked = {"apiVersion": "admission.k8s.io/v1beta1", "request": {"uid": "u"}}
    answer = {**_answer(allowed=True, patch="W10="), "apiVersion": "admission.k8s.io/v1beta1"}
    found = verdict(check_answer(answer, "v1beta1"), asked, mutating=True)
    assert found.allowed
    assert found.patch == b"[]"
    assert found.patch_type == "JSONPatch"
