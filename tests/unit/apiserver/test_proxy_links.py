"""Links of pages behind the proxies, made to lead through them."""

from __future__ import annotations

import gzip
import zlib

import pytest

from kumo.kubernetes.apiserver.kubelet_proxy.links import LARGEST_PAGE, Detour, rewrite_page

pytestmark = pytest.mark.unit

PREFIX = "/api/v1/namespaces/n/pods/p/proxy"
DETOUR = Detour(PREFIX, frozenset(("10.0.0.1:80", "localhost:8001")))


@pytest.mark.parametrize(
    ("link", "wanted"),
    [
        ("/x", PREFIX + "/x"),
        ("/x/", PREFIX + "/x/"),
        ("/", PREFIX + "/"),
        ("/x?a=b#c", PREFIX + "/x?a=b#c"),
        ("http://10.0.0.1:80/x", PREFIX + "/x"),
        ("http://localhost:8001/x", PREFIX + "/x"),
        ("//10.0.0.1:80/x", PREFIX + "/x"),
        (PREFIX + "/x", PREFIX + "/x"),
        ("x", "x"),
        ("../x", "../x"),
        ("#c", "#c"),
        ("", ""),
        ("https://elsewhere/x", "https://elsewhere/x"),
        ("mailto:a@b", "mailto:a@b"),
        ("http://[bad/x", "http://[bad/x"),
    ],
)
def test_links(link: str, wanted: str) -> None:
    assert DETOUR.rewrite(link) == wanted


@pytest.mark.parametrize(
    ("page", "wanted"),
    [
        ('<a href="/x">t</a>', f'<a href="{PREFIX}/x">t</a>'),
        ("<A  HREF='/x' class=k>t</A>", f'<a href="{PREFIX}/x" class="k">t</A>'),
        ('<p>\n<img src="/a.png" alt="&lt;"/>', f'<p>\n<img src="{PREFIX}/a.png" alt="&lt;"/>'),
        ('<a title="/x">', '<a title="/x">'),
        ('<!-- <a href="/x"> -->', '<!-- <a href="/x"> -->'),
        ('<script>var a = "<a href=\\"/x\\">";</script>', '<script>var a = "<a href=\\"/x\\">";</script>'),
        ("<a href=/x", "<a href=/x"),
        ("a\r\n<a\nhref=/x>\n&amp; <b>", f'a\r\n<a href="{PREFIX}/x">\n&amp; <b>'),
    ],
)
def test_pages(page: str, wanted: str) -> None:
    assert rewrite_page(page.encode(), "", DETOUR).decode() == wanted


def test_bytes_that_are_no_text_stay() -> None:
    assert rewrite_page(b'\xff<a href="/x">\xfe', "", DETOUR) == f'<a href="{PREFIX}/x">'.encode().join(
        (b"\xff", b"\xfe")
    )


def test_packed_pages() -> None:
    page, wanted = b'<a href="/x">', f'<a href="{PREFIX}/x">'.encode()
    assert gzip.decompress(rewrite_page(gzip.compress(page), "gzip", DETOUR)) == wanted
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(page) + packer.flush()
    assert zlib.decompress(rewrite_page(packed, "deflate", DETOUR), wbits=-15) == wanted


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_what_cannot_be_read_is_passed_on(encoding: str) -> None:
    assert rewrite_page(b"no such thing", encoding, DETOUR) == b"no such thing"


def test_a_page_that_grows_too_far_is_passed_on() -> None:
    bomb = gzip.compress(b" " * (LARGEST_PAGE + 1))
    assert rewrite_page(bomb, "gzip", DETOUR) == bomb
