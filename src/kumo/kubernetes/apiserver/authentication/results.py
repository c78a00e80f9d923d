"""What a token proves: its user and audiences, nothing (it is not of that kind), or a refusal with its reason."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kumo.api.users import UserInfo


class Proven(NamedTuple):
    """The user that a token proves, and those of the audiences asked for that it is good for."""

    user: UserInfo
    audiences: tuple[str, ...] = ()


class TokenRejected(Exception):
    """A token of an authenticator's own kind that proves nobody; the message is what a TokenReview tells."""


def common_audiences(own: Iterable[str], wanted: Iterable[str]) -> tuple[str, ...]:
    """The wanted audiences that the token has. Raises TokenRejected if there are none."""
    has = tuple(own)
    asked = tuple(wanted)
    found = tuple(a for a in asked if a in has)
    if not found and asked:
        raise TokenRejected(f"token audiences {_listed(has)} is invalid for the target audiences {_listed(asked)}")
    return found


def _listed(names: Iterable[str]) -> str:
    return "[" + " ".join(f'"{name}"' for name in names) + "]"
