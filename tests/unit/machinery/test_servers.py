"""Which of several servers is asked."""

from __future__ import annotations

import pytest

from kumo.machinery.servers import Servers

pytestmark = pytest.mark.unit
A, B, C = (f"https://192.0.2.{n}:6443" for n in range(3))


def test_the_next_one_is_asked_when_one_fails() -> None:
    turned: list[tuple[str, str]] = []
    servers = Servers(f"{A}/", [B, A, C], lambda *turn: turned.append(turn))
    assert servers.urls == (A, B, C) and servers.current == A
    assert servers.failed(B) and servers.current == A, "nobody asks it"
    assert servers.failed(A) and servers.current == B
    assert servers.failed(A) and servers.current == B, "another transport noticed the same"
    assert servers.failed(B) and servers.failed(C) and servers.current == A
    assert turned == [(A, B), (B, C), (C, A)]
    assert not Servers(A).failed(A)


def test_what_there_is_changes() -> None:
    servers = Servers(A, [B])
    servers.failed(A)
    assert servers.know([C, B]) and servers.current == B, "it answers: there is no reason to leave it"
    assert not servers.know([C, B])
    assert servers.know([C]) and servers.current == A and servers.urls == (A, C)
    assert servers.know([]) and servers.urls == (A,)
