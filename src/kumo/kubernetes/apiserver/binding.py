"""POST pods/binding: the scheduler puts a pod on a node (`pkg/registry/core/pod/storage`, BindingREST)."""

from __future__ import annotations

from kumo.api.conditions import set_condition
from kumo.api.errors import Cause, bad_request, conflict, invalid
from kumo.api.objects import Object, is_deleting, timestamp
from kumo.api.resources import GVK
from kumo.api.schema import builtin_schema
from kumo.kubernetes.apiserver import bodies
from kumo.kubernetes.apiserver.admission_view import UNASKED
from kumo.kubernetes.apiserver.call import Call
from kumo.kubernetes.apiserver.core import Core
from kumo.kubernetes.apiserver.creation_review import admit_creation
from kumo.kubernetes.apiserver.incoming import check_kind, decode
from kumo.kubernetes.apiserver.managed_fields import untracked
from kumo.kubernetes.apiserver.updating import modify

_BINDING = GVK("", "v1", "Binding")


async def read_binding(call: Call) -> Object:
    """The body as a Binding. Raises 400, 413, 415."""
    data = await bodies.read(call.request)
    found = check_kind(bodies.decode(data, bodies.media_type(call.request), "Binding"), _BINDING)
    return decode(builtin_schema(_BINDING), found)[0]


async def bind(core: Core, call: Call, binding: Object) -> Object:
    """Assign the pod to the node; the Status to answer. Raises 404, 409, 422."""
    name = call.info.name
    stated = binding.setdefault("metadata", {})
    if isinstance(stated, dict):
        binding["metadata"] = stated = {**stated, "name": stated.get("name") or name, "namespace": call.namespace}
    binding = await admit_creation(core, call, _BINDING, binding, subresource="binding")
    target = binding.get("target") or {}
    meta = binding.get("metadata") or {}
    if meta.get("name") not in (None, "", name):
        raise bad_request("name in URL does not match name in Binding object")
    causes = []
    if target.get("kind") not in (None, "", "Node"):
        text = f'Unsupported value: "{target["kind"]}": supported values: "Node"'
        causes.append(Cause("target.kind", text, "FieldValueNotSupported"))
    if not target.get("name"):
        causes.append(Cause("target.name", "Required value", "FieldValueRequired"))
    if causes:
        raise invalid("", "Binding", name, causes)

    def make(pod: Object) -> Object:
        bound: Object = core.copy(pod)
        _assign(bound, meta, target["name"])
        return bound

    await modify(core, call, make, subresource="binding", free=True, view=UNASKED, track=untracked)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _assign(pod: Object, meta: Object, node: str) -> None:
    name = pod["metadata"]["name"]
    if meta.get("uid") and meta["uid"] != pod["metadata"]["uid"]:
        why = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {pod['metadata']['uid']}"
        raise conflict("", "pods/binding", name, why)
    if is_deleting(pod):
        raise conflict("", "pods/binding", name, f"pod {name} is being deleted, cannot be assigned to a host")
    spec = pod["spec"]
    if spec.get("nodeName"):
        raise conflict("", "pods/binding", name, f'pod {name} is already assigned to node "{spec["nodeName"]}"')
    if spec.get("schedulingGates"):
        raise conflict("", "pods/binding", name, f"pod {name} has non-empty .spec.schedulingGates")
    spec["nodeName"] = node
    for key in ("annotations", "labels"):
        if meta.get(key):
            pod["metadata"][key] = {**(pod["metadata"].get(key) or {}), **meta[key]}
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None}
    set_condition(pod.setdefault("status", {}).setdefault("conditions", []), scheduled, timestamp())
