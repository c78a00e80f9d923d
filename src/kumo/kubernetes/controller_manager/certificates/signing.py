"""Approved requests get their certificates, from the CA of the cluster."""

from __future__ import annotations

import asyncio
import base64

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Key, Object, timestamp
from kumo.kubernetes.controller_manager.certificates.authority import SigningAuthority
from kumo.kubernetes.controller_manager.certificates.requests import (
    SIGNERS,
    SIGNINGREQUESTS,
    certificate,
    condition,
    conditions,
    usages,
)
from kumo.machinery.certificate_requests import RequestError, check_signature, parse_request
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.informer import Informers


class SigningRequestSigner:
    """Signs for the signers of the cluster itself; requests for others are their own signers' work."""

    name = "csrsigning"

    def __init__(self, client: Client, informers: Informers, authority: SigningAuthority) -> None:
        self._client = client
        self._authority = authority
        self._requests = informers.informer(SIGNINGREQUESTS)
        self._controller = Controller(self.name, self._reconcile, workers=2)
        self._controller.watch(self._requests)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    async def _reconcile(self, key: Key) -> float | None:
        obj = self._requests.get_key(key)
        if obj is None or not _waits(obj):
            return None
        status = await asyncio.to_thread(self._decide, obj)
        try:
            await self._client.update_status(SIGNINGREQUESTS, {**obj, "status": status})
        except StatusError as error:
            if not is_not_found(error):
                raise
        return None

    def _decide(self, obj: Object) -> Object:
        """The status with the certificate, or with the reason why there will be none."""
        spec, status = obj["spec"], obj.get("status") or {}
        try:
            request = parse_request(spec.get("request") or "")
            check_signature(request)
            fault = SIGNERS[spec["signerName"]](request, usages(obj))
        except RequestError as error:
            fault = f"unable to parse csr: {error}"
        if fault:
            failed = {
                "type": "Failed",
                "status": "True",
                "reason": "SignerValidationFailure",
                "message": fault,
                "lastUpdateTime": timestamp(),
            }
            return {**status, "conditions": [*conditions(obj), failed]}
        pem = self._authority.sign(request, usages(obj), spec.get("expirationSeconds"))
        return {**status, "certificate": base64.b64encode(pem).decode()}


def _waits(obj: Object) -> bool:
    known = (obj.get("spec") or {}).get("signerName") in SIGNERS
    settled = certificate(obj) or condition(obj, "Denied") or condition(obj, "Failed")
    return bool(known and condition(obj, "Approved") and not settled)
