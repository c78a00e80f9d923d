"""The kind `Image`, and who may do what with it in Kubernetes."""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object
from kumo.openstack.common import names
from kumo.openstack.common.install import crd

_API = "rbac.authorization.k8s.io"
_TEXT = {"type": "string"}
_NUMBER = {"type": "integer", "minimum": 0}
_FLAG = {"type": "boolean"}


def definitions() -> list[Object]:
    """Image. Its status belongs to Glance: size, checksums and state of the content."""
    spec: dict[str, Any] = {
        "name": _TEXT,
        "visibility": {**_TEXT, "enum": ["public", "private", "shared", "community"]},
        "diskFormat": _TEXT,
        "containerFormat": _TEXT,
        "minRAM": {**_NUMBER, "description": "MiB that a machine must have."},
        "minDisk": {**_NUMBER, "description": "GiB that a flavor's disk must have."},
        "protected": _FLAG,
        "hidden": _FLAG,
        "tags": {"type": "array", "items": _TEXT},
        "members": {"type": "object", "additionalProperties": _TEXT},
        "properties": {"type": "object", "additionalProperties": _TEXT},
    }
    columns = [
        ("Name", ".spec.name"),
        ("Format", ".spec.diskFormat"),
        ("State", ".status.state"),
        ("Size", ".status.size"),
        ("Visibility", ".spec.visibility"),
    ]
    return [crd(names.IMAGES, "Image", {"properties": spec}, columns, status=True)]


def roles() -> list[Object]:
    """Images for those who may edit and view a namespace; their status is not among it."""
    found = []
    for name, verbs, to in (
        (
            "edit",
            ["create", "update", "patch", "delete", "deletecollection", "get", "list", "watch"],
            ("admin", "edit"),
        ),
        ("view", ["get", "list", "watch"], ("view",)),
    ):
        labels = {f"{_API}/aggregate-to-{target}": "true" for target in to}
        meta = {"name": f"openstack:images-{name}", "labels": labels}
        rules = [{"apiGroups": [names.IMAGES.group], "resources": [names.IMAGES.resource], "verbs": verbs}]
        made: Object = {"apiVersion": f"{_API}/v1", "kind": "ClusterRole", "metadata": meta, "rules": rules}
        found.append(made)
    return found
