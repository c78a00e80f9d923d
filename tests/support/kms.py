"""A KMS plugin for tests: a real gRPC server on a unix socket, with keys that one can rotate, and that can fall ill."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import grpc.aio
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kumo.kubernetes.apiserver.encryption import wire
from kumo.kubernetes.apiserver.encryption.plugin import SERVICE


class KmsPlugin:
    """`async with KmsPlugin(path) as plugin`: encrypts with the newest of its keys, decrypts with any that it has."""

    def __init__(self, path: Path, keys: dict[str, bytes] | None = None) -> None:
        self.path = path
        self.endpoint = f"unix://{path}"
        self.keys = keys if keys is not None else {"key-1": AESGCM.generate_key(256)}
        self.health = "ok"
        self.calls: list[str] = []
        self._server: grpc.aio.Server | None = None

    def rotate(self) -> str:
        """Encrypt with a new key from now on; its id."""
        name = f"key-{len(self.keys) + 1}"
        self.keys[name] = AESGCM.generate_key(256)
        return name

    @property
    def _newest(self) -> str:
        return list(self.keys)[-1]

    async def __aenter__(self) -> KmsPlugin:
        self.path.unlink(missing_ok=True)
        self._server = grpc.aio.server()
        methods = {
            name: grpc.unary_unary_rpc_method_handler(handler)
            for name, handler in (("Status", self._status), ("Encrypt", self._encrypt), ("Decrypt", self._decrypt))
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        self._server.add_insecure_port(f"unix:{self.path}")
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        await self._server.stop(None)

    async def _status(self, request: bytes, context: Any) -> bytes:
        self.calls.append("status")
        return wire.encode({1: "v2", 2: self.health, 3: self._newest})

    async def _encrypt(self, request: bytes, context: Any) -> bytes:
        self.calls.append("encrypt")
        nonce, message = os.urandom(12), wire.decode(request)
        sealed = nonce + AESGCM(self.keys[self._newest]).encrypt(nonce, wire.blob(message, 1), b"")
        return wire.encode({1: sealed, 2: self._newest, 3: {"plugin.kumo.dev": b"tested"}})

    async def _decrypt(self, request: bytes, context: Any) -> bytes:
        self.calls.append("decrypt")
        message = wire.decode(request)
        key, data = self.keys.get(wire.text(message, 3)), wire.blob(message, 1)
        if key is None or wire.mapping(message, 4) != {"plugin.kumo.dev": b"tested"}:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such key")
        assert key is not None
        return wire.encode({1: AESGCM(key).decrypt(data[:12], data[12:], b"")})
