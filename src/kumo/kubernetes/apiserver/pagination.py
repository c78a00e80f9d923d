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
        if not text.lstrip()[:1] == b"{":
            raise _invalid(_not_json(text))
        found = msgspec.json.decode(text)
        if found["v"] != _VERSION:
            raise _invalid(f"server does not recognize this encoded version {found['v']!r}")
        start = str(found["start"]).rstrip("\0")
        namespace, _, name = start.rpartition("/")
        revision = found["rv"]
        if not isinstance(revision, int) or isinstance(revision, bool) or not INCONSISTENT <= revision < 1 << 63:
            raise ValueError("not a resource version")
    except (binascii.Error, msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise _invalid(str(error)) from None
    if not revision:
        raise _invalid("incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
    return Position(revision, namespace, name)


def _invalid(why: str) -> StatusError:
    return bad_request(f"invalid continue token: continue key is not valid: {why}")


def _not_json(text: bytes) -> str:
    """What Go's decoder says of a text that is no JSON object."""
    if not text:
        return "unexpected end of JSON input"
    first = text[0]
    shown = chr(first) if 0x20 <= first < 0x7F else f"\\x{first:02x}"
    return f"invalid character '{shown}' looking for beginning of value"


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
