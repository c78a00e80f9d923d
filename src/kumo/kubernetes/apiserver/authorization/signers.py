"""The right to approve or sign certificates: verbs on `signers`, by full name or for a whole domain."""

from __future__ import annotations

from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.attributes import RequestInfo
from kumo.kubernetes.apiserver.authorization.authorizer import Authorizer


def may_use_signer(authorizer: Authorizer, user: UserInfo, verb: str, signer: str) -> bool:
    """Whether the user has the verb on the signer `domain/path`, or on `domain/*`."""
    domain = signer.partition("/")[0]
    return any(
        authorizer.authorize(user, RequestInfo(verb, "", "certificates.k8s.io", "*", "", "signers", "", name)).allowed
        for name in (signer, f"{domain}/*")
    )
