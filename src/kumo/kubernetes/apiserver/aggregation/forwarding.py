"""A request sent on to an aggregated server, in the name of its user, and the answer passed back as it comes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from urllib.parse import quote

from multidict import CIMultiDict

from kumo.api.errors import StatusError, no_such_path
from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.kubelet_proxy.upstream import Held, open_websocket
from kumo.kubernetes.apiserver.responses import text_response
from kumo.machinery.http import Answer, Request, Response, header_lines
from kumo.machinery.transport import HttpTransport

_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "host",
        "content-length",
    )
)
_ANSWERED = _HOP | {"date", "content-type"}
_IDENTITY = ("x-remote-", "impersonate-")
_PLAIN = "/:@!$&'()*+,;=~"
_HEADER_KEY = "!#$&'*+^`|"
"""What may stand in a header's name besides letters, digits and `-._~`; the rest is percent-encoded."""


def identity_headers(user: UserInfo) -> CIMultiDict[str]:
    """The headers that name the user to a server that believes the front proxy (`client-go/transport`)."""
    found: CIMultiDict[str] = CIMultiDict({"X-Remote-User": user.name})
    if user.uid:
        found["X-Remote-Uid"] = user.uid
    for group in user.groups:
        found.add("X-Remote-Group", group)
    for key, values in (user.extra or {}).items():
        for value in values:
            found.add("X-Remote-Extra-" + quote(key.lower(), safe=_HEADER_KEY), value)
    return found


def request_headers(headers: Mapping[str, str], user: UserInfo, remote: str) -> CIMultiDict[str]:
    """The client's headers without what proves or names anybody, and the user's."""
    dropped = {h.strip().lower() for h in headers.get("connection", "").split(",")}
    sent = identity_headers(user)
    for name, value in headers.items():
        if name in _HOP or name in dropped or name == "authorization" or name.startswith(_IDENTITY):
            continue
        for line in header_lines(value):
            sent.add(name, line)
    if remote:
        before = headers.get("x-forwarded-for")
        sent["x-forwarded-for"] = f"{before}, {remote}" if before else remote
    return sent


def quoted_path(request: Request) -> str:
    """The request's path as it is sent on. Raises 404 for one with dots."""
    if any(part in (".", "..") for part in request.path.split("/")):
        raise no_such_path()  # It would lead elsewhere than what was authorized.
    return quote(request.path, safe=_PLAIN)


async def forward(transport: HttpTransport, request: Request, user: UserInfo) -> Answer:
    """The backend's answer. 503 as text when it can't be reached. Raises 404 for a path with dots, StatusError."""
    path = quoted_path(request)
    headers = request_headers(request.headers, user, request.remote)
    if request.wants_websocket:
        for name in [n for n in headers if n.lower().startswith("sec-websocket")]:
            headers.popall(name, None)
        protocols = tuple(request.websocket_protocols)
        try:
            return await open_websocket(transport, path, request.query_string, protocols, headers)
        except StatusError as error:
            if isinstance(error.__cause__, ConnectionError):
                return unreachable(error.__cause__)
            raise
    body = request.content if isinstance(request.content, bytes) else request.stream()
    stack = AsyncExitStack()
    try:
        head, chunks = await stack.enter_async_context(
            transport.exchange(request.method, path, query=request.query_string, headers=headers, body=body)
        )
    except ConnectionError as error:
        return unreachable(error)
    kept = {k: v for k, v in head.headers.items() if k not in _ANSWERED}
    if request.method == "HEAD":
        await stack.aclose()
        return Response(head.status, b"", head.headers.get("content-type", ""), kept)
    return Response(head.status, Held(stack, chunks), head.headers.get("content-type", ""), kept)


def unreachable(error: BaseException) -> Response:
    """503: the backend can't be reached."""
    return text_response(f"error trying to reach service: {error}\n", 503)


def unavailable() -> Response:
    """503: the backend is known not to answer."""
    return text_response("service unavailable\n", 503)
