"""Certificates, kubeconfig files and logs, on a real file system and over real connections."""

from __future__ import annotations

import asyncio
import io
import json
import stat
import subprocess
from pathlib import Path

import pytest
import structlog
from cryptography import x509

from kumo.machinery import kubeconfig, logs, tls
from kumo.machinery.http import Answer, Request, Response

pytestmark = pytest.mark.component


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(path: Path) -> set[str]:
    cert = x509.load_pem_x509_certificate(path.read_bytes())
    found = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(n.value) for n in found}


def test_everything_is_made_once_and_private(tmp_path: Path) -> None:
    ca = tls.ensure_ca(tmp_path)
    server = tls.ensure_server_certificate(ca, tmp_path, names=["node1", "10.96.0.1"])
    client = tls.ensure_client_certificate(ca, tmp_path, "admin", "alice", ["dev"])
    key = tls.ensure_signing_key(tmp_path / "sa.key")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert tls.ensure_ca(tmp_path).pem == ca.pem
    tls.ensure_server_certificate(ca, tmp_path, names=["10.96.0.1", "node1"])
    tls.ensure_client_certificate(ca, tmp_path, "admin", "alice", ["dev"])
    tls.ensure_signing_key(key)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert [mode(p) for p in (server.key, client.key, ca.files.key, key)] == [0o600] * 4
    assert names(server.cert) >= {
        "kubernetes.default.svc.cluster.local",
        "localhost",
        "127.0.0.1",
        "10.96.0.1",
        "node1",
    }


def test_openssl_finds_the_chain_good(tmp_path: Path) -> None:
    ca = tls.ensure_ca(tmp_path)
    server = tls.ensure_server_certificate(ca, tmp_path)
    client = tls.ensure_client_certificate(ca, tmp_path, "admin", "alice")
    for pair, purpose in ((server, "sslserver"), (client, "sslclient")):
        command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", ca.files.cert, pair.cert]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_certificates_are_made_anew_when_they_no_longer_serve(tmp_path: Path) -> None:
    ca = tls.ensure_ca(tmp_path)
    pair = tls.ensure_server_certificate(ca, tmp_path)

    def changed(action: object) -> bool:
        before = pair.cert.read_bytes()
        action()  # type: ignore[operator]
        return pair.cert.read_bytes() != before

    assert changed(lambda: tls.ensure_server_certificate(ca, tmp_path, names=["new.example"]))
    assert not changed(lambda: tls.ensure_server_certificate(ca, tmp_path))
    assert changed(lambda: tls.ensure_server_certificate(ca, tmp_path, common_name="other"))
    tls.ensure_certificate(ca, tmp_path, "apiserver", common_name="kube-apiserver", server=True, client=False, days=10)
    assert changed(lambda: tls.ensure_server_certificate(ca, tmp_path)), "it was near its end"
    pair.key.write_bytes(b"")
    assert changed(lambda: tls.ensure_server_certificate(ca, tmp_path))
    other = tls.ensure_ca(tmp_path / "other")
    assert changed(lambda: tls.ensure_server_certificate(other, tmp_path)), "another CA signs now"


def test_half_a_ca_is_an_error_not_a_new_ca(tmp_path: Path) -> None:
    ca = tls.ensure_ca(tmp_path)
    ca.files.key.unlink()
    with pytest.raises(ValueError, match="do not belong together"):
        tls.ensure_ca(tmp_path)


async def who(request: Request) -> Answer:
    user = request.user.name if request.user else request.headers.get("authorization", "nobody")
    return Response(200, user.encode(), "text/plain")


async def test_a_kubeconfig_written_is_read_and_connects(wire, tmp_path: Path) -> None:
    async with wire.listener(who) as listener:
        path = tmp_path / "config"
        pair = tls.ensure_client_certificate(wire.ca, tmp_path, "bob", "bob", ["ops"])
        cert, key = pair.cert.read_bytes(), pair.key.read_bytes()
        kubeconfig.write(path, server=listener.url, ca=wire.ca.pem, cert=cert, key=key, namespace="lab")
        assert mode(path) == 0o600
        access = kubeconfig.read(path)
        assert (access.server, access.namespace) == (listener.url, "lab")
        transport = kubeconfig.transport(path)
        assert (await transport.request("GET", "/")).body == b"bob"
        await transport.close()
        # In a thread: this kubectl asks the server for its version first.
        done = await asyncio.to_thread(
            subprocess.run,
            [
                "kubectl",
                "--kubeconfig",
                path,
                "config",
                "view",
                "--minify",
                "-o",
                "jsonpath={.clusters[0].cluster.server}",
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == listener.url


async def test_tokens_files_and_relative_paths(wire, tmp_path: Path) -> None:
    async with wire.listener(who) as listener:
        (tmp_path / "ca.crt").write_bytes(wire.ca.pem)
        (tmp_path / "token").write_text("one\n")
        config = {
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": listener.url, "certificate-authority": "ca.crt"}}],
            "users": [
                {"name": "inline", "user": {"token": "abc"}},
                {"name": "file", "user": {"tokenFile": "token"}},
                {"name": "basic", "user": {"username": "u", "password": "p"}},
                {"name": "plugin", "user": {"exec": {"command": "x"}}},
            ],
            "contexts": [
                {"name": n, "context": {"cluster": "c", "user": n}} for n in ("inline", "file", "basic", "plugin")
            ]
            + [{"name": "broken", "context": {"cluster": "nix"}}],
        }
        path = tmp_path / "config"
        path.write_text(json.dumps(config))

        async def seen(context: str) -> str:
            transport = kubeconfig.transport(path, context)
            try:
                return (await transport.request("GET", "/")).body.decode()
            finally:
                await transport.close()

        assert await seen("inline") == "Bearer abc"
        assert await seen("file") == "Bearer one"
        (tmp_path / "token").write_text("two\n")
        assert await seen("file") == "Bearer two"
        assert await seen("basic") == "Basic dTpw"
        for context, words in (
            ("", "no current-context"),
            ("nix", "no context named 'nix' (there is: inline, file, basic, plugin, broken)"),
            ("broken", "no cluster named 'nix'"),
            ("plugin", "uses 'exec'"),
        ):
            with pytest.raises(kubeconfig.KubeconfigError) as error:
                kubeconfig.read(path, context)
            assert words in str(error.value)
    with pytest.raises(kubeconfig.KubeconfigError, match="can't be read"):
        kubeconfig.read(tmp_path / "missing")
    (tmp_path / "bad").write_text("{")
    with pytest.raises(kubeconfig.KubeconfigError, match="is not YAML"):
        kubeconfig.read(tmp_path / "bad")


@pytest.fixture
def _logging_as_before():
    import logging

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.usefixtures("_logging_as_before")
def test_logs_are_json_lines_without_local_variables(tmp_path: Path) -> None:
    import logging

    path = tmp_path / "log"
    close = logs.set_up(path=path)
    log = structlog.get_logger("kumo.test")
    log.debug("not heard")
    log.info("heard", number=1, path=tmp_path)
    password = "opensesame-" + "secret"
    try:
        raise ValueError(len(password))
    except ValueError:
        log.exception("failed")
    logging.getLogger("some.library").warning("a %s", "word")
    close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["heard", "failed", "a word"]
    assert lines[0]["level"] == "info"
    assert lines[0]["logger"] == "kumo.test"
    assert lines[0]["path"] == str(tmp_path)
    assert "ValueError: 17" in lines[1]["exception"]
    assert "opensesame-secret" not in path.read_text()


@pytest.mark.usefixtures("_logging_as_before")
def test_logs_for_people_show_plain_traces() -> None:
    stream = io.StringIO()
    logs.set_up(stream=stream, human=True)
    password = "opensesame-" + "secret"
    try:
        raise ValueError(len(password))
    except ValueError:
        structlog.get_logger("kumo.test").exception("failed", key="value")
    text = stream.getvalue()
    assert "failed" in text
    assert "ValueError: 17" in text
    assert "opensesame-secret" not in text
