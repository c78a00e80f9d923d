"""How a kubelet's parts are made from what it is given. Each function makes one noun; `Kubelet` joins them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from kumo.api.objects import Object
from kumo.api.resources import SERVICES
from kumo.host.cgroups import Cgroups
from kumo.host.containerd.engine import Containerd
from kumo.kubernetes.kubelet.actions import Tools
from kumo.kubernetes.kubelet.allocation import Allocations
from kumo.kubernetes.kubelet.backoff import Backoff
from kumo.kubernetes.kubelet.claims.manager import ClaimManager
from kumo.kubernetes.kubelet.config import KubeletConfig
from kumo.kubernetes.kubelet.csi.node_storage import NodeStorage
from kumo.kubernetes.kubelet.devices.manager import DeviceManager
from kumo.kubernetes.kubelet.events import PodEvents
from kumo.kubernetes.kubelet.eviction.manager import EvictionManager, EvictionSettings
from kumo.kubernetes.kubelet.eviction.parsing import thresholds
from kumo.kubernetes.kubelet.eviction.signals import observe
from kumo.kubernetes.kubelet.image_collector import ImageCollector
from kumo.kubernetes.kubelet.images import ImageManager, ImageTrouble
from kumo.kubernetes.kubelet.machine import Machine
from kumo.kubernetes.kubelet.node import NodeKeeper
from kumo.kubernetes.kubelet.placement import topology
from kumo.kubernetes.kubelet.placement.manager import Placement
from kumo.kubernetes.kubelet.pulls.ledger import PullLedger
from kumo.kubernetes.kubelet.pulls.puller import Puller
from kumo.kubernetes.kubelet.pulls.verification import make_policy
from kumo.kubernetes.kubelet.references import References
from kumo.kubernetes.kubelet.stats.action_counts import ActionCounts
from kumo.kubernetes.kubelet.stats.families import FAMILIES
from kumo.kubernetes.kubelet.stats.meter import Meter
from kumo.kubernetes.kubelet.stats.pod_times import PodTimes
from kumo.kubernetes.kubelet.stats.provider import NodeStatistics
from kumo.kubernetes.kubelet.stats.runtime_figures import RuntimeFigures
from kumo.kubernetes.kubelet.user_namespaces import UserNamespaces
from kumo.kubernetes.kubelet.volumes.manager import NoImage, VolumeManager
from kumo.kubernetes.kubelet.worker import PodWorker
from kumo.machinery.client import Client
from kumo.machinery.events import EventRecorder
from kumo.machinery.informer import Informer, Informers


@dataclass(frozen=True, slots=True)
class Given:
    """What a kubelet is made from; `facts` are its machine's, `nodes` follows its own Node."""

    config: KubeletConfig
    client: Client
    informers: Informers
    recorder: EventRecorder
    engine: Containerd
    facts: Machine
    nodes: Informer

    def node(self) -> Object | None:
        """The Node as the API server has it, as far as it is known."""
        return self.nodes.get(self.config.node_name)


def make_storage(given: Given, keeper: NodeKeeper, references: References) -> NodeStorage:
    """The CSI side of the node."""
    config = given.config
    return NodeStorage(
        config.directory,
        config.node_name,
        given.client,
        given.informers,
        given.nodes,
        keeper,
        references,
        given.recorder,
        config.resync_seconds,
    )


def make_placement(given: Given, devices: DeviceManager) -> Placement:
    """The CPU, Memory and Topology Managers. Raises ValueError for settings and files that can't be."""
    config = given.config
    found = topology.read(memory=given.facts.memory)
    return Placement(config.placement, found, config.directory, devices, given.engine.runtime)


def make_tools(
    given: Given,
    references: References,
    storage: NodeStorage,
    allocations: Allocations,
    devices: DeviceManager,
    claims: ClaimManager,
    placement: Placement,
) -> Tools:
    """What actions on pods need."""
    config, engine = given.config, given.engine
    events = PodEvents(given.recorder)
    pulls = Backoff(config.pull_backoff_base, config.pull_backoff_ceiling, time.time)
    meter = Meter(FAMILIES)
    figures = RuntimeFigures(meter)
    engine.runtime.told = engine.image_service.told = figures.operation
    policy = make_policy(config.pull_verification, config.pull_allowlist)
    images = ImageManager(
        engine.image_service,
        engine.images,
        references,
        events,
        pulls,
        Puller(engine.image_service, config.pull_limits),
        PullLedger(config.directory, policy, engine.image_service.list),
        config.directory / "config.json",
        meter,
    )

    async def ensure_image(pod: Object, reference: str, policy: str) -> None:
        try:
            await images.ensure(pod, reference, policy)
        except ImageTrouble as error:
            raise NoImage(error.reason, error.message) from error

    volumes = VolumeManager(config.pods_directory, references, engine.snapshots, ensure_image, storage.volumes)
    services = given.informers.informer(SERVICES)
    return Tools(
        config,
        engine,
        references,
        volumes,
        images,
        events,
        services,
        Cgroups(),
        given.facts,
        allocations,
        devices,
        claims,
        placement,
        meter,
        PodTimes(meter, lambda uid: images.spent.get(uid, 0.0)),
        ActionCounts(meter),
        figures,
        UserNamespaces(config.pods_directory, partial(_maps_users, engine)),
    )


def make_image_collector(
    given: Given, tools: Tools, mounted: Callable[[], Iterable[str]], say: Callable[[str, str], None]
) -> ImageCollector:
    """Who removes images that nobody uses."""
    config = given.config
    made = ImageCollector(
        given.engine,
        mounted,
        say,
        high=config.image_high_percent,
        low=config.image_low_percent,
        minimum_age=config.image_minimum_age,
        maximum_age=config.image_maximum_age,
    )
    made.listed = tools.images.prune
    made.collected = partial(tools.meter.count, "kubelet_image_garbage_collected_total")
    return made


async def _maps_users(engine: Containerd, handler: str) -> bool:
    """Whether the handler can make user namespaces. Raises OSError for one that the runtime does not know."""
    handlers = (await engine.runtime.whole_status()).runtime_handlers
    found = next((h for h in handlers if h.name == handler), None)
    if handlers and found is None:
        raise OSError(f'the handler "{handler}" is not known')
    return found is not None and found.features.user_namespaces


def make_eviction(
    given: Given,
    workers: Callable[[], list[PodWorker]],
    statistics: NodeStatistics,
    images: ImageCollector,
    keeper: NodeKeeper,
) -> EvictionManager:
    """Who watches what the machine has left."""
    config, facts = given.config, given.facts
    settings = EvictionSettings(
        thresholds(
            config.eviction_hard,
            config.eviction_soft,
            config.eviction_soft_grace,
            config.eviction_minimum_reclaim,
            of_pods=config.enforce_allocatable,
        ),
        config.eviction_interval,
        config.pressure_seconds,
        config.eviction_most_grace,
    )
    return EvictionManager(
        settings,
        lambda groups: observe(groups, config.directory, config.cgroup_parent, facts.memory_of_pods(config)),
        workers,
        statistics.summary,
        images.free_all,
        keeper.poke,
        keeper.warn,
    )
