"""All of authentication for one API server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import structlog

from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.attributes import Reader
from kumo.kubernetes.apiserver.authentication.authenticator import Authenticator
from kumo.kubernetes.apiserver.authentication.bootstrap_tokens import BootstrapTokens
from kumo.kubernetes.apiserver.authentication.client_certificates import ClientCertificates
from kumo.kubernetes.apiserver.authentication.config import AuthenticationConfig
from kumo.kubernetes.apiserver.authentication.front_proxy import FrontProxy
from kumo.kubernetes.apiserver.authentication.legacy_use import LegacyUse
from kumo.kubernetes.apiserver.authentication.service_accounts import ServiceAccountTokens
from kumo.kubernetes.apiserver.following import digest_of, follow
from kumo.machinery.client import Client
from kumo.machinery.extension import TokenAuthenticator
from kumo.machinery.http import PeerCertificate
from kumo.machinery.listener.identity import user_of_peer

_log = structlog.get_logger("kumo.apiserver.identity")


class Identity:
    """Who asks. Raises ValueError for keys, bundles and expressions that can't be used.

    `client` writes what authentication notes; `run` fetches the keys of other issuers; `close` ends it.
    """

    def __init__(
        self,
        config: AuthenticationConfig,
        reader: Reader,
        client: Client,
        *,
        issuer: str,
        key: Path,
        others: Sequence[TokenAuthenticator] = (),
        anonymous: bool = True,
    ) -> None:
        self._use = LegacyUse(client, reader)
        self.tokens = ServiceAccountTokens(
            issuer=issuer,
            key_path=key,
            reader=reader,
            other_keys=config.account_keys,
            other_issuers=config.account_issuers,
            used=self._use.note,
        )
        self._certificates = ClientCertificates(config.client_ca) if config.client_ca else None
        self._providers = None
        self._file = config.providers_file
        self._digest = digest_of(self._file) if self._file is not None else b""
        if config.providers or self._file is not None:
            from kumo.kubernetes.apiserver.authentication.oidc.provider import IdTokenProviders

            self._providers = IdTokenProviders(config.providers)
        self.authenticator = Authenticator(
            self.tokens,
            others,
            anonymous=anonymous,
            anonymous_paths=config.anonymous_paths,
            proxy=FrontProxy(config.front_proxy) if config.front_proxy else None,
            bootstrap=BootstrapTokens(reader) if config.bootstrap_tokens else None,
            id_tokens=self._providers,
        )

    def identify(self, peer: PeerCertificate) -> UserInfo | None:
        """Whose client certificate it is: the listener asks once for a connection."""
        return self._certificates.user(peer) if self._certificates is not None else user_of_peer(peer)

    async def run(self) -> None:
        """Fetch the keys of other issuers, so that nobody's first request waits for them; then follow their file."""
        if self._providers is None:
            return
        await self._providers.prepare()
        if self._file is not None:
            await follow(self._file, self._digest, self._reload)

    async def _reload(self) -> None:
        """Use the issuers that the changed file names. A file with a mistake, or whose issuers don't answer, is not."""
        from kumo.kubernetes.apiserver.authentication.oidc.configuration import read_configuration
        from kumo.kubernetes.apiserver.authentication.oidc.settings import SettingsError

        assert self._file is not None and self._providers is not None
        try:
            await self._providers.use(read_configuration(self._file).providers)
        except (SettingsError, ValueError) as error:
            _log.error("the changed authentication configuration is not used", error=str(error))
        else:
            _log.info("the authentication configuration has been read again", path=str(self._file))

    async def close(self) -> None:
        """End what is being written."""
        await self._use.close()
