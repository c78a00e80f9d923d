"""Who a verified client certificate belongs to (Kubernetes' x509 convention: CN is the user, each O a group)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from kumo.api.users import AUTHENTICATED_GROUP, UserInfo

CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"


def user_of_certificate(certificate: Mapping[str, Any] | None, der: bytes | None = None) -> UserInfo | None:
    """The user of a certificate as `ssl.SSLSocket.getpeercert()` describes it, or None without a common name.

    `der` is the certificate's encoding; its SHA-256 becomes the extra value `credential-id`, as upstream adds it.
    """
    if not certificate:
        return None
    name = ""
    groups: list[str] = []
    for part in certificate.get("subject", ()):
        for key, value in part:
            if key == "commonName":
                name = value
            elif key == "organizationName":
                groups.append(value)
    if not name:
        return None
    extra = {CREDENTIAL_ID: (f"X509SHA256={hashlib.sha256(der).hexdigest()}",)} if der else {}
    return UserInfo(name, (*groups, AUTHENTICATED_GROUP), "", extra)
