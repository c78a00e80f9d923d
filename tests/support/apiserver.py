"""A real API server for tests: store in a temporary directory, in-process client, and HTTPS with kubeconfig if asked.

async with running_apiserver(tmp_path) as server:
    await server.client.create(PODS, pod, "default")

async with running_apiserver(tmp_path, https=True) as server:
    subprocess.run(["kubectl", "--kubeconfig", server.kubeconfig, "get", "pods"])
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kumo.api.resources import SERVICEACCOUNTS
from kumo.api.users import AUTHENTICATED_GROUP, MASTERS_GROUP, UserInfo
from kumo.kubernetes.apiserver.config import ApiServerConfig
from kumo.kubernetes.apiserver.server import ApiServer
from kumo.machinery import kubeconfig, tls
from kumo.machinery.client import Client
from kumo.machinery.listener import Listener
from kumo.machinery.transport import HttpTransport, InProcessTransport
from kumo.store.base import Store
from kumo.store.sqlite import SqliteStore

ADMIN = UserInfo("kubernetes-admin", (MASTERS_GROUP, AUTHENTICATED_GROUP))


@dataclass
class RunningApiServer:
    """`client` is a member of system:masters, in process; `url` and `kubeconfig` are empty without HTTPS."""

    server: ApiServer
    client: Client
    pki: Path
    url: str = ""
    kubeconfig: str = ""
    ca: Path | None = None

    def as_user(self, name: str, *groups: str) -> Client:
        """An in-process client of another user."""
        return Client(InProcessTransport(self.server.handle, UserInfo(name, (*groups, AUTHENTICATED_GROUP))))

    def https_client(self) -> Client:
        """A client of system:masters over HTTPS; close its transport."""
        pair = tls.KeyPair(self.pki / "admin.crt", self.pki / "admin.key")
        assert self.ca is not None
        return Client(HttpTransport(self.url, ca=self.ca, cert=pair.cert, key=pair.key))


@asynccontextmanager
async def running_apiserver(
    tmp_path: Path,
    *,
    https: bool = False,
    port: int = 0,
    default_account: bool = True,
    store: Store | None = None,
    trusted: Sequence[Path] = (),
    **config: Any,
) -> AsyncIterator[RunningApiServer]:
    """Start an API server whose data is below `tmp_path` (or in `store`); `config` are fields of ApiServerConfig.

    `trusted`: CA bundles (PEM) that TLS accepts client certificates of, besides the server's own.
    `default_account`: make the service account that pods of the namespace `default` need (a controller's work).
    """
    pki = tmp_path / "pki"
    pki.mkdir(exist_ok=True)
    # An address that an Endpoints object may name; nobody connects to it.
    wanted = ApiServerConfig(service_account_key=tls.ensure_signing_key(pki / "sa.key"), advertise_address="192.0.2.1")
    listener: Listener | None = None
    ca: tls.Authority | None = None
    if https:
        ca = tls.ensure_ca(pki)
        pair = tls.ensure_server_certificate(ca, pki)
        context = tls.server_context(pair, ca.files.cert)
        if trusted:
            tls.follow_trust(context, [ca.files.cert, *trusted])
        listener = Listener(_not_yet, port=port, tls=context, grace=0.5)
        await listener.start()
        wanted = replace(wanted, ca_certificate=ca.files.cert, port=listener.port)
    server = ApiServer(store or SqliteStore(tmp_path / "store" / "kumo.db"), replace(wanted, **config))
    await server.start()
    task = asyncio.create_task(server.run())
    running = RunningApiServer(server, Client(InProcessTransport(server.handle, ADMIN)), pki)
    try:
        if default_account and server.reader.get(SERVICEACCOUNTS, "default", "default") is None:
            await running.client.create(SERVICEACCOUNTS, {"metadata": {"name": "default"}}, "default")
        if listener is not None and ca is not None:
            listener.handler, listener.identify = server.handle, server.identify
            running.url, running.ca = listener.url, ca.files.cert
            running.kubeconfig = str(tmp_path / "kubeconfig")
            admin = tls.ensure_client_certificate(ca, pki, "admin", ADMIN.name, [MASTERS_GROUP])
            kubeconfig.write(
                running.kubeconfig,
                server=listener.url,
                ca=ca.files.cert.read_bytes(),
                cert=admin.cert.read_bytes(),
                key=admin.key.read_bytes(),
            )
        yield running
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await server.stop()
        if listener is not None:
            await listener.stop()


async def _not_yet(_: Any) -> Any:
    raise ConnectionError("the API server is starting")
