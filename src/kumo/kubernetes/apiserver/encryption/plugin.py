"""A KMS plugin: a gRPC service on a unix socket that encrypts and decrypts keys (`v2.KeyManagementService`)."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from kumo.kubernetes.apiserver.encryption import wire
from kumo.kubernetes.apiserver.encryption.envelope import Source

SERVICE = "v2.KeyManagementService"
_VERSIONS = ("v2", "v2beta1")
Answer = dict[int, list[bytes | int]]
T = TypeVar("T")


class PluginError(Exception):
    """The plugin did not do it; the message says why."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """Where the plugin listens (`unix:///...`), its name, and the seconds that it may take."""

    name: str
    endpoint: str
    timeout: float = 3.0


class PluginClient:
    """Calls the plugin. `open` first; nothing is connected before the first call."""

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin
        self._channel: Any = None

    def open(self) -> None:
        """Make the channel."""
        import grpc.aio  # wanted by few

        path = self._plugin.endpoint.removeprefix("unix://")
        # A name for the authority: gRPC would take the socket's path, which is none.
        options = [("grpc.default_authority", "localhost"), ("grpc.max_reconnect_backoff_ms", 1000)]
        self._channel = grpc.aio.insecure_channel(f"unix:{path}", options=options)

    async def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def status(self) -> str:
        """The id of the key that the plugin encrypts with now. Raises PluginError when it is not well."""
        version, health, key_id = await self._call(
            "Status", {}, lambda answer: (wire.text(answer, 1), wire.text(answer, 2), wire.text(answer, 3))
        )
        if version not in _VERSIONS:
            raise PluginError(f"expected KMSv2 API version v2, got {version}")
        if health != "ok":
            raise PluginError(f"expected KMSv2 healthz status ok, got {health}")
        return key_id

    async def encrypt(self, secret: bytes) -> Source:
        """The secret as only the plugin can read it. Raises PluginError."""
        return await self._call(
            "Encrypt",
            {1: secret, 2: str(uuid.uuid4())},
            lambda answer: Source(wire.blob(answer, 1), wire.text(answer, 2), wire.mapping(answer, 3)),
        )

    async def decrypt(self, source: Source) -> bytes:
        """The secret again. Raises PluginError."""
        question: dict[int, wire.Field] = {
            1: source.encrypted,
            2: str(uuid.uuid4()),
            3: source.key_id,
            4: source.annotations,
        }
        return await self._call("Decrypt", question, lambda answer: wire.blob(answer, 1))

    async def _call(self, method: str, fields: dict[int, wire.Field], read: Callable[[Answer], T]) -> T:
        import grpc.aio

        if self._channel is None:
            raise PluginError("the plugin's connection is closed")
        call = self._channel.unary_unary(f"/{SERVICE}/{method}")
        try:
            return read(wire.decode(await call(wire.encode(fields), timeout=self._plugin.timeout)))
        except grpc.aio.AioRpcError as error:
            raise PluginError(f"rpc error: code = {_camel(error.code().name)} desc = {error.details()}") from None
        except wire.WireError as error:
            raise PluginError(f"the plugin's answer can't be read: {error}") from None


def _camel(code: str) -> str:
    """A gRPC code as Go writes it: `DeadlineExceeded`."""
    return "".join(part.title() for part in code.split("_"))
