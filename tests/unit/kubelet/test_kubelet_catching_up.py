"""What an attached client has missed while containerd got ready, told from the container's log."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kumo.kubernetes.kubelet.server.catching_up import CatchUp, missing, said
from kumo.kubernetes.kubelet.server.channels import STDERR, STDOUT

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("log", "sent", "first", "before", "known"),
    [
        (b"", 0, b"one\n", b"", 0),
        (b"one\n", 0, b"one\n", b"", 0),
        (b"one\n", 0, b"one\ntwo\n", b"", 0),
        (b"one\ntwo\n", 0, b"one\n", b"", 0),
        (b"one\ntwo\n", 0, b"two\n", b"one\n", 0),
        (b"one\ntwo\n", 0, b"wo\n", b"one\nt", 0),
        (b"one\n", 0, b"prompt> ", b"one\n", 0),
        (b"one\n", 4, b"two\n", b"", 0),
        (b"one\ntwo\n", 4, b"two\n", b"", 0),
        (b"one\n", 4, b"one\n", b"", 4),
        (b"one\ntwo\n", 4, b"one\ntwo\n", b"", 4),
        (b"one\none\n", 4, b"one\n", b"", 0),
    ],
)
def test_what_is_missing(log: bytes, sent: int, first: bytes, before: bytes, known: int) -> None:
    assert missing(log, sent, first) == (before, known)


def test_a_long_log_is_compared_in_no_time() -> None:
    log = b"a" * (256 << 10)
    assert missing(log, 0, b"b" * 32768) == (log, 0)


def test_what_a_log_says() -> None:
    log = b"t stdout P on\nt stderr F bad\nt stdout F e\nnonsense\nt stdout F not yet"
    assert said(log) == {STDOUT: b"one\n", STDERR: b"bad\n"}


class Client:
    def __init__(self, log: Path) -> None:
        self.got = b""
        self.log = log
        self.catch_up = CatchUp(log, frozenset((STDOUT,)), self.send)

    async def send(self, channel: int, data: bytes) -> None:
        assert channel == STDOUT
        self.got += data

    def say(self, text: str) -> None:
        with self.log.open("a") as stream:
            stream.write(f"t stdout F {text}\n")


async def test_what_was_said_before_the_first_output_came_is_sent_first(tmp_path: Path) -> None:
    client = Client(tmp_path / "log")
    client.say("long ago")
    await client.catch_up.mark()
    client.say("one")
    client.say("two")
    await client.catch_up.forward(STDOUT, b"two\n")
    await client.catch_up.forward(STDOUT, b"three\n")
    assert client.got == b"one\ntwo\nthree\n"


async def test_the_last_words_of_a_process_come_when_it_has_ended(tmp_path: Path) -> None:
    client = Client(tmp_path / "log")
    await client.catch_up.mark()
    client.say("done")
    await client.catch_up.finish()
    assert client.got == b"done\n"


async def test_the_only_answer_comes_although_the_session_never_brings_it(tmp_path: Path) -> None:
    client = Client(tmp_path / "log")
    await client.catch_up.mark()
    client.say("answer")
    watching = asyncio.create_task(client.catch_up.watch())
    async with asyncio.timeout(10):
        while not client.got:
            await asyncio.sleep(0.01)
    await client.catch_up.forward(STDOUT, b"answer\nmore\n")  # it was on its way after all
    await watching
    assert client.got == b"answer\nmore\n"
