"""Links in what a pod or service answers, made to lead through the proxy again."""

from __future__ import annotations

import gzip
import html
import posixpath
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import SplitResult, urlsplit, urlunsplit

_LINKS: dict[str, frozenset[str]] = {
    **dict.fromkeys(("a", "area", "base", "link"), frozenset(("href",))),
    **dict.fromkeys(("audio", "embed", "script", "source"), frozenset(("src",))),
    **dict.fromkeys(("blockquote", "del", "ins", "q"), frozenset(("cite",))),
    **dict.fromkeys(("frame", "iframe"), frozenset(("longdesc", "src"))),
    "applet": frozenset(("codebase",)),
    "body": frozenset(("background",)),
    "button": frozenset(("formaction",)),
    "command": frozenset(("icon",)),
    "form": frozenset(("action",)),
    "head": frozenset(("profile",)),
    "html": frozenset(("manifest",)),
    "img": frozenset(("longdesc", "src", "usemap")),
    "input": frozenset(("src", "usemap", "formaction")),
    "object": frozenset(("classid", "codebase", "data", "usemap")),
    "video": frozenset(("poster", "src")),
}
"""Which attributes of which elements hold a URL (HTML 4 and 5)."""

LARGEST_PAGE = 8 << 20
"""Bytes of a page that are looked through; a longer one is passed on as it is."""


@dataclass(frozen=True, slots=True)
class Detour:
    """The way through the proxy: the path before the answerer's own, and the hosts by which the answerer is known."""

    prefix: str
    hosts: frozenset[str]

    def rewrite(self, link: str) -> str:
        """The link through the proxy, if it leads to an absolute path of the answerer; else the link as it is."""
        try:
            url = urlsplit(link)
        except ValueError:
            return link
        if (url.netloc and url.netloc not in self.hosts) or not url.path.startswith("/"):
            return link
        path = url.path
        if not path.startswith(self.prefix):
            path = posixpath.normpath(self.prefix + path) + ("/" if path.endswith("/") else "")
        return urlunsplit(SplitResult("", "", path, url.query, url.fragment))


class _Page(HTMLParser):
    """Finds the tags whose links change, and where they stand."""

    def __init__(self, text: str, rewrite: Callable[[str], str]) -> None:
        super().__init__(convert_charrefs=False)
        self._rewrite = rewrite
        self._lines = [0]
        for line in text.split("\n"):
            self._lines.append(self._lines[-1] + len(line) + 1)
        self.changes: list[tuple[int, int, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag(tag, attrs, ">")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag(tag, attrs, "/>")

    def _tag(self, tag: str, attrs: list[tuple[str, str | None]], end: str) -> None:
        links = _LINKS.get(tag)
        if links is None:
            return
        made = [(name, self._rewrite(value) if value and name in links else value) for name, value in attrs]
        if made == attrs:
            return
        line, column = self.getpos()
        start = self._lines[line - 1] + column
        text = "".join(f' {name}="{html.escape(value or "")}"' for name, value in made)
        self.changes.append((start, start + len(self.get_starttag_text() or ""), f"<{tag}{text}{end}"))


def rewrite_page(page: bytes, encoding: str, detour: Detour) -> bytes:
    """The page with its links through the proxy (`apimachinery/pkg/util/proxy.Transport`).

    `encoding` is the page's Content-Encoding: `""`, `gzip` or `deflate`; a page of another, or one that can't be
    read or grows beyond `LARGEST_PAGE`, is given back as it is. All but changed tags stays byte for byte.
    """
    if encoding == "":
        return _rewritten(page, detour)
    if encoding not in ("gzip", "deflate"):
        return page
    reader = zlib.decompressobj(31 if encoding == "gzip" else -15)
    try:
        plain = reader.decompress(page, LARGEST_PAGE)
    except zlib.error:
        return page
    if reader.unconsumed_tail or not reader.eof:
        return page
    made = _rewritten(plain, detour)
    if encoding == "gzip":
        return gzip.compress(made, mtime=0)
    writer = zlib.compressobj(wbits=-15)
    return writer.compress(made) + writer.flush()


def _rewritten(page: bytes, detour: Detour) -> bytes:
    text = page.decode(errors="surrogateescape")
    parts: list[str] = []
    at = 0
    for start, end, tag in _Page(text, detour.rewrite).changes:
        parts += (text[at:start], tag)
        at = end
    return "".join((*parts, text[at:])).encode(errors="surrogateescape")
