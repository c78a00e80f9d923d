"""`/openapi/v2` and `/openapi/v3`: schemas of what is served, for kubectl's explain and validation."""

from __future__ import annotations

from kumo.api.errors import no_such_path
from kumo.kubernetes.apiserver.registry import Registry
from kumo.machinery.http import Request, Response


class OpenApiPaths:
    """Answers the OpenAPI paths."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def respond(self, request: Request) -> Response:
        """The document at the request's path. Raises 404."""
        raise no_such_path()
