"""CertificateSigning: who writes a certificate or a condition needs the verb `sign` on the request's signer."""

from __future__ import annotations

from kumo.kubernetes.apiserver.admission.refusals import refused
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes
from kumo.kubernetes.apiserver.authorization import Authorizer
from kumo.kubernetes.apiserver.authorization.signers import may_use_signer


class CertificateSigning:
    """Judges writes of `certificatesigningrequests/status`; others pass."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def validate(self, attrs: AdmissionAttributes) -> None:
        """Raise 403 unless the user may sign for the request's signer."""
        if attrs.operation != "UPDATE" or attrs.subresource != "status":
            return
        new = (attrs.object or {}).get("status") or {}
        old = (attrs.old_object or {}).get("status") or {}
        if all((new.get(field) or None) == (old.get(field) or None) for field in ("certificate", "conditions")):
            return
        signer = ((attrs.old_object or {}).get("spec") or {}).get("signerName") or ""
        if not may_use_signer(self._authorizer, attrs.user, "sign", signer):
            raise refused(attrs, f'user not permitted to sign requests with signerName "{signer}"')
