"""What the Secret of a bootstrap token says (`bootstrap-token-<id>` in kube-system). Pure.

Source: https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/
"""

from __future__ import annotations

import base64
import binascii
import datetime
import math
import re

from kumo.api.objects import Object

NAMESPACE = "kube-system"
TYPE = "bootstrap.kubernetes.io/token"
ID = re.compile(r"[a-z0-9]{6}")
TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
"""A token's text: its id, its secret."""
GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")
"""A group that a token may give."""


def secret_name(token_id: str) -> str:
    """The name of the token's Secret."""
    return f"bootstrap-token-{token_id}"


def value(secret: Object, key: str) -> str:
    """A value of the secret's data, empty if absent or no text."""
    try:
        return base64.b64decode((secret.get("data") or {}).get(key) or "", validate=True).decode()
    except (binascii.Error, ValueError):
        return ""


def expiry(secret: Object) -> float:
    """When the token ends, epoch seconds: infinite without an end, 0 for one that can't be read."""
    text = value(secret, "expiration")
    if not text:
        return math.inf
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    return found.timestamp() if found.tzinfo is not None else 0.0
