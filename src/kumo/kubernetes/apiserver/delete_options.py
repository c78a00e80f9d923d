"""The DeleteOptions of a request, out of its body or its query.

Source: `apiserver/pkg/endpoints/handlers/delete.go`, `apimachinery/pkg/apis/meta/v1/validation`.
"""

from __future__ import annotations

from dataclasses import replace

from kumo.api.errors import StatusError, bad_request
from kumo.api.objects import Object
from kumo.api.patch.json_patch import json_kind
from kumo.api.schema.builtin import builtin_nodes
from kumo.api.schema.decoding import DecodeError, decode
from kumo.kubernetes.apiserver import bodies
from kumo.kubernetes.apiserver.call import Call, bad_number
from kumo.kubernetes.apiserver.deletion import DeleteOptions, checked_options
from kumo.kubernetes.apiserver.operation_options import delete_options
from kumo.kubernetes.apiserver.request_info import flag

_DEFINITION = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
_FROM_QUERY = (
    "gracePeriodSeconds",
    "orphanDependents",
    "propagationPolicy",
    "dryRun",
)


async def read_options(call: Call) -> DeleteOptions:
    """The options: the body's if there is one, else the query's. Raises 400, 413, 415, 422."""
    data = await bodies.read(call.request)
    body = _from_body(call, data) if data else _from_query(call)
    found = checked_options(body)
    return replace(found, stated=delete_options(body, call.query))


def _from_body(call: Call, data: bytes) -> Object:
    kind = bodies.media_type(call.request)
    try:
        value = bodies.decode(data, kind, "DeleteOptions")
    except StatusError as error:
        why = error.message.partition("(must be of type DeleteOptions): ")[2]
        raise bad_request(why.rpartition(" (")[0] or why) if error.code == 400 else error from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        struct = (
            'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
        )
        why = f"json: cannot unmarshal {json_kind(value)} into Go value of type {struct}"
        raise bad_request(f"couldn't get version/kind; json parse error: {why}")
    named = value.get("kind") or "DeleteOptions"
    if named != "DeleteOptions":
        scheme = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27"
        version = value.get("apiVersion") or "v1"
        raise bad_request(f'no kind "{named}" is registered for version "{version}" in scheme "{scheme}"')
    try:
        found: Object = decode(builtin_nodes().definition(_DEFINITION), value, [])
    except DecodeError as error:
        raise bad_request(str(error)) from None
    return found


def _from_query(call: Call) -> Object:
    found: Object = {}
    for name in _FROM_QUERY:
        if name not in call.query:
            continue
        text = call.query[name]
        if name == "gracePeriodSeconds":
            if text:
                found[name] = _number(text)
        elif name == "dryRun":
            found[name] = [value for key, value in call.request.query_list if key == name and value]
        elif name == "propagationPolicy":
            found[name] = text
        else:
            found[name] = flag(call.query, name)
    return found


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise bad_number(text) from None
