"""schemathesis, from an environment of its own, against the OpenAPI documents that the API server serves."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import structlog

from kumo.api.resources import CRDS
from kumo.machinery.client import Client
from support.apiserver import RunningApiServer, running_apiserver
from support.custom_definitions import definition, listing, objects

pytestmark = pytest.mark.component
_ROOT = Path(__file__).resolve().parents[3]
_TOOL = _ROOT / ".clients" / "kubernetes" / "bin" / "st"
_HOOKS = _ROOT / "tests" / "support" / "kubernetes_clients"
_SECONDS = 120.0
"""After how long a run is given up; it takes about fifteen on a quiet machine."""
_ASKED = {
    "api/v1": r"/api/v1/namespaces/\{namespace\}/(configmaps|services|pods|serviceaccounts/\{name\}/token)"
    r"(/\{name\}(/status|/eviction|/binding)?)?",
    "apis/apps/v1": r"/apis/apps/v1/namespaces/\{namespace\}/deployments(/\{name\}(/scale)?)?",
    "apis/authentication.k8s.io/v1": r"/apis/authentication.k8s.io/v1/[a-z]+",
    "apis/authorization.k8s.io/v1": r"/apis/authorization.k8s.io/v1/.*[a-z]+",
    "apis/shapes.kumo.dev/v1": r"/apis/shapes.kumo.dev/v1/.+",
}
"""Served documents, and which of their paths are asked."""
_ENDLESS = ("watch", "follow")
_SENT = (
    "application/json",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
_LARGE = ("Pod", "Deployment")
"""Kinds whose schemas take schemathesis seconds for every operation: they are created and patched, not replaced."""
_SHAPE = objects(
    {
        "spec": objects(
            {
                "size": {"type": "integer", "minimum": 1, "maximum": 9},
                "name": {"type": "string", "maxLength": 8},
                "at": {"x-kubernetes-int-or-string": True},
                "ports": listing(objects({"port": {"type": "integer"}}, required=["port"]), keys=["port"]),
            }
        )
    }
)


def _bounded(item: dict[str, Any]) -> dict[str, Any]:
    """A path without what deletes all there is, and without what has no end.

    Parameters of the query only where there is no body: one that is refused would hide what the body does.
    """
    methods: dict[str, Any] = {}
    for method, operation in item.items():
        if method == "parameters" or operation.get("x-kubernetes-action") == "deletecollection":
            continue
        if method == "put" and operation.get("x-kubernetes-group-version-kind", {}).get("kind") in _LARGE:
            continue
        body = "requestBody" in operation and method != "delete"
        own = [p for p in operation.get("parameters", ()) if p["in"] == "path" or not body]
        methods[method] = {**operation, "parameters": [p for p in own if p["name"] not in _ENDLESS]}
        if "requestBody" in operation:
            content = operation["requestBody"]["content"]
            sent = {media: value for media, value in content.items() if media in _SENT}
            sent = sent or {_SENT[0]: content["*/*"]}
            methods[method]["requestBody"] = {**operation["requestBody"], "content": sent}
    shared = [p for p in item.get("parameters", ()) if p["in"] == "path"]
    return {**methods, "parameters": shared}


async def _documents(client: Client) -> dict[str, Any]:
    """One document of the asked paths of all the served ones; what they call the same is the same."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for name, pattern in _ASKED.items():
        served = await client.request("GET", f"/openapi/v3/{name}")
        found = {path: item for path, item in served["paths"].items() if re.fullmatch(pattern, path)}
        assert found, f"/openapi/v3/{name} has none of {pattern}"
        paths |= {path: _bounded(item) for path, item in found.items()}
        schemas |= served["components"]["schemas"]
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


async def _objects(client: Client) -> None:
    """One object of each asked resource, with the name that the hooks ask for; the pod survives its eviction."""
    labels = {"app": "fuzzed"}
    spec = {"containers": [{"name": "a", "image": "registry.example/a"}]}
    made: dict[str, dict[str, Any]] = {
        "/api/v1/namespaces/default/configmaps": {"data": {"a": "b"}},
        "/api/v1/namespaces/default/serviceaccounts": {},
        "/api/v1/namespaces/default/services": {"spec": {"ports": [{"port": 80}]}},
        "/api/v1/namespaces/default/pods": {"metadata": {"finalizers": ["kumo.dev/held"]}, "spec": spec},
        "/apis/apps/v1/namespaces/default/deployments": {
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}}
        },
        "/apis/shapes.kumo.dev/v1/namespaces/default/shapes": {
            "apiVersion": "shapes.kumo.dev/v1",
            "kind": "Shape",
            "spec": {"size": 1},
        },
    }
    for path, body in made.items():
        await client.request("POST", path, body={**body, "metadata": {"name": "fuzzed", **body.get("metadata", {})}})


async def _run(server: RunningApiServer, schema: Path, cases: Path) -> tuple[int, str]:
    """The exit code of schemathesis and what it printed."""
    words = """
        --checks not_a_server_error,kubernetes_answer --phases fuzzing --mode all --max-examples 10 --seed 36
        --generation-database none --no-shrink --suppress-health-check all --workers 1
        --warnings off --request-timeout 10 --continue-on-failure --no-color
    """
    process = await asyncio.create_subprocess_exec(
        str(_TOOL),
        "run",
        str(schema),
        f"--url={server.url}",
        f"--tls-verify={server.ca}",
        f"--request-cert={server.pki / 'admin.crt'}",
        f"--request-cert-key={server.pki / 'admin.key'}",
        *words.split(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=schema.parent,
        env={**os.environ, "PYTHONPATH": str(_HOOKS), "SCHEMATHESIS_HOOKS": "refusals", "CASES": str(cases)},
    )
    try:
        async with asyncio.timeout(_SECONDS):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    """Never a 5xx; a refusal is a Status of its code; a success is what the document declares; no trace in the log."""
    async with running_apiserver(tmp_path, https=True) as server:
        await server.client.create(CRDS, definition("Shape", _SHAPE))
        await _objects(server.client)
        schema, cases = tmp_path / "schema.json", tmp_path / "cases"
        document = await _documents(server.client)
        schema.write_text(json.dumps(document))
        with structlog.testing.capture_logs() as logs:
            code, output = await _run(server, schema, cases)
    assert code == 0, output[-20_000:]
    assert not [entry for entry in logs if "exc_info" in entry], logs
    lines = [line.rsplit(" ", 1) for line in cases.read_text().splitlines()]
    answers = Counter(int(code) // 100 for _, code in lines)
    assert answers[2] > 100 and answers[4] > 100 and set(answers) == {2, 4}, answers
    asked = {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item}
    assert {what for what, _ in lines} == {what for what in asked if not what.startswith("PARAMETERS")}
