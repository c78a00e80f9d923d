"""ConversionReview (apiextensions.k8s.io/v1 and v1beta1): the question to a webhook, what its answer must be. Pure.

The rules are those of upstream's `apiserver/conversion/webhook_converter.go`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from kumo.api.go_text import go_type, json_kind
from kumo.api.objects import Object
from kumo.kubernetes.apiserver.kinds.metadata import validate_annotations, validate_labels

GROUP = "apiextensions.k8s.io"
KNOWN_VERSIONS = ("v1", "v1beta1")
CALL, MALFORMED, PARTIAL, INVALID = (
    f"conversion_webhook_{what}_failure"
    for what in ("call", "malformed_response", "partial_response", "invalid_converted_object")
)
"""The `failure_type` of the metrics."""
_HEAD = r'struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }'
_SCHEME = "k8s.io/apiserver/pkg/util/webhook/client.go:71"
_RESULT = (("status", "string"), ("message", "string"), ("reason", "v1.StatusReason"))
_copy = msgspec.to_builtins


class BadReview(Exception):
    """The answer does not say what is needed. `kind` is the metrics' failure type.

    The message is upstream's from behind `conversion webhook for {kind} ` on, or with `whole` all of it.
    """

    def __init__(self, message: str, kind: str = MALFORMED, *, whole: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.whole = whole


def failed(message: str, kind: str = MALFORMED) -> BadReview:
    """The webhook, or what reads its answer, says that there is no result."""
    return BadReview(f"failed: {message}", kind)


def question(version: str, uid: str, wanted: str, objects: Sequence[Object]) -> Object:
    """The review that asks for `objects` in the API version `wanted`."""
    return {
        "kind": "ConversionReview",
        "apiVersion": f"{GROUP}/{version}",
        "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": list(objects)},
        "response": {"uid": "", "convertedObjects": [], "result": {"metadata": {}}},
    }


def converted_objects(body: Any, version: str, uid: str) -> list[Any]:
    """The objects of a decoded answer to the review of that version and uid. Raises BadReview."""
    if not isinstance(body, dict):
        why = f"json parse error: json: cannot unmarshal {json_kind(body)} into Go value of type {_HEAD}"
        raise failed(f"couldn't get version/kind; {why}", CALL)
    kind, stated = body.get("kind"), body.get("apiVersion")
    if (kind is not None and not isinstance(kind, str)) or (stated is not None and not isinstance(stated, str)):
        name = "kind" if not isinstance(kind, str | None) else "apiVersion"
        why = f"json: cannot unmarshal {json_kind(body[name])} into Go struct field .{name} of type string"
        raise failed(f"couldn't get version/kind; json parse error: {why}", CALL)
    if version == "v1" and not (kind and stated):
        group, _, name = (stated or "").rpartition("/")
        got = f"{group}/{name}, Kind={kind or ''}"
        raise failed(f"expected webhook response of {GROUP}/v1, Kind=ConversionReview, got {got}")
    # In v1beta1, what the answer leaves out is as it was asked for.
    group, _, found = (stated or f"{GROUP}/{version}").rpartition("/")
    kind = kind or "ConversionReview"
    if kind != "ConversionReview" or group != GROUP or found not in KNOWN_VERSIONS:
        raise failed(f'no kind "{kind}" is registered for version "{stated}" in scheme "{_SCHEME}"', CALL)
    if found != version:
        raise failed(f"converting ({found}.ConversionReview) to ({version}.ConversionReview): unknown conversion", CALL)
    response = _read(body)
    if response is None:
        raise failed("no response provided")
    if version == "v1" and (response.get("uid") or "") != uid:
        raise failed(f'expected response.uid="{uid}", got "{response.get("uid") or ""}"')
    result = response.get("result") or {}
    status = result.get("status") or ""
    if status != "Success":
        raise failed(result.get("message") or f"response.result.status was '{status}', not 'Success'")
    return response.get("convertedObjects") or []


def _read(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The response, its fields of the right types. Raises BadReview."""
    response = body.get("response")
    if response is None:
        return None
    if not isinstance(response, dict):
        raise _mismatch(response, "ConversionReview.response", "v1.ConversionResponse")
    for name, kind, go in (
        ("uid", str, "types.UID"),
        ("convertedObjects", list, "[]runtime.RawExtension"),
        ("result", dict, "v1.Status"),
    ):
        if response.get(name) is not None and not isinstance(response[name], kind):
            raise _mismatch(response[name], f"ConversionResponse.response.{name}", go)
    for name, go in _RESULT:
        value = (response.get("result") or {}).get(name)
        if value is not None and not isinstance(value, str):
            raise _mismatch(value, f"Status.response.result.{name}", go)
    return response


def check_object(original: Object, converted: Any, api_version: str) -> Object:
    """What the webhook made of `original`: checked, and with all metadata as before but labels and annotations.

    Raises BadReview.
    """
    if converted is None:
        raise BadReview("unexpected end of JSON input", INVALID, whole=True)
    if not isinstance(converted, dict):
        why = f"json: cannot unmarshal {json_kind(converted)} into Go value of type map[string]interface {{}}"
        raise BadReview(why, INVALID, whole=True)
    if not isinstance(converted.get("kind"), str) or not converted["kind"]:
        raise BadReview(f"Object 'Kind' is missing in '{msgspec.json.encode(converted).decode()}'", INVALID, whole=True)
    found = converted.get("apiVersion")
    found = found if isinstance(found, str) else ""
    if found != api_version:
        why = f"invalid groupVersion (expected {api_version}, received {found})"
        raise BadReview(f"returned invalid object at index 0: {why}", INVALID)
    if converted["kind"] != original["kind"]:
        why = f"invalid kind (expected {original['kind']}, received {converted['kind']})"
        raise BadReview(f"returned invalid object at index 0: {why}", INVALID)
    now, before = converted.get("metadata"), original.get("metadata") or {}
    stated = now if isinstance(now, dict) else {}
    for key, called in (("name", "name"), ("namespace", "namespace"), ("uid", "UID")):
        then, value = before.get(key) or "", stated.get(key)
        value = value if isinstance(value, str) else ""
        if value != then:
            raise BadReview(f"returned invalid object: must have the same {called}: {then} != {value}", INVALID)
    try:
        meta = _restored(before, converted)
    except ValueError as error:
        raise BadReview(f"returned invalid metadata: {error}", INVALID) from None
    rest = {k: v for k, v in converted.items() if k not in ("apiVersion", "kind", "metadata")}
    return {"apiVersion": api_version, "kind": converted["kind"], "metadata": meta, **rest}


def _restored(before: Mapping[str, Any], converted: Mapping[str, Any]) -> Object:
    """The original's metadata with the converted object's labels and annotations. Raises ValueError."""
    if "metadata" not in converted:
        raise ValueError("missing metadata in converted object")
    now = converted["metadata"]
    if not isinstance(now, dict):
        raise ValueError(f"invalid metadata of type {go_type(now)} in converted object")
    found: Object = _copy(before)
    for key in ("labels", "annotations"):
        wanted = now.get(key)
        if wanted is None:
            found.pop(key, None)
            continue
        if not isinstance(wanted, dict):
            raise ValueError(f"invalid metadata.{key} of type {go_type(wanted)} in converted object")
        for name, value in wanted.items():
            if not isinstance(value, str):
                kind = go_type(value)
                raise ValueError(f"metadata.{key}[{name}] must be a string, but is {kind} in converted object")
        if wanted != (before.get(key) or {}):
            causes = (
                validate_labels("metadata.labels", wanted)
                if key == "labels"
                else validate_annotations("metadata.annotation", wanted)
            )
            if causes:
                texts = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes))
                raise ValueError(texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")
        found[key] = wanted
    return found


def _mismatch(value: Any, where: str, go: str) -> BadReview:
    return failed(f"json: cannot unmarshal {json_kind(value)} into Go struct field {where} of type {go}", CALL)
