"""What a certificate signing request says and where it stands. Pure."""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object
from kumo.api.resources import GVR
from kumo.machinery.certificate_requests import CertificateRequest

SIGNINGREQUESTS = GVR("certificates.k8s.io", "v1", "certificatesigningrequests", False)
CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
LEGACY = "kubernetes.io/legacy-unknown"
_NODES = ("system:nodes",)
_CLIENT_USAGES = ({"digital signature", "client auth"}, {"digital signature", "key encipherment", "client auth"})
_SERVING_USAGES = ({"digital signature", "server auth"}, {"digital signature", "key encipherment", "server auth"})


def conditions(obj: Object) -> list[dict[str, Any]]:
    """The request's conditions."""
    return (obj.get("status") or {}).get("conditions") or []


def condition(obj: Object, kind: str) -> dict[str, Any] | None:
    """The condition of that type."""
    return next((c for c in conditions(obj) if c.get("type") == kind), None)


def certificate(obj: Object) -> str:
    """The issued certificate (base64 of PEM), empty until there is one."""
    return (obj.get("status") or {}).get("certificate") or ""


def usages(obj: Object) -> list[str]:
    """What the certificate is wanted for."""
    return (obj.get("spec") or {}).get("usages") or []


def kubelet_client_fault(request: CertificateRequest, wanted: list[str]) -> str:
    """Why this is no kubelet's client certificate, empty if it is."""
    if request.organizations != _NODES:
        return "subject organization is not system:nodes"
    for names, kind in (
        (request.dns_names, "DNS"),
        (request.emails, "Email"),
        (request.addresses, "IP"),
        (request.uris, "URI"),
    ):
        if names:
            return f"{kind} subjectAltNames are not allowed"
    if not request.common_name.startswith("system:node:"):
        return "subject common name does not begin with system:node:"
    if set(wanted) not in _CLIENT_USAGES:
        return f"usages did not match [{' '.join(sorted(_CLIENT_USAGES[1]))}]"
    return ""


def kubelet_serving_fault(request: CertificateRequest, wanted: list[str]) -> str:
    """Why this is no kubelet's server certificate, empty if it is."""
    if request.organizations != _NODES:
        return "subject organization is not system:nodes"
    if not request.dns_names and not request.addresses:
        return "DNS or IP subjectAltName is required"
    for names, kind in ((request.emails, "Email"), (request.uris, "URI")):
        if names:
            return f"{kind} subjectAltNames are not allowed"
    if set(wanted) not in _SERVING_USAGES:
        return f"usages did not match [{' '.join(sorted(_SERVING_USAGES[1]))}]"
    if not request.common_name.startswith("system:node:"):
        return "subject common name does not begin with system:node:"
    return ""


def client_fault(request: CertificateRequest, wanted: list[str]) -> str:
    """Why this is no client certificate, empty if it is."""
    for usage in wanted:
        if usage not in ("digital signature", "key encipherment", "client auth"):
            return f"invalid usage for client certificate: {usage}"
    return "" if "client auth" in wanted else "missing required usage for client certificate: client auth"


def legacy_fault(request: CertificateRequest, wanted: list[str]) -> str:
    """Nothing is wrong with requests of the old days."""
    return ""


SIGNERS = {
    CLIENT: client_fault,
    KUBELET_CLIENT: kubelet_client_fault,
    KUBELET_SERVING: kubelet_serving_fault,
    LEGACY: legacy_fault,
}
"""The signers of the cluster itself, and what each refuses."""
