"""Logs, exec, attach and port-forward through a real API server to a node's listener, with the real kubectl."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kumo.api.errors import StatusError, not_found
from kumo.api.resources import NODES, PODS
from kumo.machinery import tls
from kumo.machinery.http import Answer, Request, Response, Upgrade, WebSocket
from kumo.machinery.listener import Listener
from support.apiserver import RunningApiServer, running_apiserver

pytestmark = pytest.mark.component

WAITING = 'container "broken" in pod "two" is waiting to start: ImagePullBackOff'


class FakeNode:
    """Speaks what `kubelet_proxy` says a node has to speak; its containers are echoes."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.tasks: list[str] = []

    async def handle(self, request: Request) -> Answer:
        assert request.user is not None, "only the API server's certificate opens this door"
        assert request.user.name == "kube-apiserver-kubelet-client"
        self.requests.append(request)
        kind = request.path.split("/")[1]
        if kind == "containerLogs":
            return self._logs(request)
        if not request.wants_websocket:
            raise not_found("", "paths", request.path)
        protocol = next(p for p in request.websocket_protocols if p in ("v5.channel.k8s.io", "v4.channel.k8s.io"))
        if kind == "portForward":
            port = int(request.query["port"])

            async def run(ws: WebSocket) -> None:
                await self._forward(ws, port)

            return Upgrade(protocol, run)
        return Upgrade(protocol, self._exec)

    def _logs(self, request: Request) -> Answer:
        if request.path.endswith("/broken"):
            raise StatusError(
                400, "BadRequest", 'container "broken" in pod "two" is waiting to start: ImagePullBackOff'
            )

        async def lines() -> AsyncIterator[bytes]:
            yield b"line 1\n"
            yield b"line 2\n"
            if "follow" in request.query:
                await asyncio.Event().wait()

        return Response(200, lines(), "text/plain")

    async def _exec(self, ws: WebSocket) -> None:
        """`cat`: stdin to stdout until the stdin channel is closed, then exit code 3."""
        while (message := await ws.receive()) is not None:
            assert isinstance(message, bytes)
            if message == b"\xff\x00":
                break
            if message[0] == 0:
                await ws.send(b"\x01" + message[1:])
        status = {
            "metadata": {},
            "status": "Failure",
            "reason": "NonZeroExitCode",
            "message": "command terminated with non-zero exit code",
            "details": {"causes": [{"reason": "ExitCode", "message": "3"}]},
        }
        await ws.send(b"\x03" + json.dumps(status).encode())

    async def _forward(self, ws: WebSocket, port: int) -> None:
        head = port.to_bytes(2, "little")
        await ws.send(b"\x00" + head)
        await ws.send(b"\x01" + head)
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError as error:
            await ws.send(f"\x01failed to connect to port {port}: {error.strerror}".encode())
            return

        async def inward() -> None:
            while (message := await ws.receive()) is not None:
                assert isinstance(message, bytes)
                if message == b"\xff\x00":
                    writer.write_eof()
                elif message[0] == 0:
                    writer.write(message[1:])
                    await writer.drain()

        task = asyncio.create_task(inward())
        try:
            while data := await reader.read(65536):
                await ws.send(b"\x00" + data)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            writer.close()


class Cluster:
    def __init__(self, server: RunningApiServer, node: FakeNode) -> None:
        self.server, self.node = server, node

    async def kubectl(self, *arguments: str, data: bytes = b"") -> tuple[int, str, str]:
        process = await self.start(*arguments)
        async with asyncio.timeout(30):
            out, err = await process.communicate(data)
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            "kubectl",
            "--kubeconfig",
            self.server.kubeconfig,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "HOME": str(self.server.pki)},
        )


def pod(name: str, *containers: str, node: str = "node1") -> dict:
    spec = {"containers": [{"name": c, "image": "x"} for c in containers]}
    if node:
        spec["nodeName"] = node
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    pki = tmp_path / "pki"
    pki.mkdir()
    ca = tls.ensure_ca(pki)
    own = tls.ensure_client_certificate(ca, pki, "kubelet-client", "kube-apiserver-kubelet-client", ["system:masters"])
    serving = tls.ensure_server_certificate(ca, pki, "kubelet", names=["node1"], common_name="system:node:node1")
    node = FakeNode()
    context = tls.server_context(serving, ca.files.cert, require_client=True)
    async with (
        Listener(node.handle, tls=context, grace=0.2) as listener,
        running_apiserver(
            tmp_path, https=True, kubelet_client_certificate=own.cert, kubelet_client_key=own.key
        ) as server,
    ):
        made = await server.client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1"}})
        made["status"] = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": listener.port}},
        }
        await server.client.update_status(NODES, made)
        for obj in (pod("one", "main"), pod("two", "main", "broken"), pod("free", "main", node="")):
            created = await server.client.create(PODS, obj)
            created["status"] = {"phase": "Running"}
            await server.client.update_status(PODS, created)
        yield Cluster(server, node)


async def test_logs(cluster: Cluster) -> None:
    code, out, err = await cluster.kubectl("logs", "one", "--tail=5", "--timestamps")
    assert (code, out, err) == (0, "line 1\nline 2\n", "")
    request = cluster.node.requests[-1]
    assert request.path == "/containerLogs/default/one/main"
    assert request.query == {"tailLines": "5", "timestamps": "true"}


async def test_logs_follow_ends_with_the_client(cluster: Cluster) -> None:
    process = await cluster.start("logs", "-f", "one")
    assert process.stdout is not None
    assert await process.stdout.readline() == b"line 1\n"
    process.terminate()
    await process.communicate()


async def test_log_refusals(cluster: Cluster) -> None:
    code, _, err = await cluster.kubectl("logs", "two", "-c", "broken")
    assert (code, err.strip()) == (1, f"Error from server (BadRequest): {WAITING}")
    client = cluster.server.client
    for query, expected in (
        ({}, "a container name must be specified for pod two, choose one of: [main broken]"),
        ({"container": "none"}, "container none is not valid for pod two"),
    ):
        with pytest.raises(StatusError) as refusal:
            await client.request("GET", PODS.path("default", "two", "log"), query=query)
        assert (refusal.value.code, refusal.value.message) == (400, expected)
    with pytest.raises(StatusError) as refusal:
        await client.request("GET", PODS.path("default", "one", "log"), query={"tailLines": "-1"})
    assert refusal.value.message == (
        'PodLogOptions "one" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0'
    )
    code, _, err = await cluster.kubectl("logs", "nix")
    assert (code, err.strip()) == (
        1,
        'error: error from server (NotFound): pods "nix" not found in namespace "default"',
    )


async def test_exec_with_stdin_and_exit_code(cluster: Cluster) -> None:
    code, out, err = await cluster.kubectl("exec", "-i", "one", "--", "cat", "-n", data=b"hello\n")
    assert out == "hello\n"
    assert "command terminated with exit code 3" in err
    assert code == 3
    request = cluster.node.requests[-1]
    assert request.path == "/exec/default/one/main"
    assert request.query_list == [
        ("command", "cat"),
        ("command", "-n"),
        ("input", "1"),
        ("output", "1"),
        ("error", "1"),
    ]


async def test_attach(cluster: Cluster) -> None:
    _, out, _ = await cluster.kubectl("attach", "-i", "one", data=b"hello\n")
    assert out == "hello\n"
    assert cluster.node.requests[-1].path == "/attach/default/one/main"


async def test_exec_refusals(cluster: Cluster) -> None:
    client = cluster.server.client
    transport = client.transport
    for path, query, message in (
        ("free", "command=x&stdout=1", "pod free does not have a host assigned"),
        ("one", "stdout=1", "you must specify at least one command for the container"),
        ("one", "command=x", "you must specify at least 1 of stdin, stdout, stderr"),
    ):
        with pytest.raises(StatusError) as refusal:
            async with transport.websocket(
                PODS.path("default", path, "exec"), query=query, protocols=("v5.channel.k8s.io",)
            ):
                raise AssertionError
        assert (refusal.value.code, refusal.value.message) == (400, message)
    with pytest.raises(StatusError) as refusal:
        await client.request("POST", PODS.path("default", "one", "exec"), query={"command": "x", "stdout": "1"})
    # Without a WebSocket the node is asked all the same: its refusal is what the client shows.
    assert 'paths "/exec/default/one/main" not found' in refusal.value.message


async def test_exec_needs_the_right_to_create(cluster: Cluster) -> None:
    reader = cluster.server.as_user("carol")
    with pytest.raises(StatusError) as refusal:
        async with reader.transport.websocket(PODS.path("default", "one", "exec"), query="command=x&stdout=1"):
            raise AssertionError
    assert refusal.value.message == (
        'pods "one" is forbidden: User "carol" cannot get resource "pods/exec" in API group "" '
        'in the namespace "default"'
    )


async def test_a_node_that_is_gone(cluster: Cluster) -> None:
    node = await cluster.server.client.get(NODES, "node1")
    node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"] = 1
    await cluster.server.client.update_status(NODES, node)
    code, _, err = await cluster.kubectl("logs", "one")
    assert code == 1
    assert "https://127.0.0.1:1 can't be reached" in err


@contextlib.asynccontextmanager
async def forwarded(cluster: Cluster, target: int) -> AsyncIterator[tuple[int, asyncio.subprocess.Process]]:
    process = await cluster.start("port-forward", "pod/one", f":{target}", "--address=127.0.0.1", "-v=6")
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            line = (await process.stdout.readline()).decode()
        found = re.match(r"Forwarding from 127\.0\.0\.1:(\d+) -> ", line)
        assert found, (line, (await process.communicate())[1].decode())
        yield int(found[1]), process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def test_port_forward_with_kubectl(cluster: Cluster) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read()  # until the client has ended its direction
        writer.write(str(len(data)).encode() + b":" + data[:5])
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    target = server.sockets[0].getsockname()[1]
    async with server, forwarded(cluster, target) as (port, _):

        async def once(size: int) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"x" * size)
            writer.write_eof()
            async with asyncio.timeout(10):
                found = await reader.read()
            writer.close()
            return found

        assert await once(5) == b"5:xxxxx"
        answers = await asyncio.gather(*(once(size) for size in (1, 1000, 3_000_000)))
        assert answers == [b"1:x", b"1000:xxxxx", b"3000000:xxxxx"]


async def test_port_forward_downloads_and_survives_a_closed_port(cluster: Cluster) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"y" * 5_000_000)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    target = server.sockets[0].getsockname()[1]
    async with server, forwarded(cluster, target) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(10):
            assert len(await reader.read()) == 5_000_000
        writer.close()
    async with forwarded(cluster, target) as (port, process):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()
        assert process.stderr is not None
        async with asyncio.timeout(10):
            while True:
                line = (await process.stderr.readline()).decode()
                if "an error occurred forwarding" in line:
                    break
        assert f"failed to connect to port {target}" in line
