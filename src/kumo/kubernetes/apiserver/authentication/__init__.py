"""Who is asking. Every proof ends in the same `UserInfo`, and authorization sees nothing else.

Client certificates are verified by the listener (or the component is in process): `Request.user`. Bearer tokens are
tried as service-account tokens, then by each `TokenAuthenticator` of other wings (Keystone's). No proof at all is
`system:anonymous`, which the default roles let see health, version and nothing more. Impersonation is decided last.

Talks to: the object cache (`Reader`), for the live check that a token's account, pod or secret still exists.
"""

from kumo.kubernetes.apiserver.authentication.authenticator import ANONYMOUS_USER, Authenticator
from kumo.kubernetes.apiserver.authentication.impersonation import impersonate
from kumo.kubernetes.apiserver.authentication.service_accounts import ServiceAccountTokens, TokenClaims

__all__ = ["ANONYMOUS_USER", "Authenticator", "ServiceAccountTokens", "TokenClaims", "impersonate"]
