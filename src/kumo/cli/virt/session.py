"""One invocation's view of the cluster: which kubeconfig, context and namespace, and a way to reach its server."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click

from kumo.cli.instance import DEFAULT_DATA_DIR
from kumo.machinery import kubeconfig as kubeconfigs
from kumo.machinery.client import Client, Transport

PROTOCOL = "plain.kubevirt.io"
"""The WebSocket subprotocol of KubeVirt's streams: raw bytes in binary frames."""
_GROUP = "/apis/subresources.kubevirt.io/v1"


class SessionError(Exception):
    """What went wrong, as the user should read it."""


class Session:
    """The kubeconfig is looked for as kubectl does, and last in the default instance's directory."""

    def __init__(self, kubeconfig: Path | None, context: str, namespace: str) -> None:
        self.kubeconfig = kubeconfig or _default_kubeconfig()
        self.context = context
        self._namespace = namespace
        self._loaded: kubeconfigs.Access | None = None

    def _load(self) -> kubeconfigs.Access:
        if self._loaded is None:
            try:
                self._loaded = kubeconfigs.read(self.kubeconfig, self.context)
            except kubeconfigs.KubeconfigError as error:
                raise SessionError(str(error)) from error
        return self._loaded

    @property
    def namespace(self) -> str:
        """The namespace asked for, else the context's, else `default`."""
        return self._namespace or self._load().namespace or "default"

    def in_namespace(self, namespace: str) -> Session:
        """The same session in another namespace; itself when none is given."""
        return Session(self.kubeconfig, self.context, namespace) if namespace else self

    def subresource_path(self, resource: str, name: str, verb: str, namespace: str = "") -> str:
        """The path of a subresource of a VM or VMI."""
        return f"{_GROUP}/namespaces/{namespace or self.namespace}/{resource}/{name}/{verb}"

    @asynccontextmanager
    async def transport(self) -> AsyncIterator[Transport]:
        """A transport to the server, closed afterwards."""
        transport = self._load().transport()
        try:
            yield transport
        finally:
            await transport.close()

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """A client of the server, closed afterwards."""
        async with self.transport() as transport:
            yield Client(transport)


def _default_kubeconfig() -> Path:
    named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    if named:
        return Path(named)
    home = Path.home() / ".kube" / "config"
    own = DEFAULT_DATA_DIR / "admin.kubeconfig"
    return own if not home.exists() and own.exists() else home


def namespace_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Pass the session as the first argument, in the namespace that `-n` after the subcommand may name."""

    @click.option("-n", "--namespace", "own_namespace", default="", help="The namespace scope for this CLI request.")
    @click.pass_obj
    @functools.wraps(function)
    def wrapper(session: Session, /, *args: Any, own_namespace: str, **kwargs: Any) -> Any:
        return function(session.in_namespace(own_namespace), *args, **kwargs)

    return wrapper
