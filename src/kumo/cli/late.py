"""A handler that is known by name before it exists: components are made before the server that they are part of."""

from __future__ import annotations

from kumo.machinery.http import Answer, Handler, Request


class LateHandler:
    """Passes requests on to `target`, which is set once it has been made."""

    def __init__(self) -> None:
        self.target: Handler | None = None

    async def __call__(self, request: Request) -> Answer:
        """Pass the request on. Raises ConnectionError before there is a target, as a server that is not up would."""
        if self.target is None:
            raise ConnectionError("the API server is starting")
        return await self.target(request)
