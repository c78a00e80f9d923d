"""What a decision may look at: nodes and pods, the labels of namespaces, volumes; all held in memory by informers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kumo.api.objects import Object
from kumo.kubernetes.scheduler.cache import Cache
from kumo.kubernetes.scheduler.nodes import PodInfo


def _nothing(*_: str) -> None:
    return None


def _no_objects(*_: str) -> Iterable[Object]:
    return ()


def _no_labels(_: str) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class Volumes:
    """Look-ups of claims (namespace, name), volumes (name or class), classes, CSI nodes and drivers (name).

    `capacities` are all CSIStorageCapacity objects, `attachments` the VolumeAttachments of a node.
    """

    claim: Callable[[str, str], Object | None] = _nothing
    volume: Callable[[str], Object | None] = _nothing
    storage_class: Callable[[str], Object | None] = _nothing
    of_class: Callable[[str], Iterable[Object]] = _no_objects
    csi_node: Callable[[str], Object | None] = _nothing
    csi_driver: Callable[[str], Object | None] = _nothing
    capacities: Callable[[], Iterable[Object]] = _no_objects
    attachments: Callable[[str], Iterable[Object]] = _no_objects


@dataclass(frozen=True, slots=True)
class Devices:
    """Look-ups of ResourceClaims (namespace, name) and DeviceClasses (name); all ResourceSlices.

    `classes` are all DeviceClasses, `claims` the claims of a pod by its uid.

    `taken` are the devices that claims have (`devices.pools.InUse`), `is_pending` says of a claim's uid whether it is
    being allocated, `selectors` judges CEL expressions.
    """

    claim: Callable[[str, str], Object | None] = _nothing
    slices: Callable[[], list[Object]] = list
    device_class: Callable[[str], Object | None] = _nothing
    taken: Callable[[], Any] = _nothing
    classes: Callable[[], list[Object]] = list
    claims: Callable[[str], Iterable[Object]] = _no_objects
    is_pending: Callable[[str], bool] = field(default=lambda _: False)
    selectors: Any = None


@dataclass(frozen=True, slots=True)
class World:
    """A moment of the cluster.

    `default_selector` gives the selector of a pod's services and owner (the empty selector without any), `budgets` all
    PodDisruptionBudgets.
    """

    cache: Cache
    namespace_labels: Callable[[str], Mapping[str, str]] = _no_labels
    volumes: Volumes = field(default_factory=Volumes)
    default_selector: Callable[[PodInfo], Mapping[str, Any]] = field(default=lambda _: {})
    budgets: Callable[[], Iterable[Object]] = _no_objects
    devices: Devices = field(default_factory=Devices)
