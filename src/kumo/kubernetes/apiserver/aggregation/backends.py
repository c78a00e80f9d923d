"""Servers behind this one: what an APIService says of each, and the connections to it."""

from __future__ import annotations

import base64
import binascii
import ssl
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from kumo.api.conditions import is_true
from kumo.api.objects import Object, name_of
from kumo.kubernetes.apiserver.aggregation.config import AggregationConfig
from kumo.machinery.tls import client_context
from kumo.machinery.transport import HttpTransport

_TIMEOUT = 30.0
_MOST = 256
_LOOK = 1.0
"""Seconds between two looks at the certificate's files."""
_log = structlog.get_logger("kumo.apiserver.aggregation")


class BadTrust(Exception):
    """No TLS settings can be made of the APIService's caBundle; the message is upstream's."""


@dataclass(slots=True, eq=False)
class Backend:
    """One aggregated group version. `available` is its condition; `resources` its discovery when last read.

    `discovered`: the same in the aggregated form, if it speaks that.
    """

    name: str
    group: str
    version: str
    namespace: str
    service: str
    port: int
    spec: Mapping[str, Any]
    available: bool
    group_priority: int
    version_priority: int
    resources: list[dict[str, Any]] = field(default_factory=list)
    discovered: list[dict[str, Any]] | None = None

    @property
    def host(self) -> str:
        """The name in its certificate."""
        return f"{self.service}.{self.namespace}.svc"

    @property
    def path(self) -> str:
        """Where its discovery is."""
        return f"/apis/{self.group}/{self.version}"


def read(service: Object) -> Backend | None:
    """What an APIService says; None for one that is served here."""
    spec = service.get("spec") or {}
    where = spec.get("service")
    if not where or not spec.get("group"):
        return None
    return Backend(
        name_of(service),
        spec["group"],
        spec.get("version") or "",
        where.get("namespace") or "",
        where.get("name") or "",
        int(where.get("port") or 443),
        spec,
        is_true(service, "Available"),
        int(spec.get("groupPriorityMinimum") or 0),
        int(spec.get("versionPriority") or 0),
    )


class Transports:
    """One pool of connections for each endpoint of a backend, made at the first use."""

    def __init__(self, config: AggregationConfig) -> None:
        self._config = config
        self._made: OrderedDict[tuple[str, str, int], HttpTransport] = OrderedDict()
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._proof = self._look()
        self._looked = time.monotonic()

    def to(self, backend: Backend, where: tuple[str, int]) -> HttpTransport:
        """The way to the backend's endpoint at this address and port. Raises BadTrust.

        Connections are kept for each endpoint: one that is no longer in the service gets no more requests.
        """
        self._follow()
        key = (backend.name, *where)
        found = self._made.get(key)
        if found is None:
            host, port = where
            found = self._made[key] = HttpTransport(
                f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
                tls=self.context(backend),
                server_name=backend.host,
                timeout=_TIMEOUT,
                decompress=False,
            )
        else:
            self._made.move_to_end(key)
        return found

    async def tidy(self) -> None:
        """Close what has not been used for longest, beyond what a server with many backends may have."""
        while len(self._made) > _MOST:
            _, oldest = self._made.popitem(last=False)
            await oldest.close()

    def context(self, backend: Backend) -> ssl.SSLContext:
        """The TLS settings for connections to the backend. Raises BadTrust."""
        found = self._contexts.get(backend.name)
        if found is None:
            found = self._contexts[backend.name] = self._trust(backend.spec)
        return found

    def _look(self) -> tuple[object, ...]:
        """What tells one state of the certificate's files from another."""
        states: list[object] = []
        for path in (self._config.certificate, self._config.key):
            try:
                state = path.stat() if path is not None else None
            except OSError:
                state = None
            states.append((state.st_mtime_ns, state.st_ino, state.st_size) if state is not None else None)
        return tuple(states)

    def _follow(self) -> None:
        """New connections get the certificate as it is now; half of a pair is left until the other half is there."""
        now, config = time.monotonic(), self._config
        if config.certificate is None or config.key is None or now - self._looked < _LOOK:
            return
        self._looked = now
        if (proof := self._look()) == self._proof:
            return
        try:
            for context in self._contexts.values():
                context.load_cert_chain(str(config.certificate), str(config.key))
        except (OSError, ssl.SSLError) as error:
            _log.error("the changed front-proxy certificate is not used", error=str(error))
        else:
            self._proof = proof
            _log.info("new connections to aggregated servers use the changed certificate")

    def _trust(self, spec: Mapping[str, Any]) -> ssl.SSLContext:
        config, bundle = self._config, spec.get("caBundle") or ""
        try:
            return client_context(
                ca_data=base64.b64decode(bundle).decode("ascii"),
                cert=config.certificate or "",
                key=config.key or "",
                verify=not spec.get("insecureSkipTLSVerify"),
            )
        except (ssl.SSLError, binascii.Error, ValueError):
            raise BadTrust("unable to load root certificates: unable to parse bytes as PEM block") from None

    async def forget(self, name: str) -> None:
        """Close the connections to the backend of that name."""
        self._contexts.pop(name, None)
        for key in [key for key in self._made if key[0] == name]:
            await self._made.pop(key).close()

    async def close(self) -> None:
        """Close all connections."""
        while self._made:
            _, transport = self._made.popitem()
            await transport.close()
