"""The audit policy: what it says, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.attributes import RequestInfo
from kumo.kubernetes.apiserver.audit import AuditError, events
from kumo.kubernetes.apiserver.audit.log import LogBackend
from kumo.kubernetes.apiserver.audit.policy import LEVELS, Policy, load_policy
from kumo.machinery.http import Request, Response

pytestmark = pytest.mark.unit
JANE = UserInfo("jane", ("dev",))
GET_SECRET = RequestInfo("get", "/api/v1/namespaces/n/secrets/s", "", "v1", "n", "secrets", "", "s")
HEALTH = RequestInfo("get", "/healthz/etcd")
EXEC = RequestInfo("create", "/api/v1/namespaces/n/pods/p/exec", "", "v1", "n", "pods", "exec", "p")


@pytest.mark.parametrize(
    ("rule", "info", "level"),
    [
        ({}, GET_SECRET, "Metadata"),
        ({"users": ["jane"]}, GET_SECRET, "Metadata"),
        ({"users": ["joe"]}, GET_SECRET, "None"),
        ({"userGroups": ["dev"]}, GET_SECRET, "Metadata"),
        ({"userGroups": ["ops"]}, GET_SECRET, "None"),
        ({"verbs": ["list"]}, GET_SECRET, "None"),
        ({"namespaces": ["n"]}, GET_SECRET, "Metadata"),
        ({"namespaces": [""]}, GET_SECRET, "None"),
        ({"namespaces": ["n"]}, HEALTH, "None"),
        ({"resources": [{"resources": ["secrets"]}]}, GET_SECRET, "Metadata"),
        ({"resources": [{"group": "*"}]}, GET_SECRET, "Metadata"),
        ({"resources": [{"group": "apps"}]}, GET_SECRET, "None"),
        ({"resources": [{"resources": ["secrets"], "resourceNames": ["t"]}]}, GET_SECRET, "None"),
        ({"resources": [{"resources": ["pods"]}]}, EXEC, "None"),
        ({"resources": [{"resources": ["pods/exec"]}]}, EXEC, "Metadata"),
        ({"resources": [{"resources": ["pods/*"]}]}, EXEC, "Metadata"),
        ({"resources": [{"resources": ["*/exec"]}]}, EXEC, "Metadata"),
        ({"nonResourceURLs": ["/healthz*"]}, HEALTH, "Metadata"),
        ({"nonResourceURLs": ["/healthz"]}, HEALTH, "None"),
        ({"nonResourceURLs": ["*"]}, GET_SECRET, "None"),
    ],
)
def test_rules(rule: dict[str, Any], info: RequestInfo, level: str) -> None:
    policy = Policy({"rules": [{"level": "Metadata", **rule}]})
    assert LEVELS[policy.decide(JANE, info).level] == level


def test_the_first_rule_decides_and_stages_add_up() -> None:
    policy = Policy(
        {
            "omitStages": ["RequestReceived"],
            "omitManagedFields": True,
            "rules": [{"level": "Request", "omitStages": ["Panic"], "omitManagedFields": False}, {"level": "None"}],
        }
    )
    found = policy.decide(None, HEALTH)
    assert (LEVELS[found.level], found.omit) == ("Request", {"RequestReceived", "Panic"})
    assert not found.omit_managed_fields


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({}, "apiVersion audit.k8s.io/v1"),
        ({"rules": []}, "0 rules"),
        ({"rules": [{}]}, "rules[0].level: Required value"),
        ({"rules": [{"level": "All"}]}, 'Unsupported value: "All"'),
        ({"rules": [{"level": "None", "verbs": "get"}]}, "rules[0].verbs must be a list of strings"),
        ({"rules": [{"level": "None", "nonResourceURLs": ["x"]}]}, "must begin with a '/'"),
        ({"rules": [{"level": "None", "nonResourceURLs": ["/*x"]}]}, "must be the final character"),
        ({"rules": [{"level": "None", "omitStages": ["Later"]}]}, "allowed stages are"),
        ({"rules": [{"level": "None", "resources": [{"resourceNames": ["x"]}]}]}, "requires at least one resource"),
        ({"rules": [{"level": "None", "nonResourceURLs": ["/x"], "namespaces": ["n"]}]}, "cannot apply to both"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, document: dict[str, Any], why: str) -> None:
    path = tmp_path / "policy.yaml"
    kind = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy"} if document else {}
    path.write_text(yaml.safe_dump({**kind, **document}))
    with pytest.raises(AuditError) as found:
        load_policy(path)
    assert why in str(found.value) and str(path) in str(found.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="can't be read"):
        load_policy(tmp_path / "nope")
    (tmp_path / "x").write_bytes(b"{\xff")
    with pytest.raises(AuditError, match="not YAML"):
        load_policy(tmp_path / "x")


def test_the_log_is_set_aside_when_it_has_grown(tmp_path: Path) -> None:
    log = LogBackend(str(tmp_path / "deep" / "audit.log"), max_backups=2)
    log._limit = 100
    for number in range(8):
        log.write([b"%d" % number * 60])
    files = sorted((tmp_path / "deep").iterdir())
    assert len(files) == 3 and all(f.stat().st_mode & 0o777 == 0o600 for f in files)
    assert (tmp_path / "deep" / "audit.log").read_bytes() == b"7" * 60 + b"\n"


def test_an_event_that_cannot_be_written_is_counted(tmp_path: Path) -> None:
    log = LogBackend(str(tmp_path / "audit.log"))
    log._fd = 9999
    log.write([b"x", b"y"])
    assert log.errors == 2


def test_what_an_event_says_of_a_request() -> None:
    headers = {"x-forwarded-for": "1.1.1.1, 2.2.2.2", "user-agent": "x" * 2000}
    body = b'{"metadata":{"name":"made","uid":"u","managedFields":[{}]}}'
    request = Request("POST", "/api/v1/a b", "x=1", headers, body, remote="3.3.3.3")
    assert events.source_ips(request) == ["1.1.1.1", "2.2.2.2", "3.3.3.3"]
    assert events.user_agent(request).endswith("...TRUNCATED")
    assert events.request_uri(request) == "/api/v1/a%20b?x=1"
    info = RequestInfo("create", "", "apps", "v1", "n", "deployments")
    assert events.object_reference(info, request) == {
        "resource": "deployments",
        "namespace": "n",
        "name": "made",
        "uid": "u",
        "apiGroup": "apps",
        "apiVersion": "v1",
    }
    assert events.request_object(request, "create", True) == {"metadata": {"name": "made", "uid": "u"}}
    assert events.request_object(Request("DELETE", "/", content=b'{"kind":"x"}'), "delete", False) == {
        "kind": "DeleteOptions",
        "apiVersion": "meta.k8s.io/__internal",
    }
    assert events.request_object(Request("PUT", "/", content=b"\xff\xfe"), "update", False) is None
    assert events.answer_bytes(Response(200, [b"{", b"}"])) == b"{}"
    refusal = b'{"kind":"Status","apiVersion":"v1","status":"Failure","code":404}'
    assert events.response_status(404, refusal) == {"metadata": {}, "status": "Failure", "code": 404}
    assert events.response_status(200, b'{"kind":"Pod"}') == {"metadata": {}, "code": 200}
