"""The parameters of a policy: the objects that a binding's `paramRef` names."""

from __future__ import annotations

from kumo.api.objects import Object, labels_of, name_of, namespace_of
from kumo.api.resources import GVK
from kumo.api.selectors import matches
from kumo.kubernetes.apiserver.admission.equivalents import Equivalents
from kumo.kubernetes.apiserver.admission.policies.definition import Binding
from kumo.kubernetes.apiserver.attributes import Reader
from kumo.kubernetes.apiserver.registry import Resource


class Misconfigured(Exception):
    """A policy or binding cannot be applied as it is; the message is upstream's."""


def find_kind(equivalents: Equivalents, kind: GVK) -> Resource:
    """The resource of a paramKind. Raises Misconfigured."""
    found = equivalents.of_kind(kind)
    if found is None:
        shown = f"{kind.group}/{kind.version}, Kind={kind.kind}"
        raise Misconfigured(f"failed to find resource referenced by paramKind: '{shown}'")
    return found


def parameters(resource: Resource | None, binding: Binding, namespace: str, reader: Reader) -> list[Object | None]:
    """The parameter objects to apply the policy with; `[None]` where there are none to be used. Raises Misconfigured.

    `resource` is the policy's paramKind, None without one; `namespace` the request's.
    """
    reference = binding.param_ref
    if resource is None or reference is None:
        return [None]
    where = reference.get("namespace") or ""
    if resource.type.namespaced:
        where = where or namespace
        if not where:
            raise Misconfigured(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
            )
    elif where:
        raise Misconfigured("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
    found = _select(resource, reference.get("name") or "", reference.get("selector"), where, reader)
    if not found and reference.get("parameterNotFoundAction") == "Deny":
        raise Misconfigured("no params found for policy binding with `Deny` parameterNotFoundAction")
    return [_as(resource, obj) for obj in found]


def _select(resource: Resource, name: str, selector: Object | None, namespace: str, reader: Reader) -> list[Object]:
    gvr = resource.stored.gvr
    if name:
        obj = reader.get(gvr, name, namespace)
        return [obj] if obj is not None else []
    found = [o for o in reader.objects(gvr, namespace) if matches(selector, labels_of(o))]
    return sorted(found, key=lambda o: (namespace_of(o), name_of(o)))


def _as(resource: Resource, obj: Object) -> Object:
    """The stored object in the paramKind's version."""
    if resource.from_stored is not None:
        return resource.from_stored(obj)
    obj["apiVersion"] = resource.gvk.api_version
    return obj
