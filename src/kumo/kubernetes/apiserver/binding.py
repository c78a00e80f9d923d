"""POST pods/binding: the scheduler puts a pod on a node (`pkg/registry/core/pod/storage`, BindingREST)."""

from __future__ import annotations

from kumo.api.conditions import set_condition
from kumo.api.errors import StatusError, bad_request, conflict
from kumo.api.objects import Object, is_deleting, timestamp
from kumo.api.resources import GVK, ResourceType
from kumo.api.schema import builtin_schema
from kumo.kubernetes.apiserver import bodies
from kumo.kubernetes.apiserver.admission_view import UNASKED
from kumo.kubernetes.apiserver.call import Call
from kumo.kubernetes.apiserver.core import Core
from kumo.kubernetes.apiserver.creation_review import admit_creation
from kumo.kubernetes.apiserver.incoming import check_kind, decode
from kumo.kubernetes.apiserver.managed_fields import untracked
from kumo.kubernetes.apiserver.preconditions import check_uid, check_version
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
    if (stated.get("namespace") or call.namespace) != call.namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    binding["metadata"] = {**stated, "namespace": call.namespace}
    binding = await admit_creation(core, call, _BINDING, binding, subresource="binding")
    target = binding.get("target") or {}
    meta = binding.get("metadata") or {}
    if meta.get("name") != name:
        raise bad_request("name in URL does not match name in Binding object")
    if wrong := _complaints(target):
        # As upstream: not a refusal of an object, but whatever the validation said.
        raise StatusError(500, "", wrong)

    def make(pod: Object) -> Object:
        bound: Object = core.copy(pod)
        _assign(call.resource.type, bound, meta, target["name"])
        return bound

    await modify(core, call, make, subresource="binding", free=True, view=UNASKED, track=untracked)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _complaints(target: Object) -> str:
    found = []
    if target.get("kind") not in (None, "", "Node"):
        found.append(f'target.kind: Unsupported value: "{target["kind"]}": supported values: "Node", "<empty>"')
    if not target.get("name"):
        found.append("target.name: Required value")
    return f"[{', '.join(found)}]" if len(found) > 1 else "".join(found)


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
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None}
    set_condition(pod.setdefault("status", {}).setdefault("conditions", []), scheduled, timestamp())
