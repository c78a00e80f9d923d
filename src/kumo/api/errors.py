"""What an API server answers when it refuses: `Status` objects of `meta/v1`, and the exception that carries one.

Codes, reasons and messages are those of `k8s.io/apimachinery/pkg/api/errors`; clients and scripts depend on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from kumo.api.objects import Object

_MOST_TOLD = 1 << 20
"""The most characters of causes that a refusal tells."""


class Cause(NamedTuple):
    """One thing wrong with an object: `reason` is FieldValueRequired, FieldValueInvalid, ...; `field` a JSON path."""

    field: str
    message: str
    reason: str = "FieldValueInvalid"


class StatusError(Exception):
    """A refusal. `status` is the whole `Status` object; `code` and `reason` are its most-asked fields."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.headers = headers or {}

    @property
    def status(self) -> Object:
        """The `Status` object to send."""
        body: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        body["message"] = self.message
        if self.reason:
            body["reason"] = self.reason
        if self.details is not None:
            body["details"] = self.details
        body["code"] = self.code
        return body

    @classmethod
    def from_status(cls, status: Object) -> StatusError:
        """The error that a received `Status` object stands for."""
        return cls(
            int(status.get("code") or 500),
            str(status.get("reason") or ""),
            str(status.get("message") or ""),
            status.get("details"),
        )


def _details(group: str, resource: str, name: str = "") -> dict[str, Any]:
    found = {"name": name, "group": group, "kind": resource}
    return {k: v for k, v in found.items() if v}


def _qualified(group: str, resource: str) -> str:
    return f"{resource}.{group}" if group else resource


def not_found(group: str, resource: str, name: str) -> StatusError:
    """404: there is no such object."""
    return StatusError(
        404, "NotFound", f'{_qualified(group, resource)} "{name}" not found', _details(group, resource, name)
    )


def no_such_path() -> StatusError:
    """404: the server serves nothing at that path."""
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(group: str, resource: str, name: str) -> StatusError:
    """409 AlreadyExists: a create met an object of the same name."""
    message = f'{_qualified(group, resource)} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, _details(group, resource, name))


def conflict(group: str, resource: str, name: str, why: str) -> StatusError:
    """409 Conflict: the write's precondition does not hold."""
    message = f'Operation cannot be fulfilled on {_qualified(group, resource)} "{name}": {why}'
    return StatusError(409, "Conflict", message, _details(group, resource, name))


def modified(group: str, resource: str, name: str) -> StatusError:
    """409 Conflict: the object is newer than the writer's copy."""
    return conflict(
        group,
        resource,
        name,
        "the object has been modified; please apply your changes to the latest version and try again",
    )


def bad_request(message: str) -> StatusError:
    """400: the request cannot be understood."""
    return StatusError(400, "BadRequest", message)


def unauthorized(message: str = "Unauthorized") -> StatusError:
    """401: nobody proved who is asking."""
    return StatusError(401, "Unauthorized", message)


def forbidden(group: str, resource: str, name: str, why: str) -> StatusError:
    """403: the asker may not."""
    target = f' "{name}"' if name else ""
    return StatusError(
        403,
        "Forbidden",
        f"{_qualified(group, resource)}{target} is forbidden: {why}",
        _details(group, resource, name),
    )


def method_not_allowed(
    message: str = "the server does not allow this method on the requested resource",
) -> StatusError:
    """405: the resource knows no such verb."""
    return StatusError(405, "MethodNotAllowed", message, {})


def expired(message: str) -> StatusError:
    """410 Expired: the revision or continue token is older than what is kept."""
    return StatusError(410, "Expired", message)


def too_large(message: str = "Request entity too large: limit is 3145728") -> StatusError:
    """413: the body is over the limit."""
    return StatusError(413, "RequestEntityTooLarge", message)


def unsupported_media_type(message: str) -> StatusError:
    """415: the body is in a form that is not accepted."""
    return StatusError(415, "UnsupportedMediaType", message)


def invalid(group: str, kind: str, name: str, causes: Sequence[Cause]) -> StatusError:
    """422 Invalid: the object breaks rules of its kind; one `Cause` for each, as far as they fit into a mebibyte."""
    causes = _bounded(causes)
    lines = list(dict.fromkeys(f"{c.field}: {c.message}" for c in causes))
    text = lines[0] if len(lines) == 1 else "[" + ", ".join(lines) + "]"
    details = _details(group, kind, name)
    details["causes"] = [{"reason": c.reason, "message": c.message, "field": c.field} for c in causes]
    return StatusError(422, "Invalid", f'{_qualified(group, kind)} "{name}" is invalid: {text}', details)


def _bounded(causes: Sequence[Cause]) -> Sequence[Cause]:
    """The causes, or as many of them as have `_MOST_TOLD` characters, and how many more there are.

    An object of three mebibytes can have a hundred thousand faults, each of which may quote all of it.
    """
    if len(causes) < 2:
        return causes
    size = 0
    for index, cause in enumerate(causes):
        size += len(cause.field) + len(cause.message)
        if size > _MOST_TOLD and index:
            more = len(causes) - index
            return [*causes[:index], Cause(cause.field, f"and {more} more", cause.reason)]
    return causes


def too_many_requests(message: str, retry_after: int = 1) -> StatusError:
    """429: come back after `retry_after` seconds."""
    return StatusError(
        429,
        "TooManyRequests",
        message,
        {"retryAfterSeconds": retry_after},
        headers={"Retry-After": str(retry_after)},
    )


def internal(message: str) -> StatusError:
    """500: the server's own fault."""
    details = {"causes": [{"message": message}]}
    return StatusError(500, "InternalError", f"Internal error occurred: {message}", details)


def unavailable(message: str) -> StatusError:
    """503: not now."""
    return StatusError(503, "ServiceUnavailable", message)


def is_not_found(error: BaseException) -> bool:
    """Whether the error says that the object does not exist."""
    return isinstance(error, StatusError) and error.code == 404


def is_conflict(error: BaseException) -> bool:
    """Whether the error says that the write lost against a newer version."""
    return isinstance(error, StatusError) and error.reason == "Conflict"


def is_already_exists(error: BaseException) -> bool:
    """Whether the error says that the object exists."""
    return isinstance(error, StatusError) and error.reason == "AlreadyExists"
