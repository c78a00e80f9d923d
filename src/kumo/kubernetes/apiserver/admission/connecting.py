"""CONNECT: exec, attach, port-forward and proxy as admission sees them, with their options read off the query."""

from __future__ import annotations

from kumo.api.objects import Object
from kumo.api.resources import GVK, NODES, PODS, SERVICES
from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, RequestInfo
from kumo.kubernetes.apiserver.call import audit_annotations
from kumo.machinery.http import Request

_KINDS = {
    ("pods", "exec"): "PodExecOptions",
    ("pods", "attach"): "PodAttachOptions",
    ("pods", "portforward"): "PodPortForwardOptions",
    ("pods", "proxy"): "PodProxyOptions",
    ("services", "proxy"): "ServiceProxyOptions",
    ("nodes", "proxy"): "NodeProxyOptions",
}
_RESOURCES = {"pods": PODS, "services": SERVICES, "nodes": NODES}
_FLAGS = ("stdin", "stdout", "stderr", "tty")


def connection(request: Request, info: RequestInfo, user: UserInfo) -> AdmissionAttributes | None:
    """What admission is told of the connection; None for reading logs, which is no CONNECT."""
    kind = _KINDS.get((info.resource, info.subresource))
    if kind is None:
        return None
    gvr = _RESOURCES[info.resource]
    return AdmissionAttributes(
        "CONNECT",
        GVK("", "v1", kind),
        gvr,
        info.namespace if gvr.namespaced else "",
        info.name,
        user,
        object={"kind": kind, "apiVersion": "v1", **_options(request, info)},
        subresource=info.subresource,
        audit_annotations=audit_annotations(request),
    )


def _options(request: Request, info: RequestInfo) -> Object:
    if info.subresource == "proxy":
        _, _, rest = request.path.partition(f"/{info.name}/proxy")
        return {"path": rest} if rest else {}
    query = request.query_list
    found: Object = {}
    for name, value in query:
        if name in _FLAGS and value not in ("", "0", "false"):
            found[name] = True
        elif name == "container" and value:
            found.setdefault("container", value)
        elif name == "command" and info.subresource == "exec":
            found.setdefault("command", []).append(value)
        elif name == "ports" and info.subresource == "portforward":
            found.setdefault("ports", []).extend(int(p) for p in value.split(",") if p.isdigit())
    return found
