"""Where an etcd cluster is, and how one proves oneself to it: `etcd://host:port,host:port[/prefix]` and three files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

SCHEME = "etcd://"
DEFAULT_PORT = 2379
DEFAULT_PREFIX = "/kumo"
_HOST = re.compile(r"^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)(:[0-9]{1,5})?$")
_PREFIX = re.compile(r"^(/[A-Za-z0-9_-]+)+$")


@dataclass(frozen=True, slots=True)
class EtcdAddress:
    """The members' client addresses, `prefix` of all keys, and PEM files; without `ca` the connection is not encrypted.

    `cert` and `key` are the client's certificate, which etcd asks for when it runs with --client-cert-auth.
    """

    endpoints: tuple[str, ...]
    prefix: str = DEFAULT_PREFIX
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def __str__(self) -> str:
        return SCHEME + ",".join(self.endpoints) + ("" if self.prefix == DEFAULT_PREFIX else self.prefix)


def parse(text: str, *, ca: Path | None = None, cert: Path | None = None, key: Path | None = None) -> EtcdAddress:
    """The address that a user wrote. Raises ValueError with the reason."""
    if not text.startswith(SCHEME):
        raise ValueError(f"the store {text!r} is not of the form etcd://HOST:PORT,HOST:PORT")
    hosts, slash, path = text.removeprefix(SCHEME).partition("/")
    endpoints = []
    for host in hosts.split(","):
        found = _HOST.match(host)
        if found is None:
            raise ValueError(f"{host!r} in the store {text!r} is not HOST:PORT")
        port = int(found[3][1:]) if found[3] else DEFAULT_PORT
        if not 0 < port < 65536:
            raise ValueError(f"{host!r} in the store {text!r} has no port between 1 and 65535")
        endpoints.append(f"{found[1]}:{port}")
    if len(set(endpoints)) != len(endpoints):
        raise ValueError(f"the store {text!r} names a member twice")
    prefix = slash + path.rstrip("/") if path.rstrip("/") else DEFAULT_PREFIX
    if not _PREFIX.match(prefix):
        raise ValueError(f"the prefix {prefix!r} of the store {text!r} has more than letters, digits, '-' and '_'")
    if bool(cert) != bool(key):
        raise ValueError("a client certificate needs its key, and the other way round: give both or neither")
    if cert and not ca:
        raise ValueError("a client certificate is used with TLS only: give the CA of the store too")
    return EtcdAddress(tuple(endpoints), prefix, ca, cert, key)
