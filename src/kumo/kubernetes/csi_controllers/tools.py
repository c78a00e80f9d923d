"""What every controller of a driver works with, and how failures are waited out."""

from __future__ import annotations

import random
from dataclasses import dataclass

from kumo.api.objects import Key, Object, key_of
from kumo.host.csi.client import CsiClient
from kumo.kubernetes.csi_controllers import topology
from kumo.kubernetes.csi_controllers.config import CsiControllersConfig
from kumo.kubernetes.csi_controllers.driver import DriverFacts
from kumo.machinery.client import Client
from kumo.machinery.informer import Informers


@dataclass(frozen=True, slots=True)
class Tools:
    """The driver and the cluster."""

    config: CsiControllersConfig
    facts: DriverFacts
    csi: CsiClient
    client: Client
    informers: Informers

    def is_ours(self, volume: Object) -> bool:
        """Whether the volume is the driver's, and within reach if it serves one node."""
        source = (volume.get("spec") or {}).get("csi") or {}
        if source.get("driver") != self.facts.name:
            return False
        return not self.config.node or topology.is_accessible(volume, self.facts.topology)


class Backoff:
    """Delays that double with every failure of a key, within the bounds of the configuration."""

    def __init__(self, config: CsiControllersConfig) -> None:
        self._first, self._longest = config.retry, config.longest_retry
        self._failures: dict[Key, int] = {}

    def failed(self, key: Key) -> float:
        """The seconds to wait now, a little less or more so that not all come back at once."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        delay = min(self._first * 2.0 ** min(count, 30), self._longest)
        return delay * random.uniform(0.9, 1.1)

    def forget(self, key: Key) -> None:
        """The key went well, or is gone."""
        self._failures.pop(key, None)


class Writes:
    """What was written of objects that the informer may not have seen yet, so that nothing is done twice."""

    def __init__(self) -> None:
        self._revisions: dict[Key, int] = {}

    def note(self, obj: Object) -> Object:
        """Remember the object as it was written; the object."""
        self._revisions[key_of(obj)] = _revision(obj)
        return obj

    def is_stale(self, obj: Object) -> bool:
        """Whether the object is older than what was written: a newer one is on its way."""
        noted = self._revisions.get(key_of(obj), 0)
        if _revision(obj) < noted:
            return True
        self._revisions.pop(key_of(obj), None)
        return False


def _revision(obj: Object) -> int:
    return int((obj.get("metadata") or {}).get("resourceVersion") or 0)
