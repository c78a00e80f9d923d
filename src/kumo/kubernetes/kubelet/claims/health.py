"""The health of claims' devices, as their drivers tell it: service `v1alpha1.DRAResourceHealth` on the driver's socket.

What a driver says is good for as long as it says (half a minute without); after that nobody knows.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from kumo.host.grpc_status import wire_text
from kumo.kubernetes.kubelet.claims.records import ClaimRecord
from kumo.kubernetes.kubelet.claims.stubs import dra_health_pb2 as pb

GOOD_FOR = 30.0
LONGEST = 1024
"""So many characters a message has at most."""
_NAMES = {pb.HEALTHY: "Healthy", pb.UNHEALTHY: "Unhealthy"}
UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Health:
    """What a driver said of a device, and until when that holds (seconds of the monotonic clock)."""

    health: str = UNKNOWN
    message: str = ""
    until: float = 0.0


class HealthBook:
    """What the drivers of one node said. A device is (driver, pool, name)."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._known: dict[tuple[str, str, str], Health] = {}

    def update(self, driver: str, told: Iterable[tuple[str, str, str, str, float]]) -> set[tuple[str, str, str]]:
        """The driver says (pool, device, health, message, seconds that it is good for); the devices that changed."""
        now, changed, seen = self._now(), set(), set()
        for pool, device, health, message, seconds in told:
            key = (driver, pool, device)
            seen.add(key)
            text = message if len(message) <= LONGEST else f"{message[: LONGEST - 3]}..."
            fresh = Health(health, text, now + (seconds if seconds > 0 else GOOD_FOR))
            old = self.of(*key)
            if (old.health, old.message) != (fresh.health, fresh.message):
                changed.add(key)
            self._known[key] = fresh
        for key in [k for k, h in self._known.items() if k[0] == driver and k not in seen and h.until < now]:
            del self._known[key]
            changed.add(key)
        return changed

    def forget(self, driver: str) -> set[tuple[str, str, str]]:
        """The driver has gone: nobody knows about its devices, which are given."""
        gone = {k for k in self._known if k[0] == driver}
        for key in gone:
            del self._known[key]
        return gone

    def of(self, driver: str, pool: str, device: str) -> Health:
        """What holds of a device now."""
        found = self._known.get((driver, pool, device))
        return found if found is not None and found.until >= self._now() else Health()


def statuses(
    asked: Iterable[Mapping[str, Any]], find: Callable[[str], ClaimRecord | None], book: HealthBook
) -> list[dict[str, Any]]:
    """`allocatedResourcesStatus` of a container that uses these claims (`resources.claims`)."""
    made: dict[str, list[dict[str, Any]]] = {}
    for claim in asked:
        record, request = find(claim["name"]), claim.get("request") or ""
        if record is None:
            continue
        entries = made[f"claim:{claim['name']}" + (f"/{request}" if request else "")] = []
        seen: set[str] = set()
        for driver, devices in record.drivers.items():
            for device in devices:
                name = device.cdi[0] if device.cdi else f"{driver}/{device.pool}/{device.device}"
                if not device.serves(request) or name in seen:
                    continue
                seen.add(name)
                found = book.of(driver, device.pool, device.device)
                entry = {"resourceID": name, "health": found.health}
                entries.append(entry | ({"message": found.message} if found.message else {}))
    return [{"name": name, "resources": entries} for name, entries in made.items() if entries]


async def watch(endpoint: str) -> AsyncIterator[list[tuple[str, str, str, str, float]]]:
    """What the driver at the socket says, each time it does. Raises OSError when it ends, or if it says nothing."""
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"unix:{endpoint}", options=options) as channel:
        call: Any = channel.unary_stream(
            "/v1alpha1.DRAResourceHealth/NodeWatchResources",
            request_serializer=pb.NodeWatchResourcesRequest.SerializeToString,
            response_deserializer=pb.NodeWatchResourcesResponse.FromString,
        )
        try:
            async for answer in call(pb.NodeWatchResourcesRequest()):
                if answer is None:
                    raise OSError("a message about devices' health can't be read")
                yield [_told(d) for d in answer.devices]
        except grpc.aio.AioRpcError as error:
            raise OSError(wire_text(error.code().name, error.details() or "")) from None


def _told(device: Any) -> tuple[str, str, str, str, float]:
    place = device.device
    health = _NAMES.get(device.health, UNKNOWN)
    return place.pool_name, place.device_name, health, device.message, float(device.health_check_timeout_seconds)
