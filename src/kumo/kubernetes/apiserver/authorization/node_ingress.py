"""What a joined node that serves Ingresses may read and write: their certificates, and where it answers itself.

The administrator chooses such nodes by a label that no node can give to itself. A stolen one has the certificates of
Ingresses, which it served anyway, and no other secrets.
"""

from __future__ import annotations

from kumo.api.node_components import (
    INGRESS_CONTROLLER,
    INGRESS_LABEL,
    INGRESS_NAMESPACE,
    INGRESS_SECRET,
    INGRESS_SERVICE,
)
from kumo.api.node_slices import slice_name
from kumo.api.objects import Object, annotations_of, labels_of, name_of
from kumo.api.resources import GVR, NODES
from kumo.kubernetes.apiserver.attributes import Reader, RequestInfo

INGRESSES = GVR("networking.k8s.io", "v1", "ingresses")
CLASSES = GVR("networking.k8s.io", "v1", "ingressclasses", False)
_ABOUT_HIMSELF = ("authentication.k8s.io", "authorization.k8s.io")
_WRITES = ("create", "update", "patch", "delete", "deletecollection")


def own_slices(node: str) -> tuple[str, str]:
    """The names of the EndpointSlices by which the node says that it serves Ingresses."""
    name = slice_name(INGRESS_SERVICE, node)
    return name, f"{name}-6"


def refusal(reader: Reader, node: str, info: RequestInfo) -> str:
    """Why the ingress controller of the node may not do this; empty if it may."""
    if not info.resource or info.group in _ABOUT_HIMSELF:
        return ""
    if info.resource == "endpointslices" and info.verb in _WRITES:
        own = info.namespace == INGRESS_NAMESPACE and info.name in own_slices(node)
        if own and info.verb == "delete":
            return ""  # A node that serves no more says so.
        if info.verb != "create" and not own:
            return f"node '{node}' can only change the endpoints of its own server"
    if labels_of(reader.get(NODES, node) or {}).get(INGRESS_LABEL) != "true":
        return f"node '{node}' serves no Ingresses: it has no label {INGRESS_LABEL}=true"
    if info.resource == "secrets":
        return _secret(reader, node, info)
    if info.resource == "nodes":
        return "" if info.name == node else f"node '{node}' can only read its own Node object"
    if info.verb in _WRITES and info.resource not in ("endpointslices", "events"):
        return f"node '{node}' can only serve Ingresses, not write them or what is before them"
    return ""


def _secret(reader: Reader, node: str, info: RequestInfo) -> str:
    if not info.name or not info.namespace:
        return "can only read individual secrets of Ingresses"
    if (info.namespace, info.name) == (INGRESS_NAMESPACE, INGRESS_SECRET):
        return ""
    classes = {name_of(c) for c in reader.objects(CLASSES) if _is_ours(c)}
    for ingress in reader.objects(INGRESSES, info.namespace):
        spec = ingress.get("spec") or {}
        name = spec.get("ingressClassName") or annotations_of(ingress).get("kubernetes.io/ingress.class")
        if name in classes and any(t.get("secretName") == info.name for t in spec.get("tls") or ()):
            return ""
    return f"no relationship found between node '{node}' and this object"


def _is_ours(ingress_class: Object) -> bool:
    return (ingress_class.get("spec") or {}).get("controller") == INGRESS_CONTROLLER
