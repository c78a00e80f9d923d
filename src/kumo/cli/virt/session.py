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
            if not self.kubeconfig.exists():
                raise SessionError(f"stat {self.kubeconfig}: no such file or directory")
            try:
                self._loaded = kubeconfigs.read(self.kubeconfig, self.context)
            except kubeconfigs.KubeconfigError as error:
                raise SessionError(str(error)) from error
        return self._loaded

    @property
    def namespace(self) -> str:
        """The namespace asked for, else the context's, else `default`."""
        return self._namespace or self._load().namespace or "default"

    def narrowed(self, kubeconfig: Path | None, context: str, namespace: str) -> Session:
        """The same session with what is given instead of its own; itself when nothing is."""
        if kubeconfig is None and not context and not namespace:
            return self
        return Session(kubeconfig or self.kubeconfig, context or self.context, namespace or self._namespace)

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


def session_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Pass the session as the first argument; the options that choose it may also follow the subcommand."""

    @click.option("-n", "--namespace", "own_namespace", default="", help="The namespace scope for this CLI request.")
    @click.option("--kubeconfig", "own_kubeconfig", type=click.Path(path_type=Path), help="The kubeconfig file to use.")
    @click.option("--context", "own_context", default="", help="The name of the kubeconfig context to use.")
    @click.pass_obj
    @functools.wraps(function)
    def wrapper(
        session: Session,
        /,
        *args: Any,
        own_namespace: str,
        own_kubeconfig: Path | None,
        own_context: str,
        **kwargs: Any,
    ) -> Any:
        return function(session.narrowed(own_kubeconfig, own_context, own_namespace), *args, **kwargs)

    return wrapper
