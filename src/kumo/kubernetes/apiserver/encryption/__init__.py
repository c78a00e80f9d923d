"""Encryption at rest: what the store keeps of chosen resources can't be read without a key.

An EncryptionConfiguration file (`apiserver.config.k8s.io/v1`) says which resources, and by which providers; prefixes on
disk are upstream's. Talks to: the store, between which and the cache it stands. Costs nothing without such a file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kumo.store.base import Store

if TYPE_CHECKING:
    from kumo.kubernetes.apiserver.encryption.reloading import Reloader


class EncryptionError(Exception):
    """The configuration can't be used, or does not fit the store; the message says what is wrong and where."""


def opened(store: Store, configuration: Path | None) -> tuple[Store, Reloader | None]:
    """The store with encryption by the file, and what follows the file; the store itself without one.

    Raises EncryptionError for a file that can't be used.
    """
    if configuration is None:
        return store, None
    from kumo.kubernetes.apiserver.encryption.configuration import load  # ciphers are wanted by few
    from kumo.kubernetes.apiserver.encryption.reloading import Reloader
    from kumo.kubernetes.apiserver.encryption.store import EncryptedStore
    from kumo.kubernetes.apiserver.encryption.transformer import Transformers

    encrypted = EncryptedStore(store, Transformers(load(configuration)))
    return encrypted, Reloader(configuration, encrypted)
