"""Answers: objects and lists as bytes, Status objects, warnings in the header."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from kumo.api.errors import StatusError
from kumo.kubernetes.apiserver import yamls
from kumo.kubernetes.apiserver.chunks import gzip
from kumo.kubernetes.apiserver.splice import encode
from kumo.machinery.http import Answer, HeaderLines, Request, Response

GZIP_ABOVE = 128 << 10
"""Bodies smaller than this are not worth compressing (upstream's threshold)."""
_LARGE_YAML = 1 << 17
_MOST_SAID, _LONGEST_SAID = 4096, 256
"""How many characters warnings may have together, and each once they are more (upstream's numbers)."""
_NO_CACHE = {"Cache-Control": "no-cache, private"}


def refusal(error: StatusError, request: Request | None = None) -> Response:
    """The answer of a refusal: its Status, as YAML for who asked for YAML."""
    if request is not None and request.headers.get("accept", "").startswith("application/yaml"):
        return Response(error.code, yamls.dump(error.status), "application/yaml", {**_NO_CACHE, **error.headers})
    return Response(error.code, encode(error.status), headers={**_NO_CACHE, **error.headers})


def json_response(
    request: Request, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer of JSON bytes, compressed if it is large and the client takes that."""
    sent = {**_NO_CACHE, **headers} if headers else _NO_CACHE
    if len(body) > GZIP_ABOVE and "gzip" in request.headers.get("accept-encoding", ""):
        return Response(status, gzip(body), headers={**sent, "Content-Encoding": "gzip", "Vary": "Accept-Encoding"})
    return Response(status, body, headers=sent)


def value_response(request: Request, value: Any, status: int = 200, *, as_yaml: bool = False) -> Response:
    """An answer of a JSON-shaped value."""
    if as_yaml:
        large = len(encode(value)) > _LARGE_YAML
        return Response(status, _dumped(value) if large else yamls.dump(value), "application/yaml", _NO_CACHE)
    return json_response(request, encode(value), status)


async def _dumped(value: Any) -> AsyncIterator[bytes]:
    """The value as YAML, made beside the loop: a mebibyte takes a fifth of a second."""
    yield await asyncio.to_thread(yamls.dump, value)


def warning_headers(warnings: Sequence[str]) -> dict[str, str]:
    """The Warning header (RFC 7234, code 299) for the texts, each said once, in a line of its own."""
    said = _truncated(dict.fromkeys(w for w in warnings if w))
    if not said:
        return {}
    quoted = ("".join(c for c in w if c >= " ").replace("\\", "\\\\").replace('"', '\\"') for w in said)
    return {"Warning": HeaderLines([f'299 - "{w}"' for w in quoted])}


def warned(answer: Answer, warnings: Sequence[str]) -> Answer:
    """The answer with the warnings in its header, if they are not there yet."""
    if isinstance(answer, Response) and "Warning" not in answer.headers:
        answer.headers = {**answer.headers, **warning_headers(warnings)}
    return answer


def _truncated(texts: Mapping[str, None]) -> Sequence[str]:
    """The texts, if they have no more than `_MOST_SAID` characters together; else each cut, and no more than that."""
    if sum(map(len, texts)) <= _MOST_SAID:
        return list(texts)
    found: list[str] = []
    written = 0
    for text in texts:
        if written >= _MOST_SAID:
            break
        found.append(text[:_LONGEST_SAID])
        written += len(found[-1])
    return found


def text_response(text: str, status: int = 200) -> Response:
    """A plain-text answer."""
    return Response(status, text.encode(), "text/plain; charset=utf-8", {"X-Content-Type-Options": "nosniff"})
