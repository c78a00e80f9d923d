"""POST pods/binding: the scheduler puts a pod on a node (`pkg/registry/core/pod/storage`, BindingREST)."""

from __future__ import annotations

from kumo.api import fields
from kumo.api.conditions import find, set_condition
from kumo.api.errors import Cause, bad_request, conflict, invalid
from kumo.api.objects import Object, is_deleting, timestamp
from kumo.api.resources import GVK, ResourceType
from kumo.kubernetes.apiserver.admission_view import UNASKED
from kumo.kubernetes.apiserver.call import Call
from kumo.kubernetes.apiserver.core import Core
from kumo.kubernetes.apiserver.creation_review import admit_creation
from kumo.kubernetes.apiserver.incoming import read_as
from kumo.kubernetes.apiserver.managed_fields import untracked
from kumo.kubernetes.apiserver.preconditions import check_uid, check_version
from kumo.kubernetes.apiserver.updating import modify

_BINDING = GVK("", "v1", "Binding")


async def read_binding(call: Call) -> Object:
    """The body as a Binding. Raises 400, 413, 415."""
    return await read_as(call, _BINDING)


async def bind(core: Core, call: Call, binding: Object) -> Object:
    """Assign the pod to the node; the Status to answer. Raises 404, 409, 422."""
    name = call.info.name
    stated = binding.setdefault("metadata", {})
    if (stated.get("namespace") or call.namespace) != call.namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    binding["metadata"] = {**stated, "namespace": call.namespace}
    binding = await admit_creation(core, call, _BINDING, binding, subresource="binding")
    target = binding.get("target") or {}
    meta = binding.get("metadata") or {}
    if meta.get("name") != name:
        raise bad_request("name in URL does not match name in Binding object")
    if wrong := _complaints(target):
        raise invalid("", "Binding", name, wrong)  # Upstream says the same, as a fault of its own (500).

    def make(pod: Object) -> Object:
        bound: Object = core.copy(pod)
        _assign(call.resource.type, bound, meta, target["name"])
        return bound

    await modify(core, call, make, subresource="binding", free=True, view=UNASKED, track=untracked)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _complaints(target: Object) -> list[Cause]:
    found = []
    if target.get("kind") not in (None, "", "Node"):
        found.append(fields.unsupported("target.kind", target["kind"], ("Node", "<empty>")))
    if not target.get("name"):
        found.append(fields.required("target.name"))
    return found


def _assign(kind: ResourceType, pod: Object, meta: Object, node: str) -> None:
    name = pod["metadata"]["name"]
    check_uid(kind, pod, meta.get("uid") or "")
    check_version(kind, pod, meta.get("resourceVersion") or "")
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
    status = pod.setdefault("status", {})
    status.pop("nominatedNodeName", None)  # it has a node: the hint would only mislead
    known = status.setdefault("conditions", [])
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None}
    for stale in ("reason", "message", "observedGeneration"):
        (find(known, "PodScheduled") or {}).pop(stale, None)
    set_condition(known, scheduled, timestamp())
