"""What pull secrets, and the node's own `config.json`, say of an image's registry. Pure.

Upstream: `pkg/credentialprovider/keyring.go`.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from kumo.api.objects import Object, name_of, namespace_of, uid_of
from kumo.host.containerd.images import normalize
from kumo.host.containerd.stubs import cri_pb2 as cri

_DEFAULT_HOST = "index.docker.io"


@dataclass(frozen=True, slots=True)
class PullSecret:
    """A secret that an image was pulled with: which one, and the hash of what it said then."""

    uid: str
    namespace: str
    name: str
    hash: str

    @property
    def whose(self) -> tuple[str, str, str]:
        """The secret whatever it says; records are sorted by it."""
        return self.namespace, self.name, self.uid


@dataclass(frozen=True, slots=True)
class Credential:
    """What to tell a registry; `source` is None for what every pod of the node may use."""

    auth: cri.AuthConfig
    source: PullSecret | None = None


def repository(image: str) -> str:
    """The image's full name without tag and digest."""
    name = normalize(image).partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def lookup(image: str, secrets: Iterable[Object], node: bytes = b"") -> list[Credential]:
    """The credentials for the image, the most specific first, those of secrets before the node's.

    `node` is the content of a `config.json`. What can't be read is left out.
    """
    found: list[tuple[str, Credential]] = []
    for secret in secrets:
        for host, entry in _registries(secret).items():
            auth = _auth(entry)
            source = PullSecret(uid_of(secret), namespace_of(secret), name_of(secret), _hash(auth))
            found.append((_key(host), Credential(auth, source)))
    own = [(_key(host), Credential(_auth(entry))) for host, entry in _auths(node).items()]
    name = repository(image)
    return [*_of(name, found), *_of(name, own)]


def matches(host: str, image: str) -> bool:
    """Whether a registry entry (`quay.io`, `https://index.docker.io/v1/`, `*.example.com/team`) is for the image."""
    key, name = _key(host), repository(image)
    return _matches(key, name) or (key == _DEFAULT_HOST and name.startswith("docker.io/"))


def _of(name: str, entries: list[tuple[str, Credential]]) -> list[Credential]:
    hits = sorted((e for e in entries if _matches(e[0], name)), key=lambda e: e[0], reverse=True)
    if hits or not name.startswith("docker.io/"):
        return [credential for _, credential in hits]
    return [credential for key, credential in entries if key == _DEFAULT_HOST]


def _key(host: str) -> str:
    """Host and path of an entry as it is compared: no scheme, no `/v1/`."""
    entry = re.sub(r"^https?://", "", host)
    domain, slash, path = entry.partition("/")
    path = re.sub(r"^/v[12]/", "/", slash + path)
    return domain + (path if path != "/" else "")


def _matches(key: str, name: str) -> bool:
    """Whether the (schemeless) key, whose host may have globs in its parts, is for the repository."""
    (domain, _, path), (host, _, rest) = key.partition("/"), name.partition("/")
    (globs, port), (parts, wanted) = _parts(domain), _parts(host)
    if port != wanted or len(globs) != len(parts):
        return False
    # Whole parts of the path only (upstream takes `team` for `teamster` too): a password goes to nobody else.
    if path and not f"{rest}/".startswith(f"{path.rstrip('/')}/"):
        return False
    return all(fnmatch.fnmatchcase(part, glob) for glob, part in zip(globs, parts, strict=True))


def _parts(domain: str) -> tuple[list[str], str]:
    host, colon, port = domain.rpartition(":")
    return (host.split("."), port) if colon and port.isdecimal() else (domain.split("."), "")


def _registries(secret: Object) -> Mapping[str, Any]:
    data = secret.get("data") or {}
    try:
        if ".dockerconfigjson" in data:
            return _auths(base64.b64decode(data[".dockerconfigjson"]))
        if ".dockercfg" in data:
            return _entries(msgspec.json.decode(base64.b64decode(data[".dockercfg"])))
    except (ValueError, TypeError):
        return {}
    return {}


def _auths(content: bytes) -> Mapping[str, Any]:
    try:
        found = msgspec.json.decode(content or b"{}")
        return _entries(found.get("auths") or {})
    except (ValueError, AttributeError):
        return {}


def _entries(found: Any) -> Mapping[str, Any]:
    return {h: e for h, e in found.items() if isinstance(e, dict)} if isinstance(found, dict) else {}


def _auth(entry: Mapping[str, Any]) -> cri.AuthConfig:
    def text(name: str) -> str:
        value = entry.get(name)
        return value if isinstance(value, str) else ""

    user, password = text("username"), text("password")
    if text("auth") and not user:
        try:
            user, _, password = base64.b64decode(text("auth")).decode().partition(":")
        except ValueError:
            user = password = ""
    return cri.AuthConfig(
        username=user,
        password=password,
        identity_token=text("identitytoken"),
        registry_token=text("registrytoken"),
    )


def _hash(auth: cri.AuthConfig) -> str:
    said = {
        "username": auth.username,
        "password": auth.password,
        "identitytoken": auth.identity_token,
        "registrytoken": auth.registry_token,
    }
    return hashlib.sha256(msgspec.json.encode({k: v for k, v in said.items() if v})).hexdigest()
