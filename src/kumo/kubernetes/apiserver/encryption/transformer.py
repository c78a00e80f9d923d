"""From values to what is stored, and back: the providers of one resource, in their order."""

from __future__ import annotations

from collections.abc import Sequence

from kumo.kubernetes.apiserver.encryption.ciphers import Cipher, DecryptError, cipher_of
from kumo.kubernetes.apiserver.encryption.configuration import Part, Provider

MARK = b"k8s:enc:"
"""What every encrypted value begins with; JSON never does."""
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

    def decrypt(self, value: bytes, bound: bytes) -> tuple[bytes, bytes]:
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
    """What a resource's values go through. `writes` is the prefix of what is written now, empty for plain text."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        self._providers = [_Provider(provider) for provider in providers]
        first = self._providers[0]
        self._cipher = first.keys[0][1] if first.keys else None
        self.writes = first.keys[0][0] if first.keys else b""
        self._plain = any(not provider.keys for provider in self._providers)

    def write(self, value: bytes, bound: bytes) -> bytes:
        """What is stored for the value."""
        return value if self._cipher is None else self.writes + self._cipher.encrypt(value, bound)

    def read(self, value: bytes, bound: bytes) -> tuple[bytes, bytes]:
        """The value that is stored so, and the prefix it was stored with. Raises DecryptError."""
        if not value.startswith(MARK):
            if self._plain:
                return value, b""
            raise DecryptError("no matching prefix found")
        for provider in self._providers:
            if provider.prefix and value.startswith(provider.prefix):
                return provider.decrypt(value, bound)
        raise DecryptError("no matching prefix found")


class Transformers:
    """The transformers of a configuration, by resource."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = [(part, Transformer(part.providers)) for part in parts]
        self._found: dict[tuple[str, str], Transformer | None] = {}

    def of(self, group: str, resource: str) -> Transformer | None:
        """The resource's transformer; None for one that the configuration does not name."""
        key = (group, resource)
        if key not in self._found:
            self._found[key] = next((t for part, t in self._parts if part.covers(group, resource)), None)
        return self._found[key]
