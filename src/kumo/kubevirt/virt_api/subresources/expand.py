"""expand-spec: a VirtualMachine with its instance type and preference written out into its template."""

from __future__ import annotations

import copy

import msgspec

from kumo.api.errors import StatusError, bad_request, internal
from kumo.api.objects import Object, namespace_of
from kumo.kubevirt.common.defaults import DefaultsError, set_default_disks, set_default_interface
from kumo.kubevirt.common.instancetypes import Conflict, apply
from kumo.kubevirt.common.specs import child
from kumo.kubevirt.virt_api.admission.lookup import find_both
from kumo.kubevirt.virt_api.defaults.instance import set_spec_defaults
from kumo.kubevirt.virt_api.schema.machine import MACHINE
from kumo.kubevirt.virt_api.subresources.call import BODY_LIMIT, Call
from kumo.kubevirt.virt_api.validation.schema_check import check_schema
from kumo.machinery.http import Response

_FAILURES = (StatusError, Conflict, DefaultsError, ValueError)


async def stored(call: Call) -> Response:
    """Expand a VM that exists."""
    vm = await call.vm()
    try:
        return _entity(await expand(call, vm))
    except _FAILURES as error:
        raise internal(str(error)) from error


async def given(call: Call) -> Response:
    """Expand the VM in the body."""
    data = await call.request.read(BODY_LIMIT)
    if not data:
        raise bad_request("empty request body")
    try:
        vm = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise bad_request(f"Can not unmarshal Request body to struct, error: {error}") from error
    problems = check_schema(MACHINE, vm) if isinstance(vm, dict) else []
    if problems or not isinstance(vm, dict):
        details = {"causes": [{"message": problem.message} for problem in problems]}
        raise StatusError(400, "BadRequest", "Object is not a valid VirtualMachine", details)
    if namespace_of(vm) not in ("", call.namespace):
        raise bad_request(f"VM namespace must be empty or {call.namespace}")
    child(vm, "metadata")["namespace"] = call.namespace
    try:
        return _entity(await expand(call, vm))
    except _FAILURES as error:
        raise bad_request(str(error)) from error


async def expand(call: Call, vm: Object) -> Object:
    """The VM without references: what they said stands in its template. Raises Conflict, ValueError, StatusError."""
    if not vm["spec"].get("instancetype") and not vm["spec"].get("preference"):
        return vm
    config = call.services.config()
    found = await find_both(call.services.client, vm, call.namespace)
    made = copy.deepcopy(vm)
    template = child(made["spec"], "template")
    spec = child(template, "spec")
    set_default_disks(spec)
    set_default_interface(config, spec)
    annotations = dict((template.get("metadata") or {}).get("annotations") or {})
    apply(found.instancetype, found.preference, spec, annotations)
    if annotations:
        child(template, "metadata")["annotations"] = annotations
    set_spec_defaults(config, spec)
    for name in ("instancetype", "preference"):
        made["spec"].pop(name, None)
        (made.get("status") or {}).pop(f"{name}Ref", None)
    return made


def _entity(vm: Object) -> Response:
    return Response(200, msgspec.json.encode(vm))
