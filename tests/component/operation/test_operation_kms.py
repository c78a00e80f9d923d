"""Encryption at rest by a KMS plugin: keys rotate, the plugin goes and comes, what it does not give can't be read."""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from kumo.api.errors import StatusError
from kumo.api.resources import CONFIGMAPS, SECRETS
from kumo.kubernetes.apiserver.encryption import EncryptionError, kms
from kumo.kubernetes.apiserver.operation_config import OperationConfig
from kumo.machinery.http import Request, Response
from support.apiserver import ADMIN, RunningApiServer, running_apiserver
from support.kms import KmsPlugin

pytestmark = pytest.mark.component


def configuration(file: Path, *plugins: KmsPlugin, identity: bool = True) -> OperationConfig:
    """The file with a provider for each plugin, then plain text."""
    providers: list[object] = [
        {"kms": {"apiVersion": "v2", "name": p.path.stem, "endpoint": p.endpoint, "timeout": "1s"}} for p in plugins
    ]
    part = {"resources": ["secrets"], "providers": [*providers, *([{"identity": {}}] if identity else [])]}
    kind = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": [part]}
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(kind))
    fresh.rename(file)
    return OperationConfig(encryption=file)


def stored(tmp_path: Path, name: str) -> bytes:
    """What the store's file has of a Secret."""
    with sqlite3.connect(f"file:{tmp_path}/store/kumo.db?mode=ro", uri=True) as db:
        tables = [t for (t,) in db.execute("select name from sqlite_master where type='table'")]
        for table in tables:
            columns = [c[1] for c in db.execute(f"pragma table_info({table})")]
            if {"key", "value"} <= set(columns):
                found = db.execute(
                    f"select value from {table} where key = ? order by rowid desc limit 1",
                    (f"/registry/core/secrets/default/{name}",),
                ).fetchone()
                if found is not None:
                    return bytes(found[0])
    raise LookupError(name)


async def make(server: RunningApiServer, name: str, value: str = "hidden") -> None:
    data = base64.b64encode(value.encode()).decode()
    await server.client.create(SECRETS, {"metadata": {"name": name}, "data": {"a": data}}, "default")


async def value(server: RunningApiServer, name: str) -> str:
    found = await server.client.get(SECRETS, name, "default")
    return base64.b64decode(found["data"]["a"]).decode()


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def health(server: RunningApiServer) -> str:
    answer = await server.server.handle(Request("GET", "/readyz/kms-providers", "", {}, b"", ADMIN))
    assert isinstance(answer, Response) and isinstance(answer.body, bytes)
    return answer.body.decode()


async def test_values_are_sealed_and_keys_rotate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kms, "WELL_SECONDS", 0.05)
    async with KmsPlugin(tmp_path / "vault.sock") as plugin:
        config = configuration(tmp_path / "encryption.yaml", plugin)
        async with running_apiserver(tmp_path, operation=config) as server:
            for number in range(20):
                await make(server, f"s{number}")
            raw = stored(tmp_path, "s3")
            assert raw.startswith(b"k8s:enc:kms:v2:vault:") and b"hidden" not in raw
            assert base64.b64encode(b"hidden") not in raw
            assert await value(server, "s3") == "hidden" and await health(server) == "ok"
            assert plugin.calls.count("encrypt") == 1 and "decrypt" not in plugin.calls, "one seed for all"
            # Written again unchanged, it stays as it is; after the key's rotation it is sealed anew.
            same = await server.client.get(SECRETS, "s3", "default")
            await server.client.update(SECRETS, same)
            assert stored(tmp_path, "s3") == raw
            plugin.rotate()
            await until(lambda: plugin.calls.count("encrypt") == 2)
            await server.client.update(SECRETS, same)
            assert b"key-2" in stored(tmp_path, "s3") and b"key-1" in raw
        async with running_apiserver(tmp_path, operation=config) as server:
            assert {await value(server, f"s{n}") for n in range(20)} == {"hidden"}
            assert plugin.calls.count("decrypt") == 2, "each seed is asked for once"


async def test_a_plugin_that_goes_and_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kms, "WELL_SECONDS", 0.05)
    monkeypatch.setattr(kms, "ILL_SECONDS", 0.05)
    path = tmp_path / "vault.sock"
    async with KmsPlugin(path) as plugin:
        keys = plugin.keys
        config = configuration(tmp_path / "encryption.yaml", plugin)
        async with running_apiserver(tmp_path, operation=config) as server:
            await make(server, "before")
            plugin.health = "sealed"
            await asyncio.sleep(0)
            async with asyncio.timeout(5):
                while (text := await health(server)) == "ok":
                    await asyncio.sleep(0.02)
            assert "KMS Provider vault, error: expected KMSv2 healthz status ok, got sealed" in text
            await make(server, "meanwhile")  # The seed is good for some minutes yet.
            monkeypatch.setattr(kms, "_WRITES_SECONDS", 0.0)
            plugin.health = "ok"
    # The server starts without the plugin: what is encrypted can't be read or written, the rest can.
    async with running_apiserver(tmp_path, operation=config) as server:
        with pytest.raises(StatusError) as unread:
            await server.client.get(SECRETS, "before", "default")
        assert unread.value.code == 500 and "failed to decrypt DEK" in unread.value.message
        with pytest.raises(StatusError) as unwritten:
            await make(server, "new")
        assert unwritten.value.code == 500 and "KMS plugin vault gives no key" in unwritten.value.message
        await server.client.create(CONFIGMAPS, {"metadata": {"name": "c"}}, "default")
        monkeypatch.setattr(kms, "_WRITES_SECONDS", 180.0)
        async with KmsPlugin(path, keys):
            async with asyncio.timeout(10):
                while True:
                    try:
                        assert await value(server, "before") == await value(server, "meanwhile") == "hidden"
                        break
                    except StatusError:
                        await asyncio.sleep(0.05)
            await make(server, "new")
            assert await health(server) == "ok"


async def test_moving_to_a_plugin_and_away(tmp_path: Path) -> None:
    file = tmp_path / "encryption.yaml"
    async with KmsPlugin(tmp_path / "one.sock") as one, KmsPlugin(tmp_path / "two.sock") as two:
        config = configuration(file, one)
        async with running_apiserver(tmp_path, operation=config) as server:
            await make(server, "a")
            configuration(file, two, one)
            async with asyncio.timeout(10):
                while not stored(tmp_path, "a").startswith(b"k8s:enc:kms:v2:two:"):
                    await server.client.update(SECRETS, await server.client.get(SECRETS, "a", "default"))
                    await asyncio.sleep(0.02)
            assert await value(server, "a") == "hidden"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"apiVersion": "v1"}, "KMSv1 is deprecated"),
        ({"endpoint": "tcp://127.0.0.1:1"}, 'unsupported scheme "tcp" for KMS provider, only unix is supported'),
        ({"endpoint": ""}, "endpoint is a mandatory field for a kms"),
        ({"name": "a:b"}, "must not contain ':'"),
        ({"name": ""}, "name is a mandatory field for a provider"),
        ({"timeout": "-1s"}, "timeout should be a positive value"),
        ({"timeout": "soon"}, "timeout should be a positive value"),
        ({"cachesize": 5}, "cachesize is not supported in v2"),
    ],
)
async def test_what_is_wrong_with_a_configuration(tmp_path: Path, change: dict[str, object], why: str) -> None:
    config = configuration(tmp_path / "encryption.yaml", KmsPlugin(tmp_path / "vault.sock"))
    assert config.encryption is not None
    document = json.loads(config.encryption.read_text())
    document["resources"][0]["providers"][0]["kms"].update(change)
    config.encryption.write_text(json.dumps(document))
    with pytest.raises(EncryptionError, match=why.replace("(", r"\(")):
        async with running_apiserver(tmp_path, operation=config):
            pass
