"""What is remembered of pod specs: what is good stays good, and nothing else is taken for it."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.kubernetes.apiserver.kinds.pod.known_specs import LONGEST, MOST, KnownSpecs, spec_text
from kumo.kubernetes.apiserver.kinds.pods import rules

pytestmark = pytest.mark.unit


def _spec(image: str = "a", token: str = "", **more: Any) -> dict[str, Any]:
    mounts = [{"name": token, "mountPath": "/token"}] if token else []
    container = {
        "name": "c",
        "image": image,
        "imagePullPolicy": "Always",
        "terminationMessagePolicy": "File",
        "volumeMounts": mounts,
    }
    return {
        "containers": [container],
        "volumes": [{"name": token, "emptyDir": {}}] if token else [],
        "restartPolicy": "Always",
        "dnsPolicy": "ClusterFirst",
        "terminationGracePeriodSeconds": 30,
        **more,
    }


def _pod(spec: dict[str, Any], **meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "namespace": "n", **meta}, "spec": spec}


def test_a_spec_is_known_when_it_came_twice() -> None:
    known = KnownSpecs()
    answers = []
    for _ in range(3):
        spec = _spec()
        answers.append((known.is_good(spec), known.is_silent(spec)))
        known.add_good(spec)
        known.add_silent(spec)
    assert answers == [(False, False), (False, False), (True, True)]
    assert not known.is_good(_spec("b"))


def test_good_is_not_silent() -> None:
    known = KnownSpecs()
    for _ in range(2):
        known.add_good(_spec())
    assert known.is_good(_spec())
    assert not known.is_silent(_spec())


def test_the_least_lately_judged_goes() -> None:
    known = KnownSpecs()
    for number in range(MOST + 1):
        if number == MOST:
            assert known.is_good(_spec("0"))
        for _ in range(2):
            known.add_good(_spec(str(number)))
    assert known.is_good(_spec("0"))
    assert not known.is_good(_spec("1"))
    assert known.is_good(_spec(str(MOST)))


def test_what_others_judge_meanwhile_is_not_mistaken() -> None:
    known, mine, other = KnownSpecs(), _spec("mine"), _spec("other")
    for _ in range(2):
        assert not known.is_good(mine)
        assert not known.is_good(other)
        known.add_good(mine)
    assert known.is_good(_spec("mine"))
    assert not known.is_good(_spec("other"))


def test_the_made_up_name_of_the_token_does_not_count() -> None:
    assert spec_text(_spec(token="kube-api-access-bcd24")) == spec_text(_spec(token="kube-api-access-zxw99"))
    assert spec_text(_spec(token="kube-api-access-bcd24")) != spec_text(_spec(token="kube-api-access-aaaaa"))
    other = _spec(token="kube-api-access-bcd24")
    other["containers"][0]["volumeMounts"][0]["name"] = "kube-api-access-zxw99"
    assert spec_text(other) != spec_text(_spec(token="kube-api-access-bcd24"))


def test_what_depends_on_more_than_the_spec_has_no_text() -> None:
    assert not spec_text(_spec(resourceClaims=[{"name": "a"}]))
    assert not spec_text(_spec(volumes=[{"name": "v", "ephemeral": {}}]))
    assert not spec_text(_spec("x" * LONGEST))
    known = KnownSpecs()
    for _ in range(3):
        known.add_good(_spec("x" * LONGEST))
    assert not known.is_good(_spec("x" * LONGEST))


def test_pods_are_judged_as_without_a_memory() -> None:
    pods = next(found for gvk, found in rules().items() if gvk.kind == "Pod")
    good = [pods.validate(_pod(_spec(token=f"kube-api-access-bcd2{n}"))) for n in (4, 5, 6)]
    assert good == [[], [], []]
    dangling = _spec(token="kube-api-access-bcd27")
    dangling["containers"][0]["volumeMounts"][0]["name"] = "kube-api-access-bcd24"
    assert [cause.field for cause in pods.validate(_pod(dangling))] == ["spec.containers[0].volumeMounts[0].name"]
    for _ in range(3):
        bad = pods.validate(_pod(_spec(restartPolicy="Sometimes")))
        assert [cause.field for cause in bad] == ["spec.restartPolicy"]


def test_warnings_of_annotations_are_not_forgotten() -> None:
    pods = next(found for gvk, found in rules().items() if gvk.kind == "Pod")
    assert pods.warn is not None
    for _ in range(3):
        pod = _pod(_spec())
        assert pods.validate(pod) == [] and pods.warn(pod, None) == []
    pod = _pod(_spec(), annotations={"scheduler.alpha.kubernetes.io/critical-pod": ""})
    assert pods.validate(pod) == []
    assert len(pods.warn(pod, None)) == 1
    doubled = _spec(imagePullSecrets=[{"name": "a"}, {"name": "a"}])
    for _ in range(3):
        pod = _pod(doubled)
        assert pods.validate(pod) == []
        assert len(pods.warn(pod, None)) == 1
