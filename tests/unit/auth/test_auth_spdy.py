"""SPDY/3.1 frames: what kubectl's library writes and reads."""

from __future__ import annotations

import hashlib
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumo.kubernetes.apiserver.kubelet_proxy import spdy

pytestmark = pytest.mark.unit


def test_the_dictionary_is_the_drafts() -> None:
    dictionary = spdy._dictionary()
    assert hashlib.sha256(dictionary).hexdigest() == "51d27341373f923f3cd88e1eb7162aeaa3723d7585ff2399201dc06498407f02"
    assert zlib.adler32(dictionary) == 0xE3C6A7C2


@given(st.lists(st.integers(1, 40), max_size=20))
def test_frames_survive_any_cutting(cuts: list[int]) -> None:
    encoder, decoder = spdy.Encoder(), spdy.Decoder()
    headers = {"streamtype": "data", "port": "80", "requestid": "0"}
    stream = (
        encoder.syn_stream(1, headers)
        + encoder.syn_stream(3, {**headers, "streamtype": "error"}, spdy.FIN)
        + encoder.syn_reply(1)
        + spdy.data_frame(1, b"hello")
        + spdy.data_frame(1, b"", fin=True)
        + spdy.ping(7)
        + spdy.reset(3, spdy.CANCEL)
        + struct.pack(">HHIII", 0x8003, spdy.GOAWAY, 8, 3, 0)
    )
    frames = []
    for cut in [*cuts, len(stream)]:
        frames += decoder.feed(stream[:cut])
        stream = stream[cut:]
    assert [(f.kind, f.stream, f.fin) for f in frames] == [
        (spdy.SYN_STREAM, 1, False),
        (spdy.SYN_STREAM, 3, True),
        (spdy.SYN_REPLY, 1, False),
        (spdy.DATA, 1, False),
        (spdy.DATA, 1, True),
        (spdy.PING, 7, False),
        (spdy.RST_STREAM, 3, False),
        (spdy.GOAWAY, 3, False),
    ]
    assert frames[0].headers == headers
    assert frames[1].headers["streamtype"] == "error"
    assert frames[3].data == b"hello"


@pytest.mark.parametrize(
    "junk",
    [
        struct.pack(">HHI", 0x8002, spdy.PING, 4) + b"\0\0\0\1",
        struct.pack(">HHI", 0x8003, spdy.SYN_STREAM, 12) + b"x" * 12,
        struct.pack(">HHI", 0x8003, spdy.PING, 2) + b"xx",
    ],
)
def test_what_is_not_spdy_is_refused(junk: bytes) -> None:
    with pytest.raises(spdy.SpdyError):
        list(spdy.Decoder().feed(junk))


def test_unknown_control_frames_are_passed_over() -> None:
    settings = struct.pack(">HHI", 0x8003, spdy.SETTINGS, 4) + b"\0\0\0\0"
    assert [f.kind for f in spdy.Decoder().feed(settings + spdy.ping(1))] == [spdy.PING]
