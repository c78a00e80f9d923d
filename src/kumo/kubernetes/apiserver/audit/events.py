"""One request's audit event, stage by stage, in upstream's shape."""

from __future__ import annotations

import datetime
import gzip
import time
from typing import Any
from urllib.parse import quote

import msgspec
import yaml

from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.attributes import RequestInfo
from kumo.machinery.http import Request, Response

_MOST_AGENT = 1024
_SAFE = "/:@!$&'()*+,;=-._~"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class _Meta(msgspec.Struct):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resourceVersion: str = ""


class _Head(msgspec.Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)


class _Kind(msgspec.Struct):
    kind: str = ""
    apiVersion: str = ""


_head = msgspec.json.Decoder(_Head).decode
_kind = msgspec.json.Decoder(_Kind).decode


def micro_time(at: float) -> str:
    """A `metav1.MicroTime` of seconds since the epoch."""
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def user_value(user: UserInfo | None) -> dict[str, Any]:
    """The user as an event shows him."""
    if user is None:
        return {}
    found: dict[str, Any] = {"username": user.name}
    if user.uid:
        found["uid"] = user.uid
    if user.groups:
        found["groups"] = list(user.groups)
    if user.extra:
        found["extra"] = {key: list(values) for key, values in user.extra.items()}
    return found


def object_reference(info: RequestInfo, request: Request | None) -> dict[str, Any] | None:
    """What the request is about; what the path leaves open is read off the body of `request`."""
    if not info.resource:
        return None
    meta = _meta(request) if request is not None else _Meta()
    values = {
        "resource": info.resource,
        "namespace": info.namespace or meta.namespace,
        "name": info.name or meta.name,
        "uid": meta.uid,
        "apiGroup": info.group,
        "apiVersion": info.version,
        "resourceVersion": meta.resourceVersion,
        "subresource": info.subresource,
    }
    return {key: value for key, value in values.items() if value}


def _meta(request: Request) -> _Meta:
    body = request.content
    if not isinstance(body, bytes) or not body or request.method not in ("POST", "PUT"):
        return _Meta()
    try:
        return _head(body).metadata
    except msgspec.DecodeError:
        pass
    try:
        return msgspec.convert(_other_form(request, body), _Head).metadata
    except msgspec.ValidationError:
        return _Meta()


def request_uri(request: Request) -> str:
    """Path and query as they were asked for."""
    path = quote(request.path, safe=_SAFE)
    return f"{path}?{request.query_string}" if request.query_string else path


def source_ips(request: Request) -> list[str]:
    """The addresses that the request came by: what proxies say, then the connection's own."""
    forwarded = [ip.strip() for ip in request.headers.get("x-forwarded-for", "").split(",") if ip.strip()][:16]
    real = request.headers.get("x-real-ip", "").strip()
    found = [*forwarded, *([real] if real and real not in forwarded else [])]
    if request.remote and (not found or found[-1] != request.remote):
        found.append(request.remote)
    return found


def user_agent(request: Request) -> str:
    """The client's name for itself, shortened."""
    agent = request.headers.get("user-agent", "")
    return agent if len(agent) <= _MOST_AGENT else f"{agent[:_MOST_AGENT]}...TRUNCATED"


def request_object(request: Request, verb: str, omit_managed_fields: bool) -> Any:
    """The body of the request as JSON (a patch as it is), or None when there is none that can be read."""
    body = request.content
    if not isinstance(body, bytes) or not body:
        return None
    try:
        value = _decode(body)
    except msgspec.DecodeError:
        value = _other_form(request, body)
    if verb in ("delete", "deletecollection") and isinstance(value, dict):
        value = {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/__internal"} | {
            k: v for k, v in value.items() if k not in ("kind", "apiVersion")
        }
    return without_managed_fields(value) if omit_managed_fields else value


def _other_form(request: Request, body: bytes) -> Any:
    from kumo.api.errors import StatusError
    from kumo.kubernetes.apiserver import bodies  # protobuf's tables are read when they are wanted

    try:
        return bodies.decode(body, bodies.media_type(request).removesuffix("-patch+yaml") or bodies.YAML, "")
    except StatusError:
        try:
            return bodies.decode_yaml(body, "")
        except StatusError:
            return None


def answer_bytes(answer: Response) -> bytes | None:
    """The whole body of an answer as JSON text; None for a stream or another form."""
    body = answer.body
    if isinstance(body, bytes):
        whole = body
    elif isinstance(body, list | tuple):
        whole = b"".join(body)
    else:
        return None
    if answer.headers.get("Content-Encoding") == "gzip":
        whole = gzip.decompress(whole)
    kind = answer.content_type.partition(";")[0]
    if kind == "application/json":
        return whole
    if kind == "application/yaml":
        return _encode(yaml.safe_load(whole))
    return None


def response_status(code: int, body: bytes | None) -> dict[str, Any]:
    """The Status that the answer is, or at least its code."""
    found: dict[str, Any] = {"metadata": {}}
    if body is not None and b'"Status"' in body[:256]:
        try:
            kind = _kind(body)
            if kind.kind == "Status" and kind.apiVersion == "v1":
                found |= {k: v for k, v in _decode(body).items() if k not in ("kind", "apiVersion")}
        except msgspec.DecodeError:
            pass
    found["code"] = code
    return found


def without_managed_fields(value: Any) -> Any:
    """The object, list or table without who manages which field."""
    if not isinstance(value, dict):
        return value
    found = dict(value)
    if isinstance(found.get("metadata"), dict):
        found["metadata"] = {k: v for k, v in found["metadata"].items() if k != "managedFields"}
    if isinstance(found.get("items"), list):
        found["items"] = [without_managed_fields(item) for item in found["items"]]
    if isinstance(found.get("rows"), list):
        found["rows"] = [
            {**row, "object": without_managed_fields(row["object"])} if "object" in row else row
            for row in found["rows"]
        ]
    return found


def now() -> float:
    """Seconds since the epoch."""
    return time.time()
