"""Approval without a human: a kubelet may have its own client certificate, if RBAC says so of who asked."""

from __future__ import annotations

import structlog

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Key, Object
from kumo.api.resources import SUBJECTACCESSREVIEWS
from kumo.kubernetes.controller_manager.certificates.requests import (
    KUBELET_CLIENT,
    SIGNINGREQUESTS,
    certificate,
    condition,
    conditions,
    kubelet_client_fault,
    usages,
)
from kumo.machinery.certificate_requests import RequestError, parse_request
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.informer import Informers

_log = structlog.get_logger("kumo.certificates")
_SELF = "Auto approving self kubelet client certificate after SubjectAccessReview."
_OTHER = "Auto approving kubelet client certificate after SubjectAccessReview."


def permissions(obj: Object) -> list[tuple[str, str]]:
    """The rights (subresource, and what to say) of which one is enough; none if only a human may approve.

    Raises RequestError for a request that can't be read.
    """
    spec = obj.get("spec") or {}
    if spec.get("signerName") != KUBELET_CLIENT:
        return []
    request = parse_request(spec.get("request") or "")
    if kubelet_client_fault(request, usages(obj)):
        return []
    own = [("selfnodeclient", _SELF)] if spec.get("username") == request.common_name else []
    return [*own, ("nodeclient", _OTHER)]


class SigningRequestApprover:
    """Approves kubelets' requests; `client` asks for reviews and writes approvals."""

    name = "csrapproving"

    def __init__(self, client: Client, informers: Informers) -> None:
        self._client = client
        self._requests = informers.informer(SIGNINGREQUESTS)
        self._controller = Controller(self.name, self._reconcile, workers=2)
        self._controller.watch(self._requests)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    async def _reconcile(self, key: Key) -> float | None:
        obj = self._requests.get_key(key)
        if obj is None or certificate(obj) or condition(obj, "Approved") or condition(obj, "Denied"):
            return None
        try:
            wanted = permissions(obj)
        except RequestError as error:
            _log.warning("a signing request can't be read", name=key.name, error=str(error))
            return None
        for subresource, message in wanted:
            if await self._allowed(obj, subresource):
                await self._approve(obj, message)
                return None
        return None

    async def _allowed(self, obj: Object, subresource: str) -> bool:
        spec = obj["spec"]
        asked = {
            "group": "certificates.k8s.io",
            "version": "*",
            "resource": "certificatesigningrequests",
            "verb": "create",
            "subresource": subresource,
        }
        review: Object = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": spec.get("username") or "",
                "uid": spec.get("uid") or "",
                "groups": spec.get("groups") or [],
                "extra": spec.get("extra") or {},
                "resourceAttributes": asked,
            },
        }
        answer = await self._client.create(SUBJECTACCESSREVIEWS, review)
        return bool(answer["status"].get("allowed"))

    async def _approve(self, obj: Object, message: str) -> None:
        made = {"type": "Approved", "status": "True", "reason": "AutoApproved", "message": message}
        new = {**obj, "status": {**(obj.get("status") or {}), "conditions": [*conditions(obj), made]}}
        try:
            await self._client.update(SIGNINGREQUESTS, new, subresource="approval")
        except StatusError as error:
            if not is_not_found(error):
                raise
