"""From values to what is stored, and back: the providers of one resource, in their order."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from kumo.kubernetes.apiserver.encryption.ciphers import Cipher, DecryptError, cipher_of
from kumo.kubernetes.apiserver.encryption.configuration import Part, Provider
from kumo.kubernetes.apiserver.encryption.kms import KmsProvider

MARK = b"k8s:enc:"
"""What every encrypted value begins with; JSON never does."""
_NO_PLUGINS: Mapping[str, KmsProvider] = MappingProxyType({})
_NAMES = {"aescbc": "AES", "aesgcm": "AES", "secretbox": "Secretbox"}


class Undecryptable(bytes):
    """A stored value that can't be read; `reason` says why."""

    reason = "no matching prefix found"


def undecryptable(value: bytes, reason: str) -> Undecryptable:
    """The value, marked."""
    found = Undecryptable(value)
    found.reason = reason
    return found


class _Provider:
    """A provider with its keys, each by the prefix of what it writes."""

    def __init__(self, provider: Provider) -> None:
        self.prefix = f"k8s:enc:{provider.kind}:v1:".encode() if provider.keys else b""
        self.name = _NAMES.get(provider.kind, "")
        self.keys: list[tuple[bytes, Cipher]] = [
            (self.prefix + f"{key.name}:".encode(), cipher_of(provider.kind, key.secret)) for key in provider.keys
        ]

    def read(self, value: bytes, bound: bytes) -> tuple[bytes, bytes]:
        """The value again, and the prefix of the key that could read it. Raises DecryptError."""
        why = f"no matching key was found for the provided {self.name} transformer"
        for prefix, cipher in self.keys:
            if value.startswith(prefix):
                try:
                    return cipher.decrypt(value[len(prefix) :], bound), prefix
                except DecryptError as error:
                    why = str(error)
        raise DecryptError(why)


class Transformer:
    """What a resource's values go through."""

    def __init__(self, providers: Sequence[Provider], plugins: Mapping[str, KmsProvider] = _NO_PLUGINS) -> None:
        self._providers: list[_Provider | KmsProvider] = [
            plugins[p.plugin.name] if p.plugin is not None else _Provider(p) for p in providers
        ]
        self.plugins = [p for p in self._providers if isinstance(p, KmsProvider)]
        first = self._providers[0]
        self.guard = first if isinstance(first, KmsProvider) else None
        """The plugin's provider that writes, if one does: to be asked to `prepare` before."""
        keys = first.keys if isinstance(first, _Provider) else []
        self._cipher = keys[0][1] if keys else None
        self._writes = keys[0][0] if keys else b""
        self._plain = any(p.kind == "identity" for p in providers)

    @property
    def writes(self) -> bytes:
        """What tells values that are written now: the prefix, and of a plugin also its key. Empty for plain text."""
        return self._writes if self.guard is None else self.guard.mark

    def write(self, value: bytes, bound: bytes) -> bytes:
        """What is stored for the value."""
        if self.guard is not None:
            return self.guard.write(value, bound)
        return value if self._cipher is None else self._writes + self._cipher.encrypt(value, bound)

    def read(self, value: bytes, bound: bytes) -> tuple[bytes, bytes]:
        """The value that is stored so, and the prefix it was stored with. Raises DecryptError."""
        if not value.startswith(MARK):
            if self._plain:
                return value, b""
            raise DecryptError("no matching prefix found")
        for provider in self._providers:
            if provider.prefix and value.startswith(provider.prefix):
                return provider.read(value, bound)
        raise DecryptError("no matching prefix found")


class Transformers:
    """The transformers of a configuration, by resource."""

    def __init__(self, parts: Sequence[Part]) -> None:
        named = {p.plugin.name: p.plugin for part in parts for p in part.providers if p.plugin is not None}
        self.plugins = {name: KmsProvider(plugin) for name, plugin in named.items()}
        """The KMS plugins by name; `start` connects them."""
        self._parts = [(part, Transformer(part.providers, self.plugins)) for part in parts]
        self._found: dict[tuple[str, str], Transformer | None] = {}

    async def start(self) -> None:
        """Connect the plugins."""
        await asyncio.gather(*(plugin.start() for plugin in self.plugins.values()))

    async def close(self) -> None:
        """Disconnect them."""
        await asyncio.gather(*(plugin.close() for plugin in self.plugins.values()))

    async def poll(self) -> float:
        """Ask each plugin how it is; when to ask again, in seconds."""
        return min(await asyncio.gather(*(plugin.poll() for plugin in self.plugins.values())), default=3600.0)

    def check(self) -> str:
        """What is wrong with the plugins, if anything."""
        return ", ".join(filter(None, (plugin.check() for plugin in self.plugins.values())))

    def of(self, group: str, resource: str) -> Transformer | None:
        """The resource's transformer; None for one that the configuration does not name."""
        key = (group, resource)
        if key not in self._found:
            self._found[key] = next((t for part, t in self._parts if part.covers(group, resource)), None)
        return self._found[key]
