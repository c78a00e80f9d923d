"""What control planes share, sealed by the token."""

from __future__ import annotations

import msgspec
import pytest

from kumo.cli.sealing import SealError, ca_of, fingerprint, open_sealed, seal

pytestmark = pytest.mark.unit
TOKEN = "a token of the cluster"


def test_only_the_token_opens_it() -> None:
    sealed = seal(b"the CA's key", TOKEN, "ab")
    assert b"key" not in sealed and ca_of(sealed) == "ab"
    assert open_sealed(sealed, TOKEN) == b"the CA's key"
    assert seal(b"the CA's key", TOKEN, "ab") != sealed, "a salt and a nonce of its own each time"
    with pytest.raises(SealError, match="the token is not the cluster's"):
        open_sealed(sealed, TOKEN + "x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ca": "cd"}, "the token is not the cluster's"),
        ({"data": "AAAA"}, "the token is not the cluster's"),
        ({"data": "%"}, "the token is not the cluster's"),
        ({"format": 2}, "a newer version of kumo wrote it"),
        ({"n": 3}, "the cost is none"),
        ({"n": 1 << 40}, "the cost is none"),
        ({"salt": 5}, "it can't be understood"),
    ],
)
def test_what_was_changed_is_not_opened(change: dict[str, object], message: str) -> None:
    found = msgspec.json.decode(seal(b"x", TOKEN, "ab"))
    with pytest.raises(SealError, match=message):
        open_sealed(msgspec.json.encode({**found, **change}), TOKEN)


def test_what_is_none_of_ours() -> None:
    with pytest.raises(SealError, match="it can't be understood"):
        ca_of(b"\x00")


def test_a_ca_is_told_by_its_certificate() -> None:
    assert fingerprint(b"one\n") == fingerprint(b"one") != fingerprint(b"other")
