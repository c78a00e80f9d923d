"""CertificateSubjectRestriction: nobody becomes a member of `system:masters` by a signing request."""

from __future__ import annotations

from kumo.api.users import MASTERS_GROUP
from kumo.kubernetes.apiserver.admission.refusals import refused
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes
from kumo.machinery.certificate_requests import RequestError, parse_request

_SIGNER = "kubernetes.io/kube-apiserver-client"


def restrict_subject(attrs: AdmissionAttributes) -> None:
    """Raise 403 for a new request to the client signer whose subject is in `system:masters`."""
    if attrs.operation != "CREATE" or attrs.subresource:
        return
    spec = (attrs.object or {}).get("spec") or {}
    if spec.get("signerName") != _SIGNER:
        return
    try:
        request = parse_request(spec.get("request") or "")
    except RequestError as error:
        raise refused(attrs, f"failed to parse CSR: {error}") from None
    if MASTERS_GROUP in request.organizations:
        raise refused(attrs, f"use of {_SIGNER} signer with {MASTERS_GROUP} group is not allowed")
