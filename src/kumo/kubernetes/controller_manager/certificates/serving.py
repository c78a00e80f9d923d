"""Approval of kubelets' server certificates: a node may prove to be what its Node object says, and nothing else.

Upstream leaves this to an administrator or to a program of the installer's; here the control plane is both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import ip_address

import structlog

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Key, Object, key_of, name_of
from kumo.api.resources import NODES, SERVICES
from kumo.kubernetes.controller_manager.certificates.requests import (
    KUBELET_SERVING,
    SIGNINGREQUESTS,
    certificate,
    condition,
    conditions,
    kubelet_serving_fault,
    usages,
)
from kumo.machinery.certificate_requests import CertificateRequest, RequestError, parse_request
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.informer import Informers

_log = structlog.get_logger("kumo.certificates")
_NAME = "kubernetes.default.svc"
"""What pods call the API server; shorter forms and the cluster's domain behind it are its too."""
_MESSAGE = "Auto approving kubelet serving certificate: the node's own names and addresses."


def fault(obj: Object, request: CertificateRequest, nodes: Iterable[Object], reserved: Collection[str] = ()) -> str:
    """Why the request is not approved as things are (a node may still come to have the address), empty if it is.

    A kubelet writes its Node's addresses itself, and the CA is the one that proves the API server: so the only name is
    the node's, and neither loopback nor the addresses of the API server (`reserved`) are anybody's.
    """
    spec = obj.get("spec") or {}
    wrong = kubelet_serving_fault(request, usages(obj))
    if wrong:
        return wrong
    if spec.get("username") != request.common_name or "system:nodes" not in (spec.get("groups") or ()):
        return "it was not made by the node that it is for"
    name = request.common_name.removeprefix("system:node:")
    own: set[str] = {name}
    others: set[str] = set()
    found = False
    for node in nodes:
        listed = {a.get("address", "") for a in (node.get("status") or {}).get("addresses") or ()}
        if name_of(node) == name:
            found = True
            own |= listed
        else:
            others |= listed | {name_of(node)}
    if not found:
        return f"there is no node {name}"
    for text in (*request.dns_names, *request.addresses):
        if text not in own or (text in request.dns_names and text != name):
            return f"{text} is no name or address of node {name}"
        if text in reserved or _is_the_api_servers(text):
            return f"{text} is the API server's"
        if text in others and text != name:
            return f"{text} is another node's, too"
    return ""


class ServingRequestApprover:
    """Approves what `fault` finds nothing wrong with; the rest waits for its node's addresses, or for a human."""

    name = "kubelet-serving-approver"

    def __init__(self, client: Client, informers: Informers) -> None:
        self._client = client
        self._requests = informers.informer(SIGNINGREQUESTS)
        self._nodes = informers.informer(NODES)
        self._controller = Controller(self.name, self._reconcile, workers=1)
        self._controller.watch(self._requests)
        self._nodes.on_change(self._node_changed)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._nodes.wait_synced()
        await self._controller.run()

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        """Addresses have come: somebody may have waited for them."""
        if _addresses(old) != _addresses(new):
            for obj in self._requests.objects():
                if _waits(obj):
                    self._controller.queue.add(key_of(obj))

    async def _reconcile(self, key: Key) -> float | None:
        obj = self._requests.get_key(key)
        if obj is None or not _waits(obj):
            return None
        try:
            asked = parse_request((obj.get("spec") or {}).get("request") or "")
            wrong = fault(obj, asked, self._nodes.objects(), await self._reserved())
        except RequestError as error:
            wrong = str(error)
        if wrong:
            _log.info("a kubelet's serving certificate is not approved", request=key.name, reason=wrong)
            return None
        made = {"type": "Approved", "status": "True", "reason": "AutoApproved", "message": _MESSAGE}
        new = {**obj, "status": {**(obj.get("status") or {}), "conditions": [*conditions(obj), made]}}
        try:
            await self._client.update(SIGNINGREQUESTS, new, subresource="approval")
        except StatusError as error:
            if not is_not_found(error):
                raise
        return None

    async def _reserved(self) -> list[str]:
        """The addresses at which pods find the API server."""
        try:
            service = await self._client.get(SERVICES, "kubernetes", "default")
        except StatusError as error:
            if not is_not_found(error):
                raise
            return []
        return list((service.get("spec") or {}).get("clusterIPs") or ())


def _is_the_api_servers(text: str) -> bool:
    """Whether clients look for the API server by that name or address in every cluster."""
    try:
        return ip_address(text).is_loopback
    except ValueError:
        labels = text.lower().split(".")
        return text.lower() == "localhost" or _NAME.split(".")[: len(labels)] == labels[: len(_NAME.split("."))]


def _waits(obj: Object) -> bool:
    wanted = (obj.get("spec") or {}).get("signerName") == KUBELET_SERVING
    settled = certificate(obj) or any(condition(obj, kind) for kind in ("Approved", "Denied", "Failed"))
    return bool(wanted and not settled)


def _addresses(node: Object | None) -> object:
    return ((node or {}).get("status") or {}).get("addresses")
