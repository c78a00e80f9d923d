"""Which path leads where."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from kumo.api.errors import StatusError, bad_request, internal, no_such_path, not_found
from kumo.api.objects import Object, name_of, namespace_of
from kumo.host.containerd.engine import Containerd
from kumo.host.containerd.rpc import EngineError
from kumo.host.containerd.stubs import cri_pb2 as cri
from kumo.kubernetes.kubelet import labels, logs
from kumo.kubernetes.kubelet.podstate import ContainerState, PodState
from kumo.kubernetes.kubelet.server import channels, log_requests
from kumo.kubernetes.kubelet.server.figures import figures
from kumo.kubernetes.kubelet.server.node_logs import node_logs
from kumo.kubernetes.kubelet.server.portforward import run_port_forward
from kumo.kubernetes.kubelet.server.streams import Wanted, run_attach, run_exec
from kumo.kubernetes.kubelet.spec import find_container, full_name, host_network
from kumo.kubernetes.kubelet.stats.provider import NodeStatistics
from kumo.machinery.http import Answer, Request, Response, Upgrade, WebSocket

_TEXT = "text/plain; charset=utf-8"


class Worker(Protocol):
    """What the server asks of a pod's worker."""

    state: PodState

    @property
    def pod(self) -> Object:
        """The pod object."""
        ...

    @property
    def status(self) -> Mapping[str, Any]:
        """The pod's newest status."""
        ...


FindWorker = Callable[[str, str], Worker | None]


class NodeServer:
    """Answers the API server's requests about this node's pods."""

    def __init__(
        self,
        engine: Containerd,
        statistics: NodeStatistics,
        find: FindWorker,
        pods: Callable[[], list[Object]],
        configz: Callable[[], bytes],
        *,
        files: bool = True,
    ) -> None:
        self._files = files
        self._configz = configz
        self._engine = engine
        self._statistics = statistics
        self._find = find
        self._pods = pods

    async def handle(self, request: Request) -> Answer:
        """Answer one request; refusals as `Status` objects."""
        began = time.monotonic()
        answer: Answer
        try:
            answer = await self._route(request)
        except StatusError as error:
            answer = Response(error.code, msgspec.json.encode(error.status))
        except EngineError as error:
            answer = Response(500, msgspec.json.encode(internal(error.wire).status))
        self._statistics.requests.count(request, time.monotonic() - began)
        return answer

    async def _route(self, request: Request) -> Answer:
        page = await figures(self._statistics, request) or await node_logs(request, enabled=self._files)
        if page is not None:
            return page
        match [p for p in request.path.split("/") if p]:
            case ["healthz"]:
                return Response(200, b"ok", _TEXT)
            case ["configz"]:
                return Response(200, self._configz())
            case ["pods"]:
                body = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self._pods()}
                return Response(200, msgspec.json.encode(body))
            case ["runningpods"]:
                items = running_pods(await self._engine.runtime.list_containers())
                body = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}
                return Response(200, msgspec.json.encode(body))
            case ["containerLogs", namespace, pod, container]:
                return await self._logs(request, self._worker(namespace, pod), container)
            case ["exec", namespace, pod, container]:
                return self._exec(request, self._running(self._worker(namespace, pod), container))
            case ["attach", namespace, pod, container]:
                return self._attach(request, self._running(self._worker(namespace, pod), container))
            case ["portForward", namespace, pod]:
                return await self._port_forward(request, self._worker(namespace, pod))
        raise no_such_path()

    def _worker(self, namespace: str, name: str) -> Worker:
        found = self._find(namespace, name)
        if found is None:
            raise not_found("", "pods", name)
        return found

    def _running(self, worker: Worker, name: str) -> ContainerState:
        found = worker.state.container(name)
        if found is None or not found.running:
            raise internal(f'unable to upgrade connection: container not found ("{name}")')
        return found

    # -- logs -------------------------------------------------------------------------------------------------------

    async def _logs(self, request: Request, worker: Worker, container: str) -> Answer:
        if find_container(worker.pod, container) is None:
            text = f"container {container} is not valid for pod {name_of(worker.pod)}"
            return Response(404, text.encode(), _TEXT)
        query = request.query
        try:
            wanted = log_requests.options(query)
            previous = log_requests.truth(query, "previous")
            found = log_requests.choose(worker.pod, worker.state, worker.status, container, previous)
        except (log_requests.NoLog, ValueError) as error:
            return Response(400, str(error).encode(), _TEXT)

        def running() -> bool:
            return any(c.id == found.id and c.running for c in worker.state.containers)

        path = Path(found.log_path)
        if not await asyncio.to_thread(path.exists):
            text = f'failed to try resolving symlinks in path "{path}": lstat {path}: no such file or directory'
            return Response(500, text.encode(), _TEXT)
        return Response(200, _closing(logs.read_log(path, wanted, running)), _TEXT)

    # -- streams ----------------------------------------------------------------------------------------------------

    def _exec(self, request: Request, container: ContainerState) -> Answer:
        command = [v for k, v in request.query_list if k == "command"]
        if not command:
            raise bad_request("you must specify at least one command for the container")
        wanted = _wanted(request)

        async def run(socket: WebSocket) -> None:
            await run_exec(socket, self._engine, container.id, command, wanted)

        return Upgrade(_protocol(request), run)

    def _attach(self, request: Request, container: ContainerState) -> Answer:
        wanted = _wanted(request)

        async def run(socket: WebSocket) -> None:
            await run_attach(socket, self._engine, container.id, wanted, Path(container.log_path))

        return Upgrade(_protocol(request), run)

    async def _port_forward(self, request: Request, worker: Worker) -> Answer:
        ports = [int(v) for k, v in request.query_list if k in ("port", "ports") and v.isdigit()]
        if not ports or not all(0 < p < 65536 for p in ports):
            raise bad_request('query parameter "port" is required')
        box = worker.state.ready_sandbox
        if box is None:
            raise internal(f"unable to upgrade connection: pod {full_name(worker.pod)} is not running")
        namespace = "" if host_network(worker.pod) else await self._network_namespace(box.id)
        protocol = _protocol(request)
        title = f"{box.id}, uid : {namespace_of(worker.pod)}/{name_of(worker.pod)}"

        async def run(socket: WebSocket) -> None:
            await run_port_forward(socket, namespace, ports, title)

        return Upgrade(protocol, run)

    async def _network_namespace(self, sandbox: str) -> str:
        """The path of the sandbox's network namespace, from containerd's own description of it."""
        answer = await self._engine.runtime.sandbox_status(sandbox, verbose=True)
        info = msgspec.json.decode(answer.info.get("info") or b"{}")
        for namespace in ((info.get("runtimeSpec") or {}).get("linux") or {}).get("namespaces") or ():
            if namespace.get("type") == "network" and namespace.get("path"):
                return str(namespace["path"])
        pid = int(info.get("pid") or 0)
        if not pid:
            raise internal("unable to upgrade connection: the pod's network namespace is not known")
        return f"/proc/{pid}/ns/net"


def running_pods(found: Sequence[cri.Container]) -> list[Object]:
    """The pods with running containers as containerd knows them: names, uids and images, no more."""
    pods: dict[str, Object] = {}
    for container in found:
        uid = container.labels.get(labels.POD_UID)
        if not uid or container.state != cri.CONTAINER_RUNNING:
            continue
        metadata = {"name": labels.POD_NAME, "namespace": labels.POD_NAMESPACE, "uid": labels.POD_UID}
        named = {key: container.labels.get(label, "") for key, label in metadata.items()}
        empty: Object = {"metadata": {**named, "creationTimestamp": None}, "spec": {"containers": []}, "status": {}}
        listed = pods.setdefault(uid, empty)["spec"]["containers"]
        listed.append({"name": container.metadata.name, "image": container.image_ref, "resources": {}})
    return list(pods.values())


def _wanted(request: Request) -> Wanted:
    query = request.query
    found = Wanted(
        stdin=log_requests.truth(query, "input"),
        stdout=log_requests.truth(query, "output"),
        stderr=log_requests.truth(query, "error"),
        tty=log_requests.truth(query, "tty"),
    )
    if not (found.stdin or found.stdout or found.stderr):
        raise bad_request("you must specify at least 1 of stdin, stdout, stderr")
    return found


def _protocol(request: Request) -> str:
    if not request.wants_websocket:
        raise bad_request("Upgrade request required")
    chosen = channels.choose(request.websocket_protocols)
    if not chosen:
        raise bad_request(f"none of the offered subprotocols is known; offer one of {', '.join(channels.PROTOCOLS)}")
    return chosen


async def _closing(source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same chunks; whoever stops reading closes the file."""
    try:
        async for chunk in source:
            yield chunk
    finally:
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()
