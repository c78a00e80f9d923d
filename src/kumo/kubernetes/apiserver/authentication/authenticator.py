"""From a request to its user: certificate or component, bearer token, or nobody."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from kumo.api.errors import unauthorized
from kumo.api.users import ANONYMOUS, AUTHENTICATED_GROUP, UNAUTHENTICATED_GROUP, UserInfo
from kumo.kubernetes.apiserver.authentication.service_accounts import ServiceAccountTokens
from kumo.machinery.extension import TokenAuthenticator
from kumo.machinery.http import Request

ANONYMOUS_USER = UserInfo(ANONYMOUS, (UNAUTHENTICATED_GROUP,))
_PROTOCOL_TOKEN = "base64url.bearer.authorization.k8s.io."


class Authenticator:
    """Tries each proof in turn. `others` are the token authenticators of other wings."""

    def __init__(
        self,
        tokens: ServiceAccountTokens | None,
        others: Sequence[TokenAuthenticator] = (),
        *,
        anonymous: bool = True,
    ) -> None:
        self._tokens = tokens
        self._others = tuple(others)
        self._anonymous = anonymous

    async def authenticate(self, request: Request) -> UserInfo:
        """Who is asking. Raises a 401 StatusError for a token that proves nothing, or when nobody may be anonymous."""
        if request.user is not None:
            return request.user
        token = _bearer(request)
        if token:
            user = await self.authenticate_token(token)
            if user is None:
                raise unauthorized()
            return user
        if not self._anonymous:
            raise unauthorized()
        return ANONYMOUS_USER

    async def authenticate_token(self, token: str, audiences: Sequence[str] = ()) -> UserInfo | None:
        """The user that a bearer token proves, or None."""
        found = await self.review_token(token, audiences)
        return found[0] if found else None

    async def review_token(self, token: str, audiences: Sequence[str] = ()) -> tuple[UserInfo, tuple[str, ...]] | None:
        """The token's user and those of `audiences` that it is good for, or None.

        Tokens of other wings know no audience: they are good for this server's only.
        """
        if self._tokens is not None:
            found = self._tokens.authenticate(token, audiences)
            if found is not None:
                return found
        own = self._tokens.audiences if self._tokens is not None else ()
        common = tuple(a for a in audiences or own if a in own)
        if audiences and not common:
            return None
        for other in self._others:
            user = await other(token)
            if user is not None:
                if AUTHENTICATED_GROUP not in user.groups:
                    user = UserInfo(user.name, (*user.groups, AUTHENTICATED_GROUP), user.uid, user.extra)
                return user, common
        return None


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
