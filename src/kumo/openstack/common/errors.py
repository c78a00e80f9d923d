"""Refusals of the OpenStack services, and the body that each service gives them (measured on the real ones)."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from http import HTTPStatus

import msgspec

from kumo.api.errors import StatusError
from kumo.machinery.http import Response

UNAUTHENTICATED = "The request you have made requires authentication."
_GLANCE_401 = (
    "This server could not verify that you are authorized to access the document you requested. Either you supplied "
    "the wrong credentials (e.g., bad password), or your browser does not understand how to supply the credentials "
    "required."
)
_NOVA_KEYS = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}


class ApiError(Exception):
    """A refusal: HTTP status and the message that the service's body carries."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


Fault = Callable[[int, str], Response]
"""Makes the body of a refusal from its status and message."""


def title(status: int) -> str:
    """The reason phrase of a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _json(status: int, body: object) -> Response:
    return Response(status, msgspec.json.encode(body))


def keystone_fault(status: int, message: str) -> Response:
    """Keystone's form; the auth middleware of the other services uses it too, for 401."""
    return _json(status, {"error": {"code": status, "message": message, "title": title(status)}})


def nova_fault(status: int, message: str) -> Response:
    """Nova's form: one key that names the fault, computeFault by default."""
    if status == 401:
        return _json(401, {"error": {"code": 401, "title": title(401), "message": message}})
    return _json(status, {_NOVA_KEYS.get(status, "computeFault"): {"code": status, "message": message}})


def glance_fault(status: int, message: str) -> Response:
    """Glance's form: a page of HTML."""
    text = html.escape(_GLANCE_401 if status == 401 else message)
    head = f"{status} {title(status)}"
    page = (
        f"<html>\n <head>\n  <title>{head}</title>\n </head>\n <body>\n  <h1>{head}</h1>\n"
        f"  {text}<br /><br />\n\n\n\n </body>\n</html>"
    )
    return Response(status, page.encode(), content_type="text/html; charset=UTF-8")


def from_status(error: StatusError) -> ApiError:
    """What a refusal of the API server becomes, where a service has not said it better."""
    if error.code in (400, 422):
        return ApiError(400, error.message)
    if error.code == 403 and "exceeded quota" in error.message:
        return ApiError(403, f"Quota exceeded: {error.message}")
    if error.code in (403, 404, 409, 413, 429, 503):
        return ApiError(error.code, error.message)
    return ApiError(500, "The server has either erred or is incapable of performing the requested operation.")
