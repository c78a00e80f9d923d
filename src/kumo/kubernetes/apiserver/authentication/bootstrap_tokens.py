"""Bootstrap tokens: `id.secret`, kept in Secrets `bootstrap-token-<id>` of kube-system, for machines that join."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable

from kumo.api.bootstrap_tokens import GROUP, NAMESPACE, TOKEN, TYPE, expiry, secret_name, value
from kumo.api.objects import is_deleting
from kumo.api.resources import SECRETS
from kumo.api.users import AUTHENTICATED_GROUP, UserInfo
from kumo.kubernetes.apiserver.attributes import Reader

DEFAULT_GROUP = "system:bootstrappers"


class BootstrapTokens:
    """Knows tokens by their Secrets, at every use."""

    def __init__(self, reader: Reader, clock: Callable[[], float] = time.time) -> None:
        self._reader = reader
        self._clock = clock

    def authenticate(self, token: str) -> UserInfo | None:
        """The user `system:bootstrap:<id>`, or None for anything but a good token."""
        parts = TOKEN.fullmatch(token)
        if parts is None:
            return None
        token_id, text = parts.groups()
        secret = self._reader.get(SECRETS, secret_name(token_id), NAMESPACE)
        if secret is None or is_deleting(secret) or secret.get("type") != TYPE:
            return None
        if not hmac.compare_digest(value(secret, "token-secret").encode(), text.encode()):
            return None
        if value(secret, "token-id") != token_id or expiry(secret) <= self._clock():
            return None
        if value(secret, "usage-bootstrap-authentication") != "true":
            return None
        groups = _groups(value(secret, "auth-extra-groups"))
        if groups is None:
            return None
        return UserInfo(f"system:bootstrap:{token_id}", (*groups, AUTHENTICATED_GROUP))


def _groups(text: str) -> tuple[str, ...] | None:
    """The token's groups; None when it asks for one that no token may give."""
    asked = [group for group in text.split(",") if group]
    if any(GROUP.fullmatch(group) is None for group in asked):
        return None
    return (DEFAULT_GROUP, *sorted(set(asked)))
