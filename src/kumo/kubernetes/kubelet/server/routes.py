"""Which path leads where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from kumo.api.errors import StatusError, bad_request, no_such_path
from kumo.api.objects import Object
from kumo.host.containerd.engine import Containerd
from kumo.kubernetes.kubelet.config import KubeletConfig
from kumo.kubernetes.kubelet.podstate import PodState
from kumo.machinery.http import Answer, Request, Response


class Worker(Protocol):
    """What the server asks of a pod's worker."""

    state: PodState

    @property
    def pod(self) -> Object:
        """The pod object."""
        ...


FindWorker = Callable[[str, str], Worker | None]


class NodeServer:
    """Answers the API server's requests about this node's pods."""

    def __init__(
        self, config: KubeletConfig, engine: Containerd, find: FindWorker, pods: Callable[[], list[Object]]
    ) -> None:
        self._config = config
        self._engine = engine
        self._find = find
        self._pods = pods

    async def handle(self, request: Request) -> Answer:
        """Answer one request; refusals as `Status` objects."""
        try:
            return await self._route(request)
        except StatusError as error:
            return Response(error.code, msgspec.json.encode(error.status))

    async def _route(self, request: Request) -> Answer:
        parts = [p for p in request.path.split("/") if p]
        if parts == ["healthz"]:
            return Response(200, b"ok", "text/plain; charset=utf-8")
        if parts == ["pods"]:
            body = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self._pods()}
            return Response(200, msgspec.json.encode(body))
        if not parts:
            raise no_such_path()
        raise bad_request("not yet")
