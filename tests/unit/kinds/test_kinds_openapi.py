"""OpenAPI documents: whole, consistent, and with what kubectl looks for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from kumo.api.builtin import RESOURCE_TYPES
from kumo.api.resources import ResourceType
from kumo.kubernetes.apiserver.openapi import Documents, Served

pytestmark = pytest.mark.unit

WIDGET = ResourceType("x.io", "v1", "Widget", "widgets", "widget", True)
SCHEMA = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}}}


def documents(*more: Served) -> Documents:
    return Documents([*map(Served, RESOURCE_TYPES), *more], "v1.36.0")


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value and isinstance(value["$ref"], str):
            yield value["$ref"]
        for child in value.values():
            yield from references(child)
    elif isinstance(value, list):
        for child in value:
            yield from references(child)


def load(found: Documents, path: str) -> Any:
    document = found.group_version(path)
    assert document is not None
    return json.loads(document.body)


def test_index_names_every_group_version() -> None:
    found = documents()
    paths = json.loads(found.index.body)["paths"]
    assert set(paths) == {"api/v1", *(f"apis/{t.group}/{t.version}" for t in RESOURCE_TYPES if t.group)}
    url = paths["apis/apps/v1"]["serverRelativeURL"]
    assert url == f"/openapi/v3/apis/apps/v1?hash={found.etag('apis/apps/v1')}"
    assert found.group_version("apis/nope/v1") is None


@pytest.mark.parametrize("path", ["api/v1", "apis/apps/v1", "apis/autoscaling/v1", "apis/x.io/v1"])
def test_documents_refer_to_what_they_contain(path: str) -> None:
    document = load(documents(Served(WIDGET, True, SCHEMA)), path)
    schemas = document["components"]["schemas"]
    assert {r.removeprefix("#/components/schemas/") for r in references(document)} <= set(schemas)


def test_operations_say_what_kubectl_asks() -> None:
    item = load(documents(), "apis/apps/v1")["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]
    patch = item["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "kind": "Deployment", "version": "v1"}
    assert patch["x-kubernetes-action"] == "patch"
    assert {"fieldValidation", "dryRun", "fieldManager", "force"} <= {p["name"] for p in patch["parameters"]}
    assert {p["name"] for p in item["parameters"]} == {"name", "namespace", "pretty"}
    assert patch["operationId"] == "patchAppsV1NamespacedDeployment"


def test_custom_kinds() -> None:
    document = load(documents(Served(WIDGET, True, SCHEMA)), "apis/x.io/v1")
    widget = document["components"]["schemas"]["io.x.v1.Widget"]
    assert widget["x-kubernetes-group-version-kind"] == [{"group": "x.io", "version": "v1", "kind": "Widget"}]
    assert list(widget["properties"]) == ["apiVersion", "kind", "metadata", "spec"]
    assert "io.x.v1.WidgetList" in document["components"]["schemas"]
    assert "/apis/x.io/v1/namespaces/{namespace}/widgets" in document["paths"]


def test_hashes_follow_the_content() -> None:
    one = documents(Served(WIDGET, True, SCHEMA))
    other = documents(Served(WIDGET, True, {"type": "object"}))
    assert one.etag("api/v1") == other.etag("api/v1")
    assert one.etag("apis/x.io/v1") != other.etag("apis/x.io/v1")


def test_swagger() -> None:
    document = json.loads(documents(Served(WIDGET, True, SCHEMA)).swagger.body)
    assert {r.removeprefix("#/definitions/") for r in references(document)} <= set(document["definitions"])
    pod = document["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert pod["x-kubernetes-patch-merge-key"] == "name"
