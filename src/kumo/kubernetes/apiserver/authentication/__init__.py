"""Who is asking. Every proof ends in the same `UserInfo`, and authorization sees nothing else.

In order: an authenticating proxy's headers (with a certificate of its own CA), the client certificate (verified by the
listener; or the component is in process), and bearer tokens: of service accounts, of machines that join (bootstrap), of
OpenID Connect issuers, of other wings (Keystone's). No proof at all is `system:anonymous`, which the default roles let
see health, version and nothing more. Impersonation is decided last. `assembly.Identity` puts it all together.

Talks to: the object cache (`Reader`), for the live check that a token's account, pod or secret still exists; the
issuers of identity tokens, for their keys.
"""

from kumo.kubernetes.apiserver.authentication.assembly import Identity
from kumo.kubernetes.apiserver.authentication.authenticator import ANONYMOUS_USER, Authenticator
from kumo.kubernetes.apiserver.authentication.claims import TokenClaims
from kumo.kubernetes.apiserver.authentication.config import AuthenticationConfig
from kumo.kubernetes.apiserver.authentication.front_proxy import FrontProxyConfig
from kumo.kubernetes.apiserver.authentication.impersonation import Impersonation, is_impersonating
from kumo.kubernetes.apiserver.authentication.results import Proven, TokenRejected
from kumo.kubernetes.apiserver.authentication.service_accounts import ServiceAccountTokens

__all__ = [
    "ANONYMOUS_USER",
    "AuthenticationConfig",
    "Authenticator",
    "FrontProxyConfig",
    "Identity",
    "Impersonation",
    "Proven",
    "ServiceAccountTokens",
    "TokenClaims",
    "TokenRejected",
    "is_impersonating",
]
