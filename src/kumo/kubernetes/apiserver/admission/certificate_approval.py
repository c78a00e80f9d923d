"""CertificateApproval: who approves or denies a request needs the verb `approve` on its signer."""

from __future__ import annotations

from kumo.kubernetes.apiserver.admission.refusals import refused
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes
from kumo.kubernetes.apiserver.authorization import Authorizer
from kumo.kubernetes.apiserver.authorization.signers import may_use_signer


class CertificateApproval:
    """Judges writes of `certificatesigningrequests/approval`; others pass."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def validate(self, attrs: AdmissionAttributes) -> None:
        """Raise 403 unless the user may approve for the signer that the request named when it was made."""
        if attrs.operation != "UPDATE" or attrs.subresource != "approval":
            return
        signer = ((attrs.old_object or {}).get("spec") or {}).get("signerName") or ""
        if not may_use_signer(self._authorizer, attrs.user, "approve", signer):
            raise refused(attrs, f'user not permitted to approve requests with signerName "{signer}"')
