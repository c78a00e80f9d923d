"""Bootstrap tokens, `id.secret`, as text and as Secrets (`bootstrap-token-<id>` in kube-system). No I/O.

Source: https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/
"""

from __future__ import annotations

import base64
import re
import secrets
import string
from collections.abc import Sequence
from typing import NamedTuple

from kumo.api.bootstrap_tokens import GROUP, ID, NAMESPACE, TOKEN, TYPE, expiry, secret_name, value
from kumo.api.objects import Object, timestamp
from kumo.cli.instance import InstanceError

USAGES = ("signing", "authentication")
_ALPHABET = string.ascii_lowercase + string.digits


class Token(NamedTuple):
    """A token's public and secret part."""

    id: str
    secret: str

    def __str__(self) -> str:
        return f"{self.id}.{self.secret}"

    @property
    def name(self) -> str:
        """The name of its Secret."""
        return secret_name(self.id)


def parse(text: str) -> Token:
    """The token in the text. Raises InstanceError."""
    found = TOKEN.fullmatch(text)
    if found is None:
        raise InstanceError(f"the token {text!r} is not of the form abcdef.0123456789abcdef")
    return Token(found[1], found[2])


def id_of(text: str) -> str:
    """The id in a token or in an id alone. Raises InstanceError."""
    if ID.fullmatch(text):
        return text
    if (found := TOKEN.fullmatch(text)) is None:
        raise InstanceError(f"{text!r} is neither a token (abcdef.0123456789abcdef) nor a token's id (abcdef)")
    return found[1]


def generate() -> Token:
    """A token that nobody can guess."""
    return Token(*("".join(secrets.choice(_ALPHABET) for _ in range(length)) for length in (6, 16)))


def secret(token: Token, *, ttl: float, description: str, usages: Sequence[str], groups: Sequence[str]) -> Object:
    """The Secret of a token that lasts `ttl` seconds from now, for ever with 0. Raises InstanceError."""
    import time

    for usage in usages:
        if usage not in USAGES:
            raise InstanceError(f"--usages {usage}: there are {' and '.join(USAGES)}")
    for group in groups:
        if not GROUP.fullmatch(group):
            raise InstanceError(f"--groups {group}: a token's groups begin with system:bootstrappers:")
    data = {"token-id": token.id, "token-secret": token.secret}
    if ttl:
        data["expiration"] = timestamp(time.time() + ttl)
    if description:
        data["description"] = description
    data |= {f"usage-bootstrap-{usage}": "true" for usage in usages}
    if groups:
        data["auth-extra-groups"] = ",".join(groups)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": TYPE,
        "metadata": {"name": token.name, "namespace": NAMESPACE},
        "data": {k: base64.b64encode(v.encode()).decode() for k, v in data.items()},
    }


class Row(NamedTuple):
    """A token as it is listed."""

    token: str
    ttl: str
    expires: str
    usages: str
    description: str
    groups: str


def row(found: Object, now: float) -> Row | None:
    """The token of a Secret, in the words of `kubeadm token list`; None for a Secret that holds none."""
    parts = value(found, "token-id"), value(found, "token-secret")
    if not all(parts):
        return None
    end = expiry(found)
    for_ever = end == float("inf")
    usages = ",".join(sorted(u for u in USAGES if value(found, f"usage-bootstrap-{u}") == "true"))
    return Row(
        ".".join(parts),
        "<forever>" if for_ever else short_duration(end - now),
        "<never>" if for_ever else value(found, "expiration"),
        usages or "<none>",
        value(found, "description") or "<none>",
        value(found, "auth-extra-groups") or "<none>",
    )


def short_duration(seconds: float) -> str:
    """A time in its largest unit, as `kubectl get` shows ages: 23h, 59m, 12s."""
    if seconds < 0:
        return "<invalid>" if seconds < -1 else "0s"
    for size, unit in ((365 * 86400, "y"), (86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


def seconds_of(text: str) -> float:
    """A duration as Go writes it (24h0m0s, 90m, 1.5h, 0). Raises InstanceError."""
    if text == "0":
        return 0.0
    units = {"h": 3600.0, "m": 60.0, "s": 1.0}
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms])", text)
    if not parts or "".join(n + u for n, u in parts) != text:
        raise InstanceError(f"{text!r} is not a duration such as 24h0m0s, 90m or 0")
    return sum(float(number) * units[unit] for number, unit in parts)
