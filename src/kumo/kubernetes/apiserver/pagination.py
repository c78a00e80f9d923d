"""Continue tokens: where a list was cut, and the revision that all its parts show (upstream's form)."""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

import msgspec

from kumo.api.errors import StatusError, bad_request

_VERSION = "meta.k8s.io/v1"
INCONSISTENT = -1
"""The revision of a token that goes on with whatever is there now."""


class Position(NamedTuple):
    """The last object of the part before, and the list's revision."""

    revision: int
    namespace: str
    name: str


def encode_token(position: Position) -> str:
    """The token for the next part."""
    start = f"{position.namespace}/{position.name}" if position.namespace else position.name
    text = msgspec.json.encode({"v": _VERSION, "rv": position.revision, "start": start + "\0"})
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def decode_token(token: str) -> Position:
    """What the token says. Raises 400."""
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        found = msgspec.json.decode(text)
        if found["v"] != _VERSION:
            raise bad_request(
                f"continue key is not valid: server does not recognize this encoded version {found['v']!r}"
            )
        start = str(found["start"]).rstrip("\0")
        namespace, _, name = start.rpartition("/")
        revision = found["rv"]
        if not isinstance(revision, int) or isinstance(revision, bool) or not INCONSISTENT <= revision < 1 << 63:
            raise ValueError("not a resource version")
    except (binascii.Error, msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise bad_request(f"continue key is not valid: {error}") from None
    if not revision:
        raise bad_request("continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
    return Position(revision, namespace, name)


def token_expired(position: Position) -> StatusError:
    """410: the list's revision is no longer kept; the answer's own token goes on from now."""
    message = (
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
        "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
        "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
        "modified, or deleted between the time the first chunk was returned and now may show up in the list."
    )
    error = StatusError(410, "Expired", message)
    token = encode_token(position._replace(revision=INCONSISTENT))
    return ContinueExpired(error, token)


class ContinueExpired(StatusError):
    """The Expired error whose Status carries a token in its metadata."""

    def __init__(self, error: StatusError, token: str) -> None:
        super().__init__(error.code, error.reason, error.message)
        self.token = token

    @property
    def status(self) -> dict[str, object]:
        """The `Status` object to send."""
        return {**super().status, "metadata": {"continue": self.token}}
