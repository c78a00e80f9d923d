"""The compare-and-swap on a quota's status."""

from __future__ import annotations

from typing import Protocol

from kumo.kubernetes.apiserver.registry import Registry
from kumo.kubernetes.apiserver.storage import Gone, Storage


class QuotaWriter(Protocol):
    """Writes what is used into a quota's status."""

    async def write(self, namespace: str, name: str, revision: str, used: dict[str, str]) -> bool:
        """Whether it was written: only to the quota as it was at `revision`."""
        ...


class StatusWriter:
    """Writes straight to the store; returns once the cache shows it."""

    def __init__(self, storage: Storage, registry: Registry) -> None:
        self._storage = storage
        self._registry = registry

    async def write(self, namespace: str, name: str, revision: str, used: dict[str, str]) -> bool:
        """Whether it was written: only to the quota as it was at `revision`."""
        resource = self._registry.find("", "v1", "resourcequotas")
        assert resource is not None
        entry = self._storage.get(resource, namespace, name)
        if entry is None or str(entry.revision) != revision:
            return False
        quota = entry.object()
        quota.setdefault("status", {})["used"] = used
        try:
            await self._storage.replace(resource, entry, quota)
        except Gone:
            return False
        return True
