"""The authenticating proxy: who holds a certificate of the proxies' own CA tells in headers whom it speaks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from kumo.api.users import AUTHENTICATED_GROUP, UNAUTHENTICATED_GROUP, UserInfo
from kumo.kubernetes.apiserver.authentication.client_certificates import ClientCertificates
from kumo.machinery.http import Request, header_lines


@dataclass(frozen=True, slots=True)
class FrontProxyConfig:
    """The proxies' CA (PEM file), the common names that are believed (none: all), and the headers that they set."""

    ca: Path
    allowed_names: tuple[str, ...] = ()
    username_headers: tuple[str, ...] = ("X-Remote-User",)
    uid_headers: tuple[str, ...] = ("X-Remote-Uid",)
    group_headers: tuple[str, ...] = ("X-Remote-Group",)
    extra_prefixes: tuple[str, ...] = ("X-Remote-Extra-",)


class FrontProxy:
    """Reads the user of a proxy's request."""

    def __init__(self, config: FrontProxyConfig) -> None:
        self._config = config
        self._certificates = ClientCertificates(config.ca)
        self._names = tuple(h.lower() for h in config.username_headers)
        self._uids = tuple(h.lower() for h in config.uid_headers)
        self._groups = tuple(h.lower() for h in config.group_headers)
        self._prefixes = tuple(h.lower() for h in config.extra_prefixes)

    def authenticate(self, request: Request) -> UserInfo | None:
        """The user that the proxy names; None when no proxy asks, or asks for nobody.

        The headers are taken out of the request: nobody behind may believe them again.
        """
        peer = request.peer
        if peer is None or not self._certificates.trusts(peer):
            return None
        if self._config.allowed_names and peer.common_name not in self._config.allowed_names:
            return None
        headers = request.headers
        name = _first(headers, self._names)
        if not name:
            return None
        user = self._user(name, headers)
        gone = {*self._names, *self._uids, *self._groups}
        request.headers = {
            k: v for k, v in headers.items() if k not in gone and not k.startswith(self._prefixes or ("\0",))
        }
        return user

    def _user(self, name: str, headers: Mapping[str, str]) -> UserInfo:
        groups = [g for h in self._groups for g in header_lines(headers.get(h)) if g]
        uid = _first(headers, self._uids)
        extra: dict[str, tuple[str, ...]] = {}
        for header, value in headers.items():
            for prefix in self._prefixes:
                if header.startswith(prefix):
                    extra[unquote(header.removeprefix(prefix))] = header_lines(value)
        if AUTHENTICATED_GROUP not in groups and UNAUTHENTICATED_GROUP not in groups:
            groups.append(AUTHENTICATED_GROUP)
        return UserInfo(name, tuple(groups), uid, extra)


def _first(headers: Mapping[str, str], names: tuple[str, ...]) -> str:
    """The first value of the first of the headers that has one."""
    return next((header_lines(headers[name])[0] for name in names if headers.get(name)), "")
