"""A review posted to a webhook and its answer read: bounded in size and time, failures told as upstream tells them."""

from __future__ import annotations

import asyncio
import math
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from kumo.kubernetes.apiserver.outbound.client_config import ClientConfig
from kumo.kubernetes.apiserver.outbound.connections import BadAuthority, Connections
from kumo.kubernetes.apiserver.outbound.network_errors import told

_RETRIES = 10
_DECODE = msgspec.json.Decoder().decode
_HEADERS = {
    "Accept": "application/json, */*",
    "Content-Type": "application/json",
    "User-Agent": "kube-apiserver-admission",
}
_SAID = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    409: "the server reported a conflict",
    415: "the body of the request was in an unknown format - accepted media types include: ",
    422: "the server rejected our request due to an error in our request",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}


class PostFailed(Exception):
    """The webhook could not be asked; the message is what the HTTP client of upstream says."""


class Refused(PostFailed):
    """The webhook answered with another status than success, or with nothing."""


class TimedOut(PostFailed):
    """The webhook has not answered in time."""


class Unusable(PostFailed):
    """No connection can be made with what the configuration says."""


async def post(connections: Connections, client: ClientConfig, data: bytes, *, timeout: float, limit: int) -> bytes:
    """The body of the webhook's successful answer, of at most `limit` bytes, within `timeout` seconds.

    Raises Unusable for a bad authority, Refused for another status than success, TimedOut when it comes too late, and
    PostFailed for everything else.
    """
    url = client.address
    asked = f"{url}?timeout={math.ceil(timeout)}s"
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    try:
        context = connections.context(client)
    except BadAuthority as error:
        raise Unusable(str(error)) from None
    try:
        async with asyncio.timeout(timeout):
            return await _post(connections.session(client), asked, context, host, data, limit)
    except Refused:
        raise
    except TimeoutError as error:
        raise TimedOut(f'Post "{asked}": {told(error, host, port)}') from error
    except Exception as error:  # What the resolver raises comes through as it is.
        raise PostFailed(f'Post "{asked}": {told(error, host, port)}') from error


async def _post(session: aiohttp.ClientSession, url: str, tls: Any, host: str, data: bytes, limit: int) -> bytes:
    """The body of a successful answer. Who asks to come back later is asked again; the caller bounds the time."""
    for attempt in range(_RETRIES + 1):
        async with await _sent(session, url, tls, host, data) as answer:
            wait = answer.headers.get("Retry-After", "")
            if (answer.status == 429 or answer.status >= 500) and wait.isdigit() and attempt < _RETRIES:
                await asyncio.sleep(int(wait))
                continue
            body = await _read(answer, limit)
            if not 200 <= answer.status < 300:
                raise Refused(_refusal(answer, body))
            if not body:
                kind = answer.headers.get("Content-Type", "")
                raise Refused(f"0-length response with status code: {answer.status} and content type: {kind}")
            return body
    raise AssertionError("unreachable")


async def _sent(session: aiohttp.ClientSession, url: str, tls: Any, host: str, data: bytes) -> aiohttp.ClientResponse:
    """The answer's head. A kept-alive connection that the webhook has just closed is tried once more."""
    try:
        return await session.post(url, data=data, headers=_HEADERS, ssl=tls)
    except aiohttp.ServerDisconnectedError:
        return await session.post(url, data=data, headers=_HEADERS, ssl=tls)


async def _read(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    chunks, size = [], 0
    async for chunk in answer.content.iter_chunked(1 << 16):
        size += len(chunk)
        if size > limit:
            answer.close()
            raise Refused(f"the response body is larger than {limit} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _refusal(answer: aiohttp.ClientResponse, body: bytes) -> str:
    """What a refusal says: its Status' message, else what its code means."""
    try:
        found = _DECODE(body)
    except (msgspec.DecodeError, RecursionError):
        found = None
    if isinstance(found, dict) and found.get("kind") == "Status" and found.get("message"):
        return str(found["message"])
    kind = answer.headers.get("Content-Type", "")
    text = body[:2048].decode(errors="replace").strip() if kind.startswith("text/") else "unknown"
    if answer.status == 403:
        return text
    said = _SAID.get(answer.status)
    if said is not None:
        return said
    if answer.status >= 500:
        return f'an error on the server ("{text}") has prevented the request from succeeding'
    return f"the server responded with the status code {answer.status} but did not return more information"
