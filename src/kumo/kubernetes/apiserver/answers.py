"""Entries as answers: in the form the client wants, with the warnings that came up on the way."""

from __future__ import annotations

from kumo.api.objects import Object
from kumo.api.resources import ResourceType
from kumo.kubernetes.apiserver import tables
from kumo.kubernetes.apiserver.call import Call
from kumo.kubernetes.apiserver.entry import Entry
from kumo.kubernetes.apiserver.forms import check_include, metadata_only, table
from kumo.kubernetes.apiserver.responses import json_response, value_response, warning_headers
from kumo.machinery.http import Response

SCALE = ResourceType("autoscaling", "v1", "Scale", "scales", "scale", True)
"""What a Scale's columns are found by; nothing is served under this name."""


def entry_response(call: Call, entry: Entry, status: int = 200) -> Response:
    """The object as an answer."""
    form = call.accepted
    headers = warning_headers(call.warnings) if call.warnings else None
    if not form.form and not form.yaml:
        return json_response(call.request, call.resource.raw(entry), status, headers)
    if form.form == "Table":
        meta = {"resourceVersion": str(entry.revision)}
        include = call.query.get("includeObject", "Metadata")
        answer = value_response(call.request, table(call.resource, [entry], form, include, meta), status)
    elif form.form:
        return json_response(call.request, metadata_only(call.resource.raw(entry), form.version), status, headers)
    else:
        answer = value_response(call.request, call.resource.object(entry), status, as_yaml=True)
    if headers:
        answer.headers = {**answer.headers, **headers}
    return answer


def scale_response(call: Call, scale: Object) -> Response:
    """A Scale as an answer, which is the one subresource with columns of its own."""
    if call.accepted.form != "Table":
        return object_response(call, scale)
    include = check_include(call.query.get("includeObject", "Metadata"))
    meta = {"resourceVersion": scale["metadata"].get("resourceVersion", "")}
    shown = tables.table(SCALE, [scale], include_object=include, metadata=meta)
    return value_response(call.request, shown, as_yaml=call.accepted.yaml)


def object_response(call: Call, value: Object, status: int = 200) -> Response:
    """Another object (a Scale, a Status, a review) as an answer."""
    answer = value_response(call.request, value, status, as_yaml=call.accepted.yaml)
    if call.warnings:
        answer.headers = {**answer.headers, **warning_headers(call.warnings)}
    return answer
