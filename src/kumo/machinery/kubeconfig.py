"""Kubeconfig files (`v1 Config` of client-go): read one to a transport, write one."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from kumo.machinery.files import write_file
from kumo.machinery.tls import client_context
from kumo.machinery.transport import HttpTransport


class KubeconfigError(Exception):
    """The file can't be used; the message names the file, what is wrong and what would be right."""


@dataclass(frozen=True, slots=True)
class Access:
    """What one context of a kubeconfig says: where the server is and how to prove who one is. PEM texts are bytes."""

    server: str
    namespace: str = "default"
    ca: bytes = b""
    cert: bytes = b""
    key: bytes = b""
    token: str = ""
    token_file: str = ""
    username: str = ""
    password: str = ""
    verify: bool = True
    server_name: str = ""

    def transport(self) -> HttpTransport:
        """A transport with this access."""
        headers: dict[str, str] = {}
        if self.username:
            pair = f"{self.username}:{self.password}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        token: str | Callable[[], str] = self.token
        if self.token_file:
            path = Path(self.token_file)
            token = lambda: path.read_text().strip()  # noqa: E731
        tls = None
        if urlsplit(self.server).scheme == "https":
            tls = self._context()
        return HttpTransport(self.server, tls=tls, token=token, headers=headers, server_name=self.server_name)

    def _context(self) -> Any:
        context = client_context(ca_data=self.ca.decode(), verify=self.verify)
        if self.cert:
            with tempfile.TemporaryDirectory(prefix="kumo-kubeconfig-") as directory:
                # OpenSSL reads key pairs from files only.
                pem = Path(directory, "client.pem")
                handle = os.open(pem, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(handle, "wb") as file:
                    file.write(self.cert + b"\n" + self.key)
                context.load_cert_chain(str(pem))
        return context


def _named(config: dict[str, Any], section: str, inner: str, name: str, path: Path) -> dict[str, Any]:
    for entry in config.get(section) or ():
        if entry.get("name") == name:
            found: dict[str, Any] = entry.get(inner) or {}
            return found
    known = ", ".join(str(e.get("name")) for e in config.get(section) or ()) or "none"
    raise KubeconfigError(f"{path} has no {inner} named {name!r} (there is: {known})")


def _bytes(section: dict[str, Any], key: str, base: Path) -> bytes:
    if data := section.get(f"{key}-data"):
        return base64.b64decode(data)
    if name := section.get(key):
        file = base / name
        try:
            content: bytes = file.read_bytes()
            return content
        except OSError as error:
            raise KubeconfigError(f"{key} {file} can't be read: {error.strerror}") from error
    return b""


def read(path: str | Path, context: str = "") -> Access:
    """The access of `context` (by default the current one). Raises KubeconfigError.

    Certificates, keys, tokens (inline and file) and basic authentication are understood; `exec` and `auth-provider`
    plugins are refused with a message.
    """
    path = Path(path)
    try:
        config = yaml.safe_load(path.read_text())
    except OSError as error:
        raise KubeconfigError(f"{path} can't be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise KubeconfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(config, dict) or config.get("kind", "Config") != "Config":
        raise KubeconfigError(f"{path} is not a kubeconfig (kind: Config)")
    name = context or config.get("current-context") or ""
    if not name:
        raise KubeconfigError(f"{path} has no current-context; name one with --context")
    chosen = _named(config, "contexts", "context", name, path)
    cluster = _named(config, "clusters", "cluster", chosen.get("cluster", ""), path)
    user = _named(config, "users", "user", chosen["user"], path) if chosen.get("user") else {}
    for plugin in ("exec", "auth-provider"):
        if plugin in user:
            raise KubeconfigError(f"{path}: user {chosen['user']!r} uses {plugin!r}, which kumo can't run; use a token")
    if not cluster.get("server"):
        raise KubeconfigError(f"{path}: cluster {chosen.get('cluster')!r} has no server")
    base = path.parent
    return Access(
        server=cluster["server"],
        namespace=chosen.get("namespace") or "default",
        ca=_bytes(cluster, "certificate-authority", base),
        cert=_bytes(user, "client-certificate", base),
        key=_bytes(user, "client-key", base),
        token=user.get("token") or "",
        token_file=str(base / user["tokenFile"]) if user.get("tokenFile") and not user.get("token") else "",
        username=user.get("username") or "",
        password=user.get("password") or "",
        verify=not cluster.get("insecure-skip-tls-verify"),
        server_name=cluster.get("tls-server-name") or "",
    )


def transport(path: str | Path, context: str = "") -> HttpTransport:
    """The transport that a kubeconfig's context describes. Raises KubeconfigError."""
    return read(path, context).transport()


def write(
    path: str | Path,
    *,
    server: str,
    ca: bytes,
    cert: bytes = b"",
    key: bytes = b"",
    token: str = "",
    name: str = "kumo",
    user: str = "kumo-admin",
    namespace: str = "",
) -> None:
    """Write a kubeconfig with one context called `name` and everything embedded, mode 0600."""

    def encoded(data: bytes) -> str:
        return base64.b64encode(data).decode()

    credentials: dict[str, str] = {}
    if cert:
        credentials = {"client-certificate-data": encoded(cert), "client-key-data": encoded(key)}
    if token:
        credentials["token"] = token
    context = {"cluster": name, "user": user} | ({"namespace": namespace} if namespace else {})
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": encoded(ca)}}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": name, "context": context}],
        "current-context": name,
        "preferences": {},
    }
    write_file(Path(path), yaml.safe_dump(config, sort_keys=False).encode())
