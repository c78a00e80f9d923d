"""What a bootstrap token's Secret says. Pure."""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import hmac
import json
import math
import re

from kumo.api.objects import Object, name_of

TYPE = "bootstrap.kubernetes.io/token"
_NAME = re.compile(r"bootstrap-token-([a-z0-9]{6})")


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


def signing_token(secret: Object, now: float) -> tuple[str, str] | None:
    """The token's id and secret, if it may sign."""
    named = _NAME.fullmatch(name_of(secret))
    token_id, text = value(secret, "token-id"), value(secret, "token-secret")
    if secret.get("type") != TYPE or named is None or named[1] != token_id or not text:
        return None
    usable = expiry(secret) > now and value(secret, "usage-bootstrap-signing") == "true"
    return (token_id, text) if usable else None


def detached_signature(content: str, token_id: str, secret: str) -> str:
    """The content's signature by the token: a JSON Web Signature (RFC 7515) without its payload."""
    header = _encoded(json.dumps({"alg": "HS256", "kid": token_id}, separators=(",", ":")).encode())
    signed = f"{header}.{_encoded(content.encode())}".encode()
    return f"{header}..{_encoded(hmac.new(secret.encode(), signed, hashlib.sha256).digest())}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
