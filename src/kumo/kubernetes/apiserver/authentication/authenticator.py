"""From a request to its user: proxy, certificate or component, bearer token, or nobody."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Protocol

from kumo.api.errors import unauthorized
from kumo.api.users import ANONYMOUS, AUTHENTICATED_GROUP, UNAUTHENTICATED_GROUP, UserInfo
from kumo.kubernetes.apiserver.authentication.bootstrap_tokens import BootstrapTokens
from kumo.kubernetes.apiserver.authentication.front_proxy import FrontProxy
from kumo.kubernetes.apiserver.authentication.results import Proven, TokenRejected, common_audiences
from kumo.kubernetes.apiserver.authentication.service_accounts import ServiceAccountTokens
from kumo.machinery.extension import TokenAuthenticator
from kumo.machinery.http import Request

ANONYMOUS_USER = UserInfo(ANONYMOUS, (UNAUTHENTICATED_GROUP,))
_PROTOCOL_TOKEN = "base64url.bearer.authorization.k8s.io."


class IdTokens(Protocol):
    """Identity tokens of OpenID Connect providers."""

    async def authenticate(self, token: str) -> UserInfo | None:
        """The token's user, None for others' tokens. Raises TokenRejected."""
        ...


class Authenticator:
    """Tries each proof in turn. `others` are the token authenticators of other wings.

    `anonymous_paths`: where nobody may come in as system:anonymous; None stands for everywhere.
    """

    def __init__(
        self,
        tokens: ServiceAccountTokens | None,
        others: Sequence[TokenAuthenticator] = (),
        *,
        anonymous: bool = True,
        anonymous_paths: frozenset[str] | None = None,
        proxy: FrontProxy | None = None,
        bootstrap: BootstrapTokens | None = None,
        id_tokens: IdTokens | None = None,
    ) -> None:
        self._tokens = tokens
        self._others = tuple(others)
        self._anonymous = anonymous
        self._anonymous_paths = anonymous_paths
        self._proxy = proxy
        self._bootstrap = bootstrap
        self._id_tokens = id_tokens

    async def authenticate(self, request: Request) -> UserInfo:
        """Who is asking. Raises a 401 StatusError for a token that proves nothing, or when nobody may be anonymous."""
        if self._proxy is not None and request.peer is not None:
            user = self._proxy.authenticate(request)
            if user is not None:
                return user
        if request.user is not None:
            return request.user
        token = _bearer(request)
        if token:
            found = await self.authenticate_token(token)
            if found is None:
                raise unauthorized()
            return found
        if not self._anonymous:
            raise unauthorized()
        if self._anonymous_paths is not None and request.path not in self._anonymous_paths:
            raise unauthorized()
        return ANONYMOUS_USER

    async def authenticate_token(self, token: str, audiences: Sequence[str] = ()) -> UserInfo | None:
        """The user that a bearer token proves, or None."""
        try:
            found = await self.review_token(token, audiences)
        except TokenRejected:
            return None
        return found.user if found else None

    async def review_token(self, token: str, audiences: Sequence[str] = ()) -> Proven | None:
        """The token's user and those of `audiences` that it is good for, or None for a token that nobody knows.

        Tokens of other kinds than service accounts' know no audience: they are good for this server's only.
        Raises TokenRejected for a known kind of token that proves nobody.
        """
        rejected: TokenRejected | None = None
        own: tuple[str, ...] = ()
        if self._tokens is not None:
            own = self._tokens.audiences
            try:
                found = self._tokens.authenticate(token, audiences)
                if found is not None:
                    return found
            except TokenRejected as error:
                rejected = error
        user: UserInfo | None = None
        try:
            user = await self._others_token(token)
        except TokenRejected as error:
            rejected = rejected or error
        if user is not None:
            return Proven(user, common_audiences(own, audiences or own))
        if rejected is not None:
            raise rejected
        return None

    async def _others_token(self, token: str) -> UserInfo | None:
        if self._bootstrap is not None and (user := self._bootstrap.authenticate(token)) is not None:
            return user
        rejected: TokenRejected | None = None
        if self._id_tokens is not None:
            try:
                if (user := await self._id_tokens.authenticate(token)) is not None:
                    return _authenticated(user)
            except TokenRejected as error:
                rejected = error
        for other in self._others:
            if (user := await other(token)) is not None:
                return _authenticated(user)
        if rejected is not None:
            raise rejected
        return None


def _authenticated(user: UserInfo) -> UserInfo:
    """The user as a member of `system:authenticated`, which everybody who has proved himself is."""
    if AUTHENTICATED_GROUP in user.groups:
        return user
    return UserInfo(user.name, (*user.groups, AUTHENTICATED_GROUP), user.uid, user.extra)


def _bearer(request: Request) -> str:
    """The bearer token of the request (RFC 6750), or of its WebSocket subprotocols (for browsers); empty if none.

    A subprotocol that carries a token is taken out of the request: no handler may choose it.
    """
    header = request.headers.get("authorization", "")
    if header:
        scheme, _, token = header.partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""
    offered = request.headers.get("sec-websocket-protocol", "")
    if _PROTOCOL_TOKEN not in offered or not request.wants_websocket:
        return ""
    protocols = request.websocket_protocols
    carriers = [p for p in protocols if p.startswith(_PROTOCOL_TOKEN)]
    others = [p for p in protocols if not p.startswith(_PROTOCOL_TOKEN)]
    if len(carriers) != 1 or not others:
        raise unauthorized()
    encoded = carriers[0].removeprefix(_PROTOCOL_TOKEN)
    try:
        token = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise unauthorized() from None
    request.headers = {**request.headers, "sec-websocket-protocol": ", ".join(others)}
    return token
