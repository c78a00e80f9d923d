"""A service: one table of routes, and what every request meets on its way through it.

Order: request id, version documents and other open routes, token (401), microversion (400, 406), the handler; any
refusal becomes the service's own body, an unforeseen error a 500 without particulars (they go to the log, with the
request id).
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import msgspec
import structlog

from kumo.api.errors import StatusError
from kumo.machinery.http import BodyTooLarge, Request, Response
from kumo.openstack.common import microversions
from kumo.openstack.common.caller import Authenticate, Caller, Project
from kumo.openstack.common.errors import UNAUTHENTICATED, ApiError, Fault, from_status
from kumo.openstack.common.microversions import Range, Version

BODY_LIMIT = 114688
"""Bytes of a JSON body (oslo.middleware's default)."""
_UNVERSIONED = Version(0, 0)
_MALFORMED = "The server could not comply with the request since it is either malformed or otherwise incorrect."


@dataclass
class Call:
    """One request on its way through a service."""

    request: Request
    request_id: str
    base: str
    """Scheme and host as the client sees them, without a slash at the end."""
    params: dict[str, str] = field(default_factory=dict)
    version: Version = _UNVERSIONED
    proven: Caller | None = None

    @property
    def caller(self) -> Caller:
        """Who calls. Raises ApiError 401 for nobody."""
        if self.proven is None:
            raise ApiError(401, UNAUTHENTICATED)
        return self.proven

    @property
    def project(self) -> Project:
        """The project in whose scope the caller acts. Raises ApiError 403 without one."""
        if self.caller.project is None:
            raise ApiError(403, "Policy doesn't allow this action to be performed without a project scope.")
        return self.caller.project

    @cached_property
    def query(self) -> dict[str, str]:
        """The query's values by name."""
        return self.request.query

    def at_least(self, minor: int) -> bool:
        """Whether the microversion is this or later."""
        return self.version.minor >= minor

    async def json(self, limit: int = BODY_LIMIT) -> Any:
        """The body as JSON. Raises ApiError 400 or 413."""
        try:
            body = await self.request.read(limit)
        except BodyTooLarge:
            raise ApiError(413, "Request is too large.") from None
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            raise ApiError(400, _MALFORMED) from None

    async def document(self, key: str, limit: int = BODY_LIMIT) -> dict[str, Any]:
        """The object below `key` of a JSON body. Raises ApiError 400 when there is none."""
        body = await self.json(limit)
        if not isinstance(body, dict) or key not in body:
            raise ApiError(400, f"{key!r} is a required property")
        if not isinstance(body[key], dict):
            raise ApiError(
                400,
                f"Invalid input for field/attribute {key}. Value: {body[key]}. {body[key]!r} is not of type 'object'",
            )
        found: dict[str, Any] = body[key]
        return found


Handle = Callable[[Call], Awaitable[Response]]


class Route(NamedTuple):
    """A path below the service's prefix; `{name}` stands for one segment. `open`: no token needed."""

    method: str
    pattern: str
    handle: Handle
    open: bool = False


def reply(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(status, msgspec.json.encode(body), headers=headers or {})


def empty(status: int = 204, headers: dict[str, str] | None = None) -> Response:
    """An answer without a body."""
    return Response(status, b"", content_type="text/html; charset=UTF-8", headers=headers or {})


def base_url(request: Request) -> str:
    """Scheme and host as the client sees them: what a proxy says, else the Host header."""
    scheme = request.headers.get("x-forwarded-proto", request.scheme).split(",")[0].strip()
    host = request.headers.get("x-forwarded-host") or request.headers.get("host") or "localhost"
    return f"{scheme if scheme in ('http', 'https') else 'https'}://{host.split(',')[0].strip()}"


class Service:
    """Serves `routes` below `prefix`; every answer has `headers`, and the request id in those of `also`."""

    def __init__(
        self,
        name: str,
        prefix: str,
        routes: Sequence[Route],
        authenticate: Authenticate,
        fault: Fault,
        versions: Range | None = None,
        also: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.prefix = prefix
        self.routes = tuple(routes)
        self._headers = dict(headers or {})
        self._name = name
        self._fault = fault
        self._authenticate = authenticate
        self._versions = versions
        self._also = ("x-openstack-request-id", *also)
        self._log = structlog.get_logger(f"kumo.openstack.{name}")
        self._routes: dict[int, list[tuple[list[str], Route]]] = {}
        for route in routes:
            parts = [p for p in route.pattern.split("/") if p]
            self._routes.setdefault(len(parts), []).append((parts, route))

    async def handle(self, request: Request) -> Response:
        """Answer one request; never raises but for cancellation."""
        call = Call(request, f"req-{uuid.uuid4()}", base_url(request))
        extra = dict(self._headers)
        try:
            response = await self._serve(call, extra)
        except ApiError as error:
            response = self._refuse(call, error)
        except StatusError as error:
            response = self._refuse(call, from_status(error))
        except Exception:
            self._log.exception("a request failed", request_id=call.request_id, path=request.path)
            what = "The server has either erred or is incapable of performing the requested operation."
            response = self._refuse(call, ApiError(500, what))
        ids = dict.fromkeys(self._also, call.request_id)
        response.headers = {**extra, **response.headers, **ids}
        return response

    def _refuse(self, call: Call, error: ApiError) -> Response:
        response = self._fault(error.status, error.message)
        response.headers = {**response.headers, **error.headers}
        if error.status == 401:
            where = {"WWW-Authenticate": f'Keystone uri="{call.base}/identity/v3"'}
            response.headers = {**response.headers, **where}
        return response

    async def _serve(self, call: Call, extra: dict[str, str]) -> Response:
        route = self._find(call)
        if route is None or not route.open:
            token = call.request.headers.get("x-auth-token", "")
            call.proven = await self._authenticate(token) if token else None
            if call.proven is None:
                raise ApiError(401, UNAUTHENTICATED)
        if self._versions is not None:
            extra |= microversions.version_headers(
                microversions.asked(call.request.headers, self._versions) or str(self._versions.lowest), self._versions
            )
            call.version = microversions.negotiate(call.request.headers, self._versions)
            extra |= microversions.version_headers(str(call.version), self._versions)
        if route is None:
            raise ApiError(404, "The resource could not be found.")
        return await route.handle(call)

    def _find(self, call: Call) -> Route | None:
        parts = [p for p in call.request.path.removeprefix(self.prefix).split("/") if p]
        method = "GET" if call.request.method == "HEAD" else call.request.method
        others: set[str] = set()
        for pattern, route in self._routes.get(len(parts), ()):
            if all(p == q or p[0] == "{" for p, q in zip(pattern, parts, strict=True)):
                if route.method in (call.request.method, method):
                    call.params = {p[1:-1]: q for p, q in zip(pattern, parts, strict=True) if p[0] == "{"}
                    return route
                others.add(route.method)
        if others:
            raise ApiError(
                405, "The method is not allowed for the requested URL.", {"Allow": ", ".join(sorted(others))}
            )
        return None
