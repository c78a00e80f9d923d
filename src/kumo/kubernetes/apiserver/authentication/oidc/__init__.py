"""Users of other identity providers: OpenID Connect tokens, verified with the keys that their issuers publish.

Talks to: each issuer's discovery document and key set, over HTTPS.
"""

from kumo.kubernetes.apiserver.authentication.oidc.configuration import (
    AnonymousSettings,
    read_configuration,
)
from kumo.kubernetes.apiserver.authentication.oidc.provider import IdTokenProviders
from kumo.kubernetes.apiserver.authentication.oidc.settings import ProviderSettings, SettingsError

__all__ = ["AnonymousSettings", "IdTokenProviders", "ProviderSettings", "SettingsError", "read_configuration"]
