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
    groups = {t.group for t in RESOURCE_TYPES if t.group}
    versions = {f"apis/{t.group}/{t.version}" for t in RESOURCE_TYPES if t.group}
    others = {"api", "apis", "version", "openid/v1/jwks", ".well-known/openid-configuration"}
    assert set(paths) == {"api/v1", *versions, *(f"apis/{group}" for group in groups), *others}
    url = paths["apis/apps/v1"]["serverRelativeURL"]
    assert url == f"/openapi/v3/apis/apps/v1?hash={found.etag('apis/apps/v1')}"
    assert found.group_version("apis/nope/v1") is None


@pytest.mark.parametrize("path", ["api", "apis", "apis/apps", "version", "openid/v1/jwks"])
def test_other_documents_have_one_path(path: str) -> None:
    document = load(documents(), path)
    assert list(document["paths"]) == [f"/{path}/"] and list(document["paths"][f"/{path}/"]) == ["get"]
    schemas = document["components"].get("schemas", {})
    assert {r.removeprefix("#/components/schemas/") for r in references(document)} <= set(schemas)


@pytest.mark.parametrize(
    ("definition", "field", "enum", "default"),
    [
        ("core.v1.ContainerPort", "protocol", ["SCTP", "TCP", "UDP"], "TCP"),
        ("core.v1.Container", "imagePullPolicy", ["Always", "IfNotPresent", "Never"], None),
        ("core.v1.Container", "name", None, ""),
        ("core.v1.Container", "image", None, None),
        ("core.v1.ReplicationControllerSpec", "replicas", None, 1),
        ("core.v1.Pod", "spec", None, {}),
        ("core.v1.AzureDiskVolumeSource", "kind", ["Dedicated", "Managed", "Shared"], "Shared"),
    ],
)
def test_choices_and_defaults_of_fields(definition: str, field: str, enum: Any, default: Any) -> None:
    schema = load(documents(), "api/v1")["components"]["schemas"][f"io.k8s.api.{definition}"]["properties"][field]
    assert (schema.get("enum"), schema.get("default")) == (enum, default)


def test_choices_of_items_stand_at_the_items() -> None:
    schemas = load(documents(), "api/v1")["components"]["schemas"]
    modes = schemas["io.k8s.api.core.v1.PersistentVolumeSpec"]["properties"]["accessModes"]["items"]["enum"]
    assert modes == ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"]


def test_operations_of_pods() -> None:
    paths = load(documents(), "api/v1")["paths"]
    pod = paths["/api/v1/namespaces/{namespace}/pods/{name}"]
    deleted = pod["delete"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    assert deleted == "#/components/schemas/io.k8s.api.core.v1.Pod"
    secret = paths["/api/v1/namespaces/{namespace}/secrets/{name}"]["delete"]["responses"]["200"]["content"]
    assert secret["application/json"]["schema"]["$ref"].endswith("meta.v1.Status")
    log = paths["/api/v1/namespaces/{namespace}/pods/{name}/log"]
    assert log["get"]["responses"]["200"]["content"]["text/plain"] == {"schema": {"type": "string"}}
    assert "tailLines" in [p["name"] for p in log["parameters"]]
    listed = paths["/api/v1/namespaces/{namespace}/pods"]["get"]["responses"]["200"]["content"]
    assert list(listed) == ["application/json", "application/yaml", "application/json;stream=watch"]


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
