"""URLs (k8s.io/apiserver/pkg/cel/library, urls): absolute ones, and absolute paths."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from kumo.machinery.cel import costs, types
from kumo.machinery.cel.errors import CelError
from kumo.machinery.cel.functions import Overload, overload

URL_TYPE = types.struct("kubernetes.URL", {})
_NAMED: Mapping[str, types.Type] = {"url": URL_TYPE}
_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2}).{0,2}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_SAFE_PATH = "/:@&=+$,;~!*'()-._[]"


class Url:
    """The value of `url('https://...')`."""

    __slots__ = ("parts", "text")
    cel_type = URL_TYPE

    def __init__(self, text: str) -> None:
        self.text = text
        self.parts = _parse(text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Url) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __str__(self) -> str:
        return self.text


def _parse(text: str) -> SplitResult:
    def fail(why: str) -> CelError:
        shown = json.dumps(text, ensure_ascii=False)
        return CelError(f"URL parse error during conversion from string: parse {shown}: {why}")

    if not text:
        raise fail("empty url")
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in text):
        raise fail("net/url: invalid control character in URL")
    head = text.split("/", 1)[0].split("?", 1)[0]
    if ":" in head and not text.startswith("/"):
        scheme = head.split(":", 1)[0]
        if not scheme:
            raise fail("missing protocol scheme")
        if not _SCHEME.fullmatch(scheme):
            raise fail("first path segment in URL cannot contain colon")
        rest = text[len(scheme) + 1 :]
        if not rest.startswith("/"):
            if not rest:
                return SplitResult(scheme.lower(), "", "", "", "")
            return SplitResult(scheme.lower(), "", "", "", "")
    elif not text.startswith("/"):
        raise fail("invalid URI for request")
    try:
        parts = urlsplit(text, allow_fragments=False)
        port = parts.netloc.rpartition("@")[2].rpartition("]")[2]
    except ValueError:
        raise fail("missing ']' in host") from None
    bad = _BAD_ESCAPE.search(parts.path)
    if bad:
        raise fail(f'invalid URL escape "{bad.group()}"')
    if " " in parts.netloc:
        raise fail('invalid character " " in host name')
    if ":" in port and not port.rpartition(":")[2].isdigit() and port.rpartition(":")[2]:
        raise fail(f'invalid port ":{port.rpartition(":")[2]}" after host')
    return parts


def _is_url(text: str) -> bool:
    try:
        _parse(text)
    except CelError:
        return False
    return True


def _host(url: Url) -> str:
    return url.parts.netloc.rpartition("@")[2]


def _hostname(url: Url) -> str:
    host = _host(url)
    if host.startswith("["):
        return host[1 : host.index("]")]
    return host.partition(":")[0]


def _port(url: Url) -> str:
    return _host(url).rpartition("]")[2].partition(":")[2]


def _path(url: Url) -> str:
    path = url.parts.path
    decoded = unquote(path)
    encoded = quote(decoded, safe=_SAFE_PATH)
    return path if "%" in path and unquote(encoded) == decoded and " " not in path else encoded


def _query(url: Url) -> dict[str, list[str]]:
    out: dict[str, list[str]] = {}
    for key, value in parse_qsl(url.parts.query, keep_blank_values=True):
        out.setdefault(key, []).append(value)
    return out


def overloads() -> list[Overload]:
    """Everything here."""

    def put(function: str, line: str, code: Any, cost: Any = None) -> Overload:
        return overload(function, line, code, cost, by_name=True, named=_NAMED)

    return [
        put("url", "string_to_url = (string) -> url", Url, costs.traversed()),
        put("getScheme", "url_get_scheme = url.() -> string", lambda u: u.parts.scheme),
        put("getHost", "url_get_host = url.() -> string", _host),
        put("getHostname", "url_get_hostname = url.() -> string", _hostname),
        put("getPort", "url_get_port = url.() -> string", _port),
        put("getEscapedPath", "url_get_escaped_path = url.() -> string", _path),
        put("getQuery", "url_get_query = url.() -> map<string,list<string>>", _query),
        put("isURL", "is_url_string = (string) -> bool", _is_url),
    ]
