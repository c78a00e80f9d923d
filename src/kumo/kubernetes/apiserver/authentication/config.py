"""What authentication is told when the API server is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kumo.kubernetes.apiserver.authentication.front_proxy import FrontProxyConfig
from kumo.kubernetes.apiserver.authentication.oidc.settings import ProviderSettings


@dataclass(frozen=True, slots=True)
class AuthenticationConfig:
    """Proofs beyond the signing key of service accounts. Paths are files (PEM); without one that proof is not taken.

    `client_ca`: the CAs of client certificates, read anew when the file changes. `account_keys`: further keys that
    verify service-account tokens, `account_issuers`: further issuers whose tokens they are. `providers`: OpenID Connect
    issuers; `providers_file`: the AuthenticationConfiguration that they are of, whose issuers are followed.
    `anonymous_paths`: where nobody may come in without proof; None stands for everywhere.
    """

    client_ca: Path | None = None
    front_proxy: FrontProxyConfig | None = None
    account_keys: Sequence[Path] = ()
    account_issuers: Sequence[str] = ()
    providers: Sequence[ProviderSettings] = ()
    providers_file: Path | None = None
    bootstrap_tokens: bool = True
    anonymous_paths: frozenset[str] | None = None
