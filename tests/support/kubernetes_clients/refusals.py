"""Hooks of schemathesis: what every answer of a Kubernetes API server must be, whatever was asked.

    SCHEMATHESIS_HOOKS=refusals CASES=FILE st run SCHEMA --checks not_a_server_error,kubernetes_answer

Every answer adds a line "METHOD PATH CODE" to FILE, PATH as the document writes it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import schemathesis

CASES = Path(os.environ["CASES"])
NAME = "fuzzed"
"""The objects that are there, one of each asked resource, in the namespace default."""


@schemathesis.hook
def map_path_parameters(context: Any, parameters: Any) -> Any:
    """Ask for objects that are there; deletions, which come last, name what schemathesis likes."""
    if not isinstance(parameters, dict):
        return parameters
    known = {"namespace": "default"} | ({} if context.operation.method.upper() == "DELETE" else {"name": NAME})
    return {**parameters, **{name: value for name, value in known.items() if name in parameters}}


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Say the right kind (unless it is not even a text) and name, so that the rest of the body is looked at."""
    if not isinstance(body, dict):
        return body
    kind = context.operation.definition.raw.get("x-kubernetes-group-version-kind", {})
    body = dict(body)
    if isinstance(body.get("kind", ""), str) and kind:
        body["kind"] = kind["kind"]
    if isinstance(body.get("apiVersion", ""), str) and kind:
        body["apiVersion"] = "/".join(filter(None, (kind["group"], kind["version"])))
    if isinstance(metadata := body.get("metadata", {}), dict):
        created = context.operation.method.upper() == "POST" and "{name}" not in context.operation.path
        body["metadata"] = metadata | ({"generateName": "made-"} if created else {"name": NAME})
        for name in ("name",) * created + ("namespace", "resourceVersion", "uid"):
            body["metadata"].pop(name, None)
    return body


@schemathesis.check
def kubernetes_answer(_: Any, response: Any, case: Any) -> None:
    """A refusal is a Status of its code; a success has a declared code and a declared content type."""
    code = response.status_code
    with CASES.open("a") as cases:
        cases.write(f"{case.method} {case.path} {code}\n")
    media = (response.headers.get("content-type") or [""])[0].partition(";")[0]
    if code < 400:
        declared = case.operation.definition.raw["responses"]
        assert str(code) in declared, f"{code} is not declared: {sorted(declared)}"
        content = declared[str(code)].get("content", {})
        assert not content or media in content, f"{media} is not declared: {sorted(content)}"
        return
    if case.method == "HEAD":
        return
    assert media == "application/json", f"a refusal in {media!r}"
    status = response.json()
    assert (status.get("kind"), status.get("apiVersion"), status.get("status")) == ("Status", "v1", "Failure"), status
    assert status.get("code") == code, f"a Status of {status.get('code')} in an answer of {code}"
    assert status.get("reason") and "Traceback" not in status.get("message", "Traceback"), status
