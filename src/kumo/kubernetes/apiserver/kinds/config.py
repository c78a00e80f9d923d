"""Secrets, config maps, service accounts."""

from __future__ import annotations

import base64
import json
from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object, annotations_of
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.json_errors import json_error
from kumo.kubernetes.apiserver.kinds.rules import Rules
from kumo.kubernetes.apiserver.kinds.tls_pairs import tls_complaint

_LIMIT = 1024 * 1024
_NEEDED_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_ACCOUNT = "kubernetes.io/service-account.name"
_MOUNTABLE = "kubernetes.io/enforce-mountable-secrets"
_FROZEN = "field is immutable when `immutable` is set"


def _default_secret(obj: Object) -> None:
    """The type, and `stringData` put into `data` (it can be written, but is never read)."""
    obj["type"] = obj.get("type") or "Opaque"
    plain = obj.pop("stringData", None)
    if plain:
        data = obj["data"] = dict(obj.get("data") or {})
        for key, value in plain.items():
            data[key] = base64.b64encode(value.encode()).decode()


def _size(data: dict[str, Any]) -> int:
    total = 0
    for value in data.values():
        text = value or ""
        total += len(text) * 3 // 4 - text.count("=")
    return total


def _keys(path: str, data: dict[str, Any]) -> list[Cause]:
    wrong = {key: errors for key in data if (errors := names.check_config_key(key))}
    return [c for key, errors in wrong.items() for c in fields.each(f"{path}[{key}]", key, errors)]


def _validate_secret(obj: Object) -> list[Cause]:
    data = obj.get("data") or {}
    found = _keys("data", data)
    if _size(data) > _LIMIT:
        found.append(fields.too_long("data", _LIMIT))
    kind = obj.get("type") or ""
    for key in _NEEDED_KEYS.get(kind, ()):
        if key not in data:
            found.append(fields.required(f"data[{key}]"))
        elif key.startswith(".dockerc"):
            found += fields.each(f"data[{key}]", "<secret contents redacted>", _json_complaints(data[key]))
        elif key == "ssh-privatekey" and not data[key]:
            found.append(fields.required(f"data[{key}]"))
    if kind == "kubernetes.io/basic-auth" and "username" not in data and "password" not in data:
        found += [fields.required("data[username]"), fields.required("data[password]")]
    if kind == "kubernetes.io/service-account-token" and not annotations_of(obj).get(_ACCOUNT):
        found.append(fields.required(f"metadata.annotations[{_ACCOUNT}]"))
    return found


def _json_complaints(text: str) -> list[str]:
    """What Go says of base64 that should hold a JSON object."""
    data = base64.b64decode(text)
    if wrong := json_error(data):
        return [wrong]
    found = json.loads(data)
    if found is None or isinstance(found, dict):
        return []
    kinds = {str: "string", list: "array", bool: "bool"}
    kind = kinds.get(type(found), "number")
    return [f"json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"]


def _warn_secret(new: Object, old: Object | None) -> list[str]:
    if new.get("type") != "kubernetes.io/tls":
        return []
    data = new.get("data") or {}
    wrong = tls_complaint(*(base64.b64decode(data.get(key) or "") for key in ("tls.crt", "tls.key")))
    return [wrong] if wrong else []


def _validate_secret_update(new: Object, old: Object) -> list[Cause]:
    found: list[Cause] = []
    if new.get("type") != old.get("type"):
        found.append(fields.immutable("type", new.get("type")))
    return found + _frozen(new, old, "data")


def _frozen(new: Object, old: Object, *keys: str) -> list[Cause]:
    if not old.get("immutable"):
        return []
    found = [] if new.get("immutable") else [fields.forbidden("immutable", _FROZEN)]
    return found + [fields.forbidden(k, _FROZEN) for k in keys if (new.get(k) or {}) != (old.get(k) or {})]


def _validate_config_map(obj: Object) -> list[Cause]:
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    found = _keys("data", data)
    for key in data:
        if key in binary:
            found.append(fields.invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
    found += _keys("binaryData", binary)
    if sum(len(v.encode()) for v in data.values()) + _size(binary) > _LIMIT:
        found.append(fields.too_long("[]", _LIMIT))
    return found


def _validate_config_map_update(new: Object, old: Object) -> list[Cause]:
    return _frozen(new, old, "data", "binaryData")


def _name_secrets(obj: Object) -> None:
    """Of the secrets that an account may use, only the names are kept."""
    if obj.get("secrets"):
        obj["secrets"] = [{"name": s["name"]} if s.get("name") else {} for s in obj["secrets"]]


def _warn_account(new: Object, old: Object | None) -> list[str]:
    if _MOUNTABLE not in annotations_of(new) or (old is not None and _MOUNTABLE in annotations_of(old)):
        return []
    text = "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
    return [f"metadata.annotations[{_MOUNTABLE}]: {text}"]


def rules() -> dict[GVK, Rules]:
    """The rules of the kinds in this module."""

    def core(kind: str) -> GVK:
        return GVK("", "v1", kind)

    return {
        core("Secret"): Rules(
            default=_default_secret,
            validate=_validate_secret,
            validate_update=_validate_secret_update,
            warn=_warn_secret,
            revalidates=True,
            fields={"type": "type"},
        ),
        core("ConfigMap"): Rules(
            validate=_validate_config_map, validate_update=_validate_config_map_update, revalidates=True
        ),
        core("ServiceAccount"): Rules(
            on_create=_name_secrets,
            on_update=lambda new, _: _name_secrets(new),
            warn=_warn_account,
            revalidates=True,
        ),
    }
