"""Bootstrap tokens: `id.secret`, kept in Secrets `bootstrap-token-<id>` of kube-system, for machines that join."""

from __future__ import annotations

import base64
import binascii
import datetime
import hmac
import re
import time
from collections.abc import Callable

from kumo.api.objects import Object, is_deleting
from kumo.api.resources import SECRETS
from kumo.api.users import AUTHENTICATED_GROUP, UserInfo
from kumo.kubernetes.apiserver.attributes import Reader

SECRET_TYPE = "bootstrap.kubernetes.io/token"
DEFAULT_GROUP = "system:bootstrappers"
_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
_GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")


class BootstrapTokens:
    """Knows tokens by their Secrets, at every use."""

    def __init__(self, reader: Reader, clock: Callable[[], float] = time.time) -> None:
        self._reader = reader
        self._clock = clock

    def authenticate(self, token: str) -> UserInfo | None:
        """The user `system:bootstrap:<id>`, or None for anything but a good token."""
        parts = _TOKEN.fullmatch(token)
        if parts is None:
            return None
        token_id, text = parts.groups()
        secret = self._reader.get(SECRETS, f"bootstrap-token-{token_id}", "kube-system")
        if secret is None or is_deleting(secret) or secret.get("type") != SECRET_TYPE:
            return None
        if not hmac.compare_digest(_value(secret, "token-secret").encode(), text.encode()):
            return None
        if _value(secret, "token-id") != token_id or self._over(secret):
            return None
        if _value(secret, "usage-bootstrap-authentication") != "true":
            return None
        groups = _groups(_value(secret, "auth-extra-groups"))
        if groups is None:
            return None
        return UserInfo(f"system:bootstrap:{token_id}", (*groups, AUTHENTICATED_GROUP))

    def _over(self, secret: Object) -> bool:
        text = _value(secret, "expiration")
        if not text:
            return False
        try:
            end = datetime.datetime.fromisoformat(text)
        except ValueError:
            return True
        return end.tzinfo is None or end.timestamp() <= self._clock()


def _value(secret: Object, key: str) -> str:
    try:
        return base64.b64decode((secret.get("data") or {}).get(key) or "", validate=True).decode()
    except (binascii.Error, ValueError):
        return ""


def _groups(text: str) -> tuple[str, ...] | None:
    """The token's groups; None when it asks for one that no token may give."""
    asked = [group for group in text.split(",") if group]
    if any(_GROUP.fullmatch(group) is None for group in asked):
        return None
    return (DEFAULT_GROUP, *sorted(set(asked)))
