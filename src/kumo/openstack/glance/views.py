"""How an image looks in Glance's API, and which fields a client may write. Pure."""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object, name_of
from kumo.openstack.common.errors import ApiError
from kumo.openstack.common.validate import Complaint, check

_TEXT_OR_NULL = {"type": ["null", "string"], "maxLength": 255}
VISIBILITIES = ("community", "public", "private", "shared")
CONTAINER_FORMATS = (None, "ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed")
DISK_FORMATS = (None, "ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop")
STATES = (
    "queued", "saving", "active", "killed", "deleted", "uploading", "importing", "pending_delete", "deactivated",
)  # fmt: skip
WRITABLE: dict[str, dict[str, Any]] = {
    "id": {"type": "string", "pattern": "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}"
           "-([0-9a-fA-F]){12}$"},
    "name": _TEXT_OR_NULL,
    "visibility": {"type": "string", "enum": VISIBILITIES},
    "protected": {"type": "boolean"},
    "os_hidden": {"type": "boolean"},
    "owner": _TEXT_OR_NULL,
    "container_format": {"type": ["null", "string"], "enum": CONTAINER_FORMATS},
    "disk_format": {"type": ["null", "string"], "enum": DISK_FORMATS},
    "min_ram": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
    "min_disk": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
    "tags": {"type": "array", "items": {"type": "string", "maxLength": 255}, "maxItems": 128},
}  # fmt: skip
READ_ONLY = ("status", "size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value", "created_at", "updated_at",
             "self", "file", "schema", "direct_url", "stores")  # fmt: skip
RESERVED = ("deleted", "deleted_at", "location", "locations", "is_public")
_SCHEMA = {"type": "object", "properties": WRITABLE, "additionalProperties": {"type": "string", "maxLength": 65535}}
_FIELDS = {
    "name": "name",
    "visibility": "visibility",
    "protected": "protected",
    "os_hidden": "hidden",
    "container_format": "containerFormat",
    "disk_format": "diskFormat",
    "min_ram": "minRAM",
    "min_disk": "minDisk",
    "tags": "tags",
}


def check_fields(given: dict[str, Any]) -> None:
    """Raise ApiError 400 or 403 unless these are fields that a client may write, with such values."""
    for name in given:
        if name in READ_ONLY:
            raise ApiError(403, f"Attribute '{name}' is read-only.")
        if name in RESERVED:
            raise ApiError(403, f"Attribute '{name}' is reserved.")
    if any(not name or len(name) > 255 for name in given):
        raise ApiError(400, "Property names have from 1 to 255 characters.")
    check(given, _SCHEMA, _schema_message)


def _schema_message(found: Complaint) -> str:
    where = f"\n\nOn instance['{found.field}']:\n    {found.value!r}"
    return f"Provided object does not match schema 'image': {found.message}{where}"


def spec_of(given: dict[str, Any]) -> dict[str, Any]:
    """The `spec` that checked fields make; null takes a field away."""
    spec: dict[str, Any] = {_FIELDS[k]: v for k, v in given.items() if k in _FIELDS and v is not None}
    spec["properties"] = {k: v for k, v in given.items() if k not in WRITABLE}
    if "tags" in spec:
        spec["tags"] = sorted(set(spec["tags"]))
    return spec


def writable(found: Object) -> dict[str, Any]:
    """The fields of an image that a client may write, as the client sees them."""
    spec = found["spec"]
    made: dict[str, Any] = dict(spec.get("properties") or {})
    made |= {
        "name": spec.get("name"),
        "disk_format": spec.get("diskFormat"),
        "container_format": spec.get("containerFormat"),
        "visibility": spec.get("visibility", "shared"),
        "protected": spec.get("protected", False),
        "min_ram": spec.get("minRAM", 0),
        "min_disk": spec.get("minDisk", 0),
        "os_hidden": spec.get("hidden", False),
        "tags": list(spec.get("tags") or ()),
    }
    return made


def state_of(found: Object) -> str:
    """The image's status: queued, saving, active, deactivated."""
    return str((found.get("status") or {}).get("state") or "queued")


def image(found: Object, owner: str) -> dict[str, Any]:
    """An image; `owner` is the project's id."""
    status: dict[str, Any] = found.get("status") or {}
    created = found["metadata"]["creationTimestamp"]
    path = f"/v2/images/{name_of(found)}"
    fields = writable(found)
    fields.pop("tags")
    return fields | {
        "size": status.get("size"),
        "virtual_size": status.get("virtualSize"),
        "status": state_of(found),
        "checksum": status.get("checksum"),
        "owner": owner,
        "os_hash_algo": "sha512" if status.get("sha512") else None,
        "os_hash_value": status.get("sha512"),
        "id": name_of(found),
        "created_at": created,
        "updated_at": status.get("updatedAt") or created,
        "tags": list(found["spec"].get("tags") or ()),
        "self": path,
        "file": f"{path}/file",
        "schema": "/v2/schemas/image",
    }


def image_schema() -> dict[str, Any]:
    """GET /v2/schemas/image."""
    read: dict[str, dict[str, Any]] = {
        "status": {"type": "string", "enum": list(STATES)},
        "size": {"type": ["null", "integer"]},
        "virtual_size": {"type": ["null", "integer"]},
        "checksum": {"type": ["null", "string"], "maxLength": 32},
        "os_hash_algo": {"type": ["null", "string"], "maxLength": 64},
        "os_hash_value": {"type": ["null", "string"], "maxLength": 128},
        "created_at": {"type": "string"},
        "updated_at": {"type": "string"},
        "self": {"type": "string"},
        "file": {"type": "string"},
        "schema": {"type": "string"},
    }
    links = [("self", "{self}"), ("enclosure", "{file}"), ("describedby", "{schema}")]
    return {
        "name": "image",
        "properties": {**WRITABLE, **{k: {**v, "readOnly": True} for k, v in read.items()}},
        "additionalProperties": {"type": "string"},
        "links": [{"rel": rel, "href": href} for rel, href in links],
    }


def images_schema() -> dict[str, Any]:
    """GET /v2/schemas/images."""
    text = {"type": "string"}
    links = [("first", "{first}"), ("next", "{next}"), ("describedby", "{schema}")]
    return {
        "name": "images",
        "properties": {
            "images": {"type": "array", "items": image_schema()},
            "first": text,
            "next": text,
            "schema": text,
        },
        "links": [{"rel": rel, "href": href} for rel, href in links],
    }
