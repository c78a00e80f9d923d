"""The CPU, Memory and Topology Managers of one kubelet, and device plugins with them: pods are placed before they run.

With the policies `none` a pod is only given its devices, and no container is ever told anything.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection
from fractions import Fraction
from pathlib import Path

import structlog

from kumo.api import quantities
from kumo.api.objects import Object, uid_of
from kumo.host.containerd.cri import RuntimeService
from kumo.host.containerd.rpc import EngineError
from kumo.host.containerd.stubs import cri_pb2 as cri
from kumo.kubernetes.kubelet import labels
from kumo.kubernetes.kubelet.admission import Refusal
from kumo.kubernetes.kubelet.devices.ledger import DeviceError
from kumo.kubernetes.kubelet.devices.manager import DeviceManager
from kumo.kubernetes.kubelet.placement import cpuset, hints, state
from kumo.kubernetes.kubelet.placement.cpus import Misaligned
from kumo.kubernetes.kubelet.placement.hints import Hint, Wishes
from kumo.kubernetes.kubelet.placement.memory import Block, NoMemory
from kumo.kubernetes.kubelet.placement.opening import open_cpus, open_memory, open_merger
from kumo.kubernetes.kubelet.placement.options import PlacementSettings, check_policies
from kumo.kubernetes.kubelet.placement.picking import TooFew
from kumo.kubernetes.kubelet.placement.place import ANYWHERE, Place
from kumo.kubernetes.kubelet.placement.topology import Topology
from kumo.kubernetes.kubelet.resources import GUARANTEED, amount, qos_class
from kumo.kubernetes.kubelet.spec import Container, all_containers

_log = structlog.get_logger("kumo.kubelet")
_UNALIGNED = Refusal("TopologyAffinityError", "Resources cannot be allocated with Topology locality")


class PlacementError(ValueError):
    """What an administrator has to mend before the node can start: a setting, or a file of a former kubelet."""


class Placement:
    """One kubelet's. What a former kubelet wrote into `folder` is read at once.

    Raises PlacementError for settings that can't be, and for files of other policies, in upstream's words; OSError.
    """

    def __init__(
        self,
        settings: PlacementSettings,
        topology: Topology,
        folder: Path,
        devices: DeviceManager,
        runtime: RuntimeService,
    ) -> None:
        self.topology = topology
        self._settings = settings
        self._folder = folder
        self._devices = devices
        self._runtime = runtime
        self._lock = asyncio.Lock()
        self._placed: set[str] = set()
        self._told: dict[str, tuple[str, str, str]] = {}
        """Container's id -> its pod's uid, its name, and the processors that it was told of."""
        self._moved = asyncio.Event()
        try:
            check_policies(settings)
            self._merger = open_merger(settings, topology)
            self._cpus, self.cpu_book = open_cpus(settings, topology, folder)
            self._memory, self.memory_book = open_memory(settings, topology, folder)
        except ValueError as error:
            raise PlacementError(str(error)) from error

    # -- what there is ----------------------------------------------------------------------------------------------

    @property
    def allocatable_cpus(self) -> frozenset[int]:
        """What containers may have for themselves; with the policy `none`, which gives nothing away, nothing."""
        return self._cpus.allocatable if self._cpus is not None else frozenset()

    @property
    def allocatable_memory(self) -> list[Block]:
        """What the Memory Manager has to give."""
        return self._memory.allocatable() if self._memory is not None else []

    def place(self, uid: str, name: str) -> Place:
        """Where a container of a pod runs."""
        own = self.cpu_book.of(uid, name) if self._cpus is not None else None
        cpus = self.cpu_book.shared if own is None else own
        nodes = {n for block in self.memory_book.of(uid, name) for n in block.nodes} if self._memory else ()
        if not cpus and not nodes:
            return ANYWHERE
        return Place(cpuset.text(cpus), ",".join(str(n) for n in sorted(nodes)), own is not None)

    def has_exclusive(self, uid: str) -> bool:
        """Whether any container of the pod has processors of its own: then no quota holds for the pod as a whole."""
        return self._cpus is not None and bool(self.cpu_book.given.get(uid))

    def unresizable(self, old: Object, new: Object) -> str:
        """Why the pod can't be given other resources while it runs, empty if it can."""
        if qos_class(new) != GUARANTEED:
            return ""
        text = "Resize is infeasible for Guaranteed Pods alongside"
        if self._cpus is not None and _amounts(old, "cpu") != _amounts(new, "cpu"):
            return f'{text} CPU Manager policy "{self._settings.cpu_policy}"'
        if self._memory is not None and _amounts(old, "memory") != _amounts(new, "memory"):
            return f'{text} Memory Manager policy "{self._settings.memory_policy}"'
        return ""

    # -- pods -------------------------------------------------------------------------------------------------------

    def waits(self, pod: Object) -> bool:
        """Whether the pod is still to be placed (`admit`)."""
        if self._devices.waits(pod):
            return True
        if self._cpus is None and self._memory is None and self._merger is None:
            return False
        return uid_of(pod) not in self._placed

    async def admit(self, pod: Object, running: Collection[str]) -> Refusal | None:
        """Give the pod's containers what they are due, or say why not. `running`: containers that run already."""
        async with self._lock:
            try:
                if not await self._admit(pod, running):
                    return _UNALIGNED
            except Misaligned as error:
                return Refusal("SMTAlignmentError", str(error))
            except (DeviceError, TooFew, NoMemory, OSError) as error:
                text = f"Allocate failed due to {error}, which is unexpected"
                return Refusal("UnexpectedAdmissionError", text)
        self._devices.placed(pod)
        self._placed.add(uid_of(pod))
        return None

    async def _admit(self, pod: Object, running: Collection[str]) -> bool:
        found, fits = hints.ANYWHERE, True
        whole = self._settings.topology_scope == hints.POD
        if self._merger is not None and whole:
            found, fits = self._merger.merge(self._wishes(pod, None))
        for container in all_containers(pod):
            if self._merger is not None and not whole:
                found, fits = self._merger.merge(self._wishes(pod, container))
            if not fits:
                return False
            # Without the Topology Manager nobody prefers anything: upstream's empty hint.
            hint = found if self._merger is not None else Hint(None, False)
            await self._devices.place(pod, container, hint.mask, running=container["name"] in running)
            self._give(pod, container, hint)
        return True

    def _wishes(self, pod: Object, container: Container | None) -> list[Wishes | None]:
        wishes: list[Wishes | None] = [self._devices.hints(pod, container, self.topology.nodes)]
        if self._cpus is not None:
            wishes.append(self._cpus.hints(self.cpu_book, pod, container))
        if self._memory is not None:
            wishes.append(self._memory.hints(self.memory_book, pod, container))
        return wishes

    def _give(self, pod: Object, container: Container, hint: Hint) -> None:
        if self._cpus is not None and self._cpus.allocate(self.cpu_book, pod, container, hint.mask):
            self._save_cpus()
        if self._memory is not None and self._memory.allocate(self.memory_book, pod, container, hint):
            self._save_memory()

    async def started(self, pod: Object, name: str, container: str, told: Place) -> None:
        """A container runs; `told` is what it was created with."""
        uid = uid_of(pod)
        if self._memory is not None and self._memory.started(self.memory_book, pod, name):
            self._try(self._save_memory)
        if self._cpus is None:
            return
        for other in [i for i, (u, n, _) in self._told.items() if (u, n) == (uid, name)]:
            del self._told[other]
        self._told[container] = (uid, name, told.cpus)
        if self.place(uid, name).cpus != told.cpus:
            self._moved.set()

    def forget(self, uid: str) -> None:
        """The pod uses nothing any more."""
        self._placed.discard(uid)
        self._devices.forget(uid)
        for container in [i for i, (u, _, _) in self._told.items() if u == uid]:
            del self._told[container]
        if self._cpus is not None and self._cpus.release(self.cpu_book, uid):
            self._try(self._save_cpus)
        if self._memory is not None and self._memory.release(self.memory_book, uid):
            self._try(self._save_memory)

    def keep(self, uids: Collection[str]) -> None:
        """Only these pods are left; what others had is free."""
        self._devices.keep(uids)
        for uid in {*self.cpu_book.given, *self.memory_book.given} - set(uids):
            self.forget(uid)

    def _save_cpus(self) -> None:
        state.save(self._folder, state.CPU_FILE, state.cpu_data(self.cpu_book, self._settings.cpu_policy))
        self._moved.set()

    def _save_memory(self) -> None:
        state.save(self._folder, state.MEMORY_FILE, state.memory_data(self.memory_book, self._settings.memory_policy))

    def _try(self, save: Callable[[], None]) -> None:
        self._moved.set()
        try:
            save()
        except OSError as error:
            _log.error("where containers run is not written down", error=str(error))

    # -- containers that run ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Tell running containers when the pool that they share is another one, until cancelled."""
        if self._cpus is None:
            await asyncio.Event().wait()
        adopted = False
        while True:
            failed = True
            try:
                if not adopted:
                    await self._adopt()
                    adopted = True
                failed = not await self._tell()
            except EngineError as error:
                _log.info("containers are not told of their processors yet", error=error.message)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.reconcile_seconds if failed else None):
                    await self._moved.wait()
            self._moved.clear()

    async def _adopt(self) -> None:
        """Containers of a former kubelet were told of something, nobody knows of what."""
        for found in await self._runtime.list_containers():
            uid, name = found.labels.get(labels.POD_UID), found.labels.get(labels.CONTAINER_NAME)
            if uid and name and found.state == cri.CONTAINER_RUNNING:
                self._told.setdefault(found.id, (uid, name, ""))

    async def _tell(self) -> bool:
        """Tell all that have to know; whether all could be."""
        done = True
        for container, (uid, name, told) in list(self._told.items()):
            wanted = self.place(uid, name).cpus
            if container not in self._told or wanted == told:
                continue
            try:
                await self._runtime.update_resources(container, cri.LinuxContainerResources(cpuset_cpus=wanted))
            except EngineError as error:
                if error.code == "NOT_FOUND":
                    self._told.pop(container, None)
                    continue
                _log.info("a container keeps its processors", container=name, error=error.message)
                done = False
            else:
                if container in self._told:
                    self._told[container] = (uid, name, wanted)
        return done


def _amounts(pod: Object, resource: str) -> list[Fraction]:
    return [quantities.parse(amount(c, "requests", resource) or 0) for c in all_containers(pod)]
