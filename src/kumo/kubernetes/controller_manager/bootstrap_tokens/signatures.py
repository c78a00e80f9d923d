"""Which bootstrap tokens sign, and how. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

from kumo.api.bootstrap_tokens import ID, TYPE, expiry, secret_name, value
from kumo.api.objects import Object, name_of


def signing_token(secret: Object, now: float) -> tuple[str, str] | None:
    """The token's id and secret, if it may sign."""
    token_id, text = value(secret, "token-id"), value(secret, "token-secret")
    named = ID.fullmatch(token_id) is not None and name_of(secret) == secret_name(token_id)
    if secret.get("type") != TYPE or not named or not text:
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
