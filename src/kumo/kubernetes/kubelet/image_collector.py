"""Images that nobody uses any more are removed when their disk gets full.

Upstream: `pkg/kubelet/images/image_gc_manager.go`.

Images that are pinned, and those that were imported here by hand, stay: no registry could give them back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import structlog

from kumo.host.containerd.engine import Containerd
from kumo.host.containerd.rpc import EngineError
from kumo.kubernetes.kubelet.stats.filesystems import DiskUse, file_system

_log = structlog.get_logger("kumo.kubelet")


@dataclass(frozen=True, slots=True)
class KnownImage:
    """An image: bytes, and when it was found and last seen in use (seconds of a monotonic clock)."""

    id: str
    size: int
    found: float
    used: float = 0.0


def order(images: Iterable[KnownImage], in_use: Collection[str], now: float, minimum_age: float) -> list[KnownImage]:
    """The images that may go, the one unused for longest first. Pure."""
    free = (i for i in images if i.id not in in_use and now - i.found >= minimum_age)
    return sorted(free, key=lambda i: (i.used, i.found))


def aged(
    images: Iterable[KnownImage], in_use: Collection[str], now: float, maximum_age: float, minimum_age: float
) -> list[KnownImage]:
    """The images that nobody has used for longer than `maximum_age`, whatever the disk has left. Pure."""
    return [i for i in order(images, in_use, now, minimum_age) if now - max(i.used, i.found) > maximum_age]


def excess(disk: DiskUse, high: float, low: float) -> int:
    """How many bytes are to be freed: down to `low` percent once more than `high` percent are in use. Pure."""
    used = 100 - 100 * disk.available // max(disk.capacity, 1)
    return int(disk.capacity * (100 - low) / 100 - disk.available) if used >= high else 0


class ImageCollector:
    """Looks every `period` seconds. `mounted` gives the references of image volumes, `say` records an event
    (reason, message) on the Node."""

    def __init__(
        self,
        engine: Containerd,
        mounted: Callable[[], Iterable[str]],
        say: Callable[[str, str], None],
        *,
        high: float = 85.0,
        low: float = 80.0,
        minimum_age: float = 120.0,
        maximum_age: float = 0.0,
        period: float = 300.0,
    ) -> None:
        self._engine = engine
        self._mounted = mounted
        self._say = say
        self._high, self._low = high, low
        self._minimum_age, self._maximum_age, self._period = minimum_age, maximum_age, period
        self.listed: Callable[[Sequence[str], float], Awaitable[None]] | None = None
        """Hears which images (ids) there are, and when they were listed (seconds since the epoch)."""
        self.collected: Callable[[str], None] = lambda reason: None
        """Hears of every image that was removed, because of its `age` or for `space`."""
        self._known: dict[str, KnownImage] = {}
        self._one = asyncio.Lock()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self.look()
            except EngineError as error:
                self._say("ImageGCFailed", error.message)
            await asyncio.sleep(self._period)

    async def look(self) -> None:
        """Remember what is in use, and remove what the disk has no room for. Raises EngineError."""
        async with self._one:
            in_use = await self._detect()
            if self._maximum_age > 0:
                old = aged(self._known.values(), in_use, time.monotonic(), self._maximum_age, self._minimum_age)
                await self._remove(old, None, "age")
            disk = await self._disk()
            wanted = excess(disk, self._high, self._low) if disk is not None else 0
            if wanted <= 0:
                return
            freed = await self._free(in_use, wanted, self._minimum_age)
            if freed < wanted:
                self._say(
                    "FreeDiskSpaceFailed",
                    "Failed to garbage collect required amount of images. "
                    f"Attempted to free {wanted} bytes, but only found {freed} bytes eligible to free.",
                )

    async def free_all(self) -> int:
        """Remove every image that is not in use, whatever its age; the bytes freed. Raises EngineError."""
        async with self._one:
            return await self._free(await self._detect(), None, 0.0)

    async def _detect(self) -> set[str]:
        now, listed_at = time.monotonic(), time.time()
        in_use = {c.image_ref for c in await self._engine.runtime.list_containers()}
        for reference in self._mounted():
            found = await self._engine.image_service.status(reference)
            if found is not None:
                in_use.add(found.id)
        known = {}
        for image in await self._engine.image_service.list():
            before = self._known.get(image.id)
            used = now if image.id in in_use else (before.used if before is not None else 0.0)
            known[image.id] = KnownImage(image.id, image.size, before.found if before is not None else now, used)
        self._known = known
        if self.listed is not None:
            await self.listed(list(known), listed_at)
        return in_use

    async def _free(self, in_use: set[str], wanted: int | None, minimum_age: float) -> int:
        return await self._remove(order(self._known.values(), in_use, time.monotonic(), minimum_age), wanted)

    async def _remove(self, candidates: Iterable[KnownImage], wanted: int | None, reason: str = "space") -> int:
        """Remove one after the other, as long as that has not freed as much as is wanted; the bytes freed."""
        freed = 0
        listed = {i.id: i for i in await self._engine.image_service.list()}
        for candidate in candidates:
            if wanted is not None and freed >= wanted:
                break
            image = listed.get(candidate.id)
            if image is None or image.pinned:
                continue
            if any([await self._engine.images.is_kept(name) for name in image.repo_tags]):
                continue
            await self._engine.image_service.remove(image.id)
            _log.info("removed an image that nobody uses", image=next(iter(image.repo_tags), image.id))
            freed += image.size
            self.collected(reason)
        return freed

    async def _disk(self) -> DiskUse | None:
        for use in await self._engine.image_service.usage():
            return await asyncio.to_thread(file_system, use.fs_id.mountpoint)
        return None
