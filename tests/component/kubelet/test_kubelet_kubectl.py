"""The unmodified kubectl against a pod: logs, exec, attach, port-forward, through the API server over mutual TLS."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import struct
import termios
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from kumo.kubernetes.kubelet.server import streams
from support.kubelet import Node, phase_is, running, running_node, status_of

pytestmark = [pytest.mark.component, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    folder = tmp_path_factory.mktemp("node")
    async with running_node(folder, https=True, bridge="kumo-kctl0", subnet="10.211.77.0/24") as found:
        yield found


@dataclass
class Result:
    code: int
    out: str
    err: str


async def start(node: Node, *arguments: str) -> asyncio.subprocess.Process:
    """kubectl, running, with pipes."""
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        "kubectl", "--kubeconfig", node.api.kubeconfig, *arguments, stdin=pipe, stdout=pipe, stderr=pipe
    )


async def kubectl(node: Node, *arguments: str, stdin: bytes = b"", timeout: float = 30.0) -> Result:
    """kubectl to its end."""
    process = await start(node, *arguments)
    try:
        async with asyncio.timeout(timeout):
            out, err = await process.communicate(stdin)
    except TimeoutError:
        process.kill()
        out, err = await process.communicate()
        raise AssertionError(f"kubectl {arguments} did not end: {out!r} {err!r}") from None
    return Result(process.returncode or 0, out.decode(errors="surrogateescape"), err.decode())


async def test_logs(node: Node) -> None:
    script = "for i in 1 2 3 4 5; do echo line $i; done; sleep 0.2; echo trouble >&2; sleep 1000"
    await node.create("talker", "sh", "-c", script, hostNetwork=False)
    await node.until("talker", running)
    async with asyncio.timeout(10):
        while (await kubectl(node, "logs", "talker")).out.count("\n") < 6:
            await asyncio.sleep(0.05)
    result = await kubectl(node, "logs", "talker")
    assert result.out == "line 1\nline 2\nline 3\nline 4\nline 5\ntrouble\n", result
    assert (await kubectl(node, "logs", "talker", "--tail=2")).out == "line 5\ntrouble\n"
    assert (await kubectl(node, "logs", "talker", "--limit-bytes=9")).out == "line 1\nli"
    assert (await kubectl(node, "logs", "talker", "--since=1h", "--tail=1")).out == "trouble\n"
    stamped = (await kubectl(node, "logs", "talker", "--timestamps", "--tail=1")).out
    assert stamped.startswith("20") and stamped.endswith("Z trouble\n")
    previous = await kubectl(node, "logs", "talker", "--previous")
    assert 'previous terminated container "main" in pod "talker" not found' in previous.err
    await node.remove("talker")


async def test_logs_follow_to_the_end_of_the_container(node: Node) -> None:
    await node.create(
        "counter", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.3; done", restartPolicy="Never", hostNetwork=False
    )
    await node.until("counter", lambda p: p["status"]["phase"] != "Pending")
    result = await kubectl(node, "logs", "-f", "counter")
    assert (result.code, result.out) == (0, "1\n2\n3\n")
    await node.remove("counter")


async def test_logs_of_the_container_before(node: Node) -> None:
    await node.create("twice", "sh", "-c", "echo a run; sleep 0.2; exit 1", hostNetwork=False)
    await node.until("twice", lambda p: status_of(p).get("restartCount", 0) >= 1)
    assert (await kubectl(node, "logs", "twice", "--previous")).out == "a run\n"
    await node.remove("twice")


async def test_exec(node: Node) -> None:
    await node.create("worker", hostNetwork=False)
    await node.until("worker", running)
    result = await kubectl(node, "exec", "worker", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (result.code, result.out) == (7, "out\n")
    assert result.err == "err\ncommand terminated with exit code 7\n"
    # The end of the input arrives: `cat` ends by itself.
    result = await kubectl(node, "exec", "-i", "worker", "--", "cat", stdin=b"through\n" * 10000)
    assert (result.code, result.out) == (0, "through\n" * 10000)
    result = await kubectl(node, "exec", "worker", "--", "nosuch")
    assert result.code != 0
    assert 'exec: "nosuch": executable file not found in $PATH' in result.err
    await node.remove("worker")


async def test_exec_with_a_terminal(node: Node) -> None:
    await node.create("shell", hostNetwork=False)
    await node.until("shell", running)
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 91, 0, 0))
    process = await asyncio.create_subprocess_exec(
        "kubectl",
        *("--kubeconfig", node.api.kubeconfig, "exec", "-it", "shell", "--", "sh"),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    seen = b""

    def read() -> bytes:
        try:
            return os.read(master, 4096)
        except OSError:  # the other side has closed
            return b""

    async def until(text: bytes) -> None:
        nonlocal seen
        async with asyncio.timeout(20):
            while text not in seen:
                piece = await asyncio.to_thread(read)
                assert piece, seen
                seen += piece

    try:
        await until(b"# ")
        os.write(master, b"stty size; tty; echo $TERM\n")
        await until(b"33 91")
        await until(b"/dev/pts/")
        await until(b"xterm")
        os.write(master, b"exit 5\n")
        async with asyncio.timeout(10):
            assert await process.wait() == 5
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(master)
    await node.remove("shell")


async def test_attach_reads_and_feeds_the_main_process(node: Node) -> None:
    await node.create(
        "listener",
        "sh",
        "-c",
        "while read line; do echo got $line; done; echo ended; sleep 1",
        restartPolicy="Never",
        hostNetwork=False,
        container={"stdin": True, "stdinOnce": True},
    )
    await node.until("listener", running)
    result = await kubectl(node, "attach", "-i", "listener", stdin=b"one\ntwo\n")
    assert "got one\ngot two\nended\n" in result.out
    await node.until("listener", phase_is("Succeeded"))
    await node.remove("listener")


async def test_who_attaches_hears_the_answer_to_his_first_words(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    # containerd gets no time to connect the outputs: what it does not bring the log does.
    monkeypatch.setattr(streams, "_SETTLE_SECONDS", 0.0)
    script = "i=0; while [ $i -lt 8 ] && read line; do echo got $line; i=$((i+1)); done"
    await node.create("asked", "sh", "-c", script, restartPolicy="Never", hostNetwork=False, container={"stdin": True})
    await node.until("asked", running)
    found = await asyncio.gather(*(kubectl(node, "attach", "-i", "asked", stdin=b"%d\n" % i) for i in range(8)))
    for i, result in enumerate(found):
        assert f"got {i}\n" in result.out, result
        lines = [line for line in result.out.splitlines() if line.startswith("got ")]
        assert len(lines) == len(set(lines)), result
    await node.remove("asked")


async def test_many_at_once_binary_and_big(node: Node, tmp_path: Path) -> None:
    await node.create("busy", "sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait", hostNetwork=False)
    await node.until("busy", running)
    results = await asyncio.gather(
        *(kubectl(node, "exec", "-i", "busy", "--", "cat", stdin=b"%d\0\xff\n" % i) for i in range(20))
    )
    assert [r.code for r in results] == [0] * 20
    assert [r.out.encode(errors="surrogateescape") for r in results] == [b"%d\0\xff\n" % i for i in range(20)]
    content = os.urandom(12 << 20)
    (tmp_path / "there").write_bytes(content)
    result = await kubectl(node, "cp", str(tmp_path / "there"), "busy:/tmp/file", timeout=60.0)
    assert result.code == 0, result
    result = await kubectl(node, "cp", "busy:/tmp/file", str(tmp_path / "back"), timeout=60.0)
    assert result.code == 0 and (tmp_path / "back").read_bytes() == content, result
    missing = await kubectl(node, "exec", "busy", "-c", "nobody", "--", "true")
    assert missing.code == 1 and "container nobody is not valid for pod busy" in missing.err, missing
    result = await kubectl(node, "exec", "busy", "--", "no-such-program")
    assert result.code != 0 and "no-such-program" in result.err and "not found" in result.err, result
    await node.remove("busy")


async def test_nothing_runs_in_a_container_that_has_ended(node: Node) -> None:
    await node.create("over", "sh", "-c", "echo last words", restartPolicy="Never", hostNetwork=False)
    await node.until("over", phase_is("Succeeded"))
    for arguments in (("exec", "over", "--", "true"), ("attach", "over")):
        result = await kubectl(node, *arguments)
        assert result.code == 1, result
        assert "cannot exec into a container in a completed pod; current phase is Succeeded" in result.err or (
            "cannot attach a container in a completed pod; current phase is Succeeded" in result.err
        ), result
    assert (await kubectl(node, "logs", "over", "--all-containers", "--prefix")).out == "[pod/over/main] last words\n"
    since = await kubectl(node, "logs", "over", "--since-time=2100-01-01T00:00:00Z")
    assert (since.code, since.out) == (0, ""), since
    result = await kubectl(node, "port-forward", "over", "8080")
    assert result.code == 1 and "pod is not running" in result.err, result
    await node.remove("over")


async def test_port_forward(node: Node) -> None:
    await node.create(
        "web",
        "sh",
        "-c",
        "mkdir /www; echo it works > /www/index.html; exec httpd -f -p 127.0.0.1:8080 -h /www",
        hostNetwork=False,
    )
    pod = await node.until("web", running)
    assert pod["status"]["podIP"].startswith("10.211.77.")
    process = await start(node, "port-forward", "pod/web", ":8080")
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            line = (await process.stdout.readline()).decode()
            assert line.startswith("Forwarding from 127.0.0.1:"), (line, await process.communicate())
            port = int(line.split(":")[1].split(" ")[0])
            for _ in range(3):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
                answer = await reader.read()
                writer.close()
                assert answer.endswith(b"it works\n"), answer
    finally:
        process.terminate()
        await process.wait()
    process = await start(node, "port-forward", "pod/web", ":81")
    assert process.stdout is not None and process.stderr is not None
    try:
        async with asyncio.timeout(20):
            port = int((await process.stdout.readline()).decode().split(":")[1].split(" ")[0])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
            line = ""
            while "Connection refused" not in line and "connection refused" not in line:
                line = (await process.stderr.readline()).decode()
                assert line
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
    await node.remove("web")


async def test_describe_and_node(node: Node) -> None:
    await node.create("shown", hostNetwork=False)
    await node.until("shown", running)
    await node.until_event("shown", "Started")
    described = (await kubectl(node, "describe", "pod", "shown")).out
    assert "Container started" in described
    listed = json.loads((await kubectl(node, "get", "nodes", "-o", "json")).out)["items"]
    assert [n["metadata"]["name"] for n in listed] == ["test-node"]
    ready = next(c for c in listed[0]["status"]["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("True", "KubeletReady")
    leases = (await kubectl(node, "get", "lease", "-n", "kube-node-lease")).out
    assert "test-node" in leases
    await node.remove("shown")


async def test_probes_over_the_pod_network(node: Node) -> None:
    http = {"httpGet": {"path": "/", "port": "www"}, "periodSeconds": 1}
    await node.create(
        "healthy",
        "sh",
        "-c",
        "mkdir /www; echo ok > /www/index.html; exec httpd -f -p 8080 -h /www",
        hostNetwork=False,
        container={
            "ports": [{"name": "www", "containerPort": 8080}],
            "readinessProbe": http,
            "livenessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
        },
    )
    await node.until("healthy", running)
    await node.create(
        "unhealthy",
        hostNetwork=False,
        container={"readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}},
    )
    message = await node.until_event("unhealthy", "Unhealthy")
    assert message.startswith("Readiness probe failed: ")
    assert "connection refused" in message
    await node.remove("healthy")
    await node.remove("unhealthy")


async def test_names_and_hosts_in_a_pod(node: Node) -> None:
    await node.create(
        "named",
        hostNetwork=False,
        hostname="box",
        subdomain="lan",
        dnsConfig={
            "nameservers": ["10.9.9.9"],
            "searches": ["corp.test"],
            "options": [{"name": "ndots", "value": "2"}],
        },
        dnsPolicy="None",
        hostAliases=[{"ip": "192.0.2.1", "hostnames": ["alias.test"]}],
    )
    await node.until("named", running)
    assert (await kubectl(node, "exec", "named", "--", "hostname")).out == "box\n"
    resolv = (await kubectl(node, "exec", "named", "--", "cat", "/etc/resolv.conf")).out
    assert resolv.split("\n")[:3] == ["search corp.test", "nameserver 10.9.9.9", "options ndots:2"]
    hosts = (await kubectl(node, "exec", "named", "--", "cat", "/etc/hosts")).out
    assert "\tbox.lan.default.svc.cluster.local\tbox\n" in hosts
    assert "192.0.2.1\talias.test\n" in hosts
    await node.remove("named")
