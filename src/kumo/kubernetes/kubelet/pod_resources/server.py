"""Serves the pod resources API: a hundred requests a second, ten at once; who asks for more is refused."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import structlog

from kumo.api.objects import Object, name_of, namespace_of
from kumo.kubernetes.kubelet.phase import TERMINAL
from kumo.kubernetes.kubelet.pod_resources.messages import Holdings

FOLDER, SOCKET = "pod-resources", "kubelet.sock"
RATE, BURST = 100.0, 10.0
_log = structlog.get_logger("kumo.kubelet")


class Bucket:
    """A token bucket: `rate` tokens a second, never more than `burst`."""

    def __init__(self, rate: float, burst: float, now: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._now = rate, burst, now
        self._tokens, self._then = burst, now()

    def take(self) -> bool:
        """Whether there was a token."""
        now = self._now()
        self._tokens = min(self._burst, self._tokens + (now - self._then) * self._rate)
        self._then = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class PodResourcesServer:
    """One kubelet's. `pods` gives those that are here, ended ones among them."""

    def __init__(self, folder: Path, pods: Callable[[], Iterable[Object]], holdings: Holdings) -> None:
        self._folder = folder / FOLDER
        self._pods = pods
        self._holdings = holdings
        self._bucket = Bucket(RATE, BURST)

    async def run(self) -> None:
        """Serve until cancelled."""
        import grpc.aio

        path = self._folder / SOCKET
        await asyncio.to_thread(_clear, path)
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers(self._handlers())
        try:
            server.add_insecure_port(f"unix:{path}")
            await server.start()
        except RuntimeError as error:
            _log.error("the pod resources API can't be served", path=str(path), error=str(error))
            await asyncio.Event().wait()
        try:
            await asyncio.Event().wait()
        finally:
            await server.stop(grace=0)

    def _handlers(self) -> tuple[Any, ...]:
        import grpc

        from kumo.kubernetes.kubelet.devices.stubs import podresources_pb2 as pb

        def method(answer: Callable[[Any], Any], request: Any) -> Any:
            async def call(asked: Any, context: Any) -> Any:
                if not self._bucket.take():
                    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "rejected by rate limit")
                if asked is None:  # gRPC could not read it
                    await context.abort(grpc.StatusCode.INTERNAL, "grpc: error unmarshalling request")
                try:
                    return answer(asked)
                except LookupError as error:
                    await context.abort(grpc.StatusCode.UNKNOWN, str(error.args[0]))

            return grpc.unary_unary_rpc_method_handler(
                call, request_deserializer=request.FromString, response_serializer=lambda m: m.SerializeToString()
            )

        def older(asked: Any) -> Any:
            return pb.ListPodResourcesResponse(
                pod_resources=[self._holdings.pod(p, devices_only=True) for p in self._pods()]
            )

        table = {
            "List": method(self._list, pb.ListPodResourcesRequest),
            "GetAllocatableResources": method(
                lambda asked: self._holdings.allocatable(), pb.AllocatableResourcesRequest
            ),
            "Get": method(self._get, pb.GetPodResourcesRequest),
        }
        alpha = {"List": method(older, pb.ListPodResourcesRequest)}
        return (
            grpc.method_handlers_generic_handler("v1.PodResourcesLister", table),
            grpc.method_handlers_generic_handler("v1alpha1.PodResourcesLister", alpha),
        )

    def _list(self, asked: Any) -> Any:
        from kumo.kubernetes.kubelet.devices.stubs import podresources_pb2 as pb

        active = [p for p in self._pods() if (p.get("status") or {}).get("phase") not in TERMINAL]
        return pb.ListPodResourcesResponse(pod_resources=[self._holdings.pod(p) for p in active])

    def _get(self, asked: Any) -> Any:
        from kumo.kubernetes.kubelet.devices.stubs import podresources_pb2 as pb

        for pod in self._pods():
            if (namespace_of(pod), name_of(pod)) == (asked.pod_namespace, asked.pod_name):
                return pb.GetPodResourcesResponse(pod_resources=self._holdings.pod(pod))
        raise LookupError(f"pod {asked.pod_name} in namespace {asked.pod_namespace} not found")


def _clear(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
