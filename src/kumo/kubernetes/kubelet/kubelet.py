"""The kubelet itself: one worker a pod of this node, woken by the API server's and containerd's events."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import structlog

from kumo.api.objects import Object, uid_of
from kumo.api.resources import NODES, PODS
from kumo.host import mounts
from kumo.host.containerd.config import has_apparmor
from kumo.host.containerd.engine import Containerd
from kumo.host.containerd.rpc import EngineError
from kumo.kubernetes.kubelet import labels, logs, machine
from kumo.kubernetes.kubelet.actions import PodActions
from kumo.kubernetes.kubelet.allocation import Allocations
from kumo.kubernetes.kubelet.backoff import Backoff
from kumo.kubernetes.kubelet.claims.manager import ClaimManager
from kumo.kubernetes.kubelet.config import KubeletConfig
from kumo.kubernetes.kubelet.configuration.configz import configz
from kumo.kubernetes.kubelet.devices.manager import DeviceManager
from kumo.kubernetes.kubelet.enforcing import enforce
from kumo.kubernetes.kubelet.events import PodEvents
from kumo.kubernetes.kubelet.live_references import LiveReferences
from kumo.kubernetes.kubelet.node import NodeKeeper
from kumo.kubernetes.kubelet.parts import (
    Given,
    make_eviction,
    make_image_collector,
    make_placement,
    make_storage,
    make_tools,
)
from kumo.kubernetes.kubelet.pod_resources.messages import Holdings
from kumo.kubernetes.kubelet.pod_resources.server import PodResourcesServer
from kumo.kubernetes.kubelet.podstate import Observer
from kumo.kubernetes.kubelet.preemption.preemptor import Preemptor
from kumo.kubernetes.kubelet.references import References
from kumo.kubernetes.kubelet.server.routes import NodeServer
from kumo.kubernetes.kubelet.shutdown.logind import Logind
from kumo.kubernetes.kubelet.shutdown.manager import ShutdownManager
from kumo.kubernetes.kubelet.shutdown.record import ShutdownRecord
from kumo.kubernetes.kubelet.spec import grace_period, is_critical
from kumo.kubernetes.kubelet.static_pods import mirror_hash
from kumo.kubernetes.kubelet.static_side import StaticSide
from kumo.kubernetes.kubelet.stats.provider import NodeStatistics
from kumo.kubernetes.kubelet.status_writer import StatusWriter
from kumo.kubernetes.kubelet.sysctls import Allowlist
from kumo.kubernetes.kubelet.unified import unresizable
from kumo.kubernetes.kubelet.worker import PodWorker, Shared
from kumo.machinery.client import Client
from kumo.machinery.events import EventRecorder
from kumo.machinery.http import Answer, Request
from kumo.machinery.informer import Informers

_log = structlog.get_logger("kumo.kubelet")
_UNCLAIMED_MAX = 1024


class Kubelet:
    """One node's kubelet. `handler` answers the API server; its caller proves who asks."""

    name = "kubelet"

    def __init__(
        self,
        config: KubeletConfig,
        client: Client,
        informers: Informers,
        recorder: EventRecorder,
        engine: Containerd,
    ) -> None:
        self.config = config
        self._engine = engine
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._owners: dict[str, str] = {}
        self._synced = False
        self._adopted = asyncio.Event()
        self._unclaimed: dict[str, None] = {}
        """Containers that ended before anybody had seen them, the newest last."""
        for folder in (config.directory, config.pods_directory, config.logs_directory):
            folder.mkdir(parents=True, exist_ok=True)
        facts = machine.look(config.directory)
        self._pods = informers.informer(PODS, field_selector=f"spec.nodeName={config.node_name}")
        self._nodes = informers.informer(NODES, field_selector=f"metadata.name={config.node_name}")
        given = Given(config, client, informers, recorder, engine, facts, self._nodes)
        self._writer = StatusWriter(client)
        self.node = NodeKeeper(config, client, engine, facts, recorder)
        self._nodes.on_change(self.node.seen)
        references = References(client, config.node_name)
        self.storage = make_storage(given, self.node, references)
        self.devices = DeviceManager(
            config.directory / "device-plugins", self.node.poke, self._touched, config.devices.keys()
        )
        self.placement = make_placement(given, self.devices)
        self.claims = ClaimManager(config.directory, config.node_name, client, touched=self._touched)
        holdings = Holdings(self.devices.ledger, self.placement, self.claims)
        self.pod_resources = PodResourcesServer(config.directory, self._bound, holdings)
        self.storage.plugins |= {"DevicePlugin": self.devices.handler, "DRAPlugin": self.claims}
        self.node.offered = self.devices.offered
        events = PodEvents(recorder)
        allocations = Allocations(
            config.pods_directory,
            events,
            self._bound,
            given.node,
            apparmor=has_apparmor(),
            allowed=Allowlist(config.allowed_sysctls),
        )
        allocations.roomy, allocations.unresizable = self.devices.roomy, self.placement.unresizable
        tools = make_tools(given, references, self.storage, allocations, self.devices, self.claims, self.placement)
        if tools.cgroups.unified:
            swap, placement = config.memory_policy, self.placement.unresizable
            allocations.unresizable = lambda old, new: unresizable(old, new, swap) or placement(old, new)
        self._services = tools.services
        self._static = StaticSide(
            config.manifests_directory,
            config.node_name,
            client,
            given.node,
            self._employ,
            self._tell,
            config.manifests_seconds,
        )
        self._actions = PodActions(tools)
        preemptor = Preemptor(allocations, lambda: list(self._workers.values()))
        preemptor.counted = lambda resource: tools.meter.count("kubelet_preemptions", resource)
        self._shared = Shared(
            client,
            self._actions,
            Observer(engine.runtime, self._claim, engine.tasks, tools.figures.looked),
            self._writer,
            Backoff(config.crash_backoff_base, config.crash_backoff_ceiling, time.time),
            self._released,
            LiveReferences(client, references, self._outdated),
            self._static.published,
            preemptor.admit,
        )
        self._writer.said, self._writer.sent = tools.times.said, tools.times.written
        statistics = NodeStatistics(config, engine, facts, tools, self._workers.values)
        self._images = make_image_collector(given, tools, self._image_volumes, self.node.warn)
        self._eviction = make_eviction(given, lambda: list(self._workers.values()), statistics, self._images, self.node)
        self._eviction.counted = lambda signal: tools.meter.count("kubelet_evictions", signal)
        self.node.pressures = lambda: self._eviction.conditions
        self.shutdown = ShutdownManager(
            config.shutdown,
            lambda: list(self._workers.values()),
            self.node.tell,
            self.node.poke,
            self._flush,
            lambda: Logind.connect(config.system_bus, config.logind_override),
            ShutdownRecord(config.directory, tools.meter.put),
        )
        self.node.shutting_down = lambda: self.shutdown.is_shutting_down
        allocations.pressure = lambda pod: self.shutdown.refusal() or self._eviction.refusal(pod)
        self._server = NodeServer(
            engine,
            statistics,
            self.find_worker,
            self._pods.objects,
            lambda: configz(config, engine.socket),
            files=bool(config.document.get("enableSystemLogHandler", True)),
        )

    async def handler(self, request: Request) -> Answer:
        """The node's own HTTP API: logs, exec, attach, port-forward, pods, healthz."""
        return await self._server.handle(request)

    def find_worker(self, namespace: str, name: str) -> PodWorker | None:
        """The worker of the pod of that name (of the newest, if an older one is still ending)."""
        pod = self._pods.get(name, namespace)
        return self._workers.get(self._static.uid(pod) or uid_of(pod)) if pod is not None else None

    def _image_volumes(self) -> list[str]:
        """The images that pods have mounted."""
        volumes = [v for w in self._workers.values() for v in w.pod["spec"].get("volumes") or ()]
        return [str(v["image"]["reference"]) for v in volumes if (v.get("image") or {}).get("reference")]

    def _bound(self) -> list[Object]:
        """The pods that are to run here: those of the API server and the static ones, without their mirrors."""
        return [p for p in self._pods.objects() if not mirror_hash(p)] + self._static.objects()

    def _tell(self, pod: Object) -> None:
        """Here is a newer version of a pod that somebody works on."""
        worker = self._workers.get(uid_of(pod))
        if worker is not None:
            worker.update(pod)

    async def run(self) -> None:
        """Run until cancelled. Containers run on afterwards."""
        await asyncio.to_thread(mounts.make_shared, self.config.pods_directory)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.node.run(), name="node")
                group.create_task(self.storage.run(), name="storage")
                group.create_task(self.devices.run(), name="devices")
                group.create_task(self.claims.run(), name="claims")
                group.create_task(self._place(), name="placement")
                group.create_task(self.pod_resources.run(), name="pod resources")
                group.create_task(self._follow_engine(), name="engine")
                group.create_task(self._follow_pods(), name="pods")
                group.create_task(self._static.run(), name="static pods")
                group.create_task(self._rotate_logs(), name="log rotation")
                group.create_task(self._eviction.run(), name="eviction")
                group.create_task(self._eviction.follow(), name="memory stalls")
                group.create_task(self.shutdown.run(), name="shutdown")
                group.create_task(enforce(self._actions.tools, self.node), name="allocatable")
                group.create_task(self._images.run(), name="image collection")
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            self._shared.live.close()
            self._writer.close()

    async def end_pods(self, limit: float = 120.0) -> int:
        """Stop every pod of this node within its grace period (at most `limit` seconds), the objects left as they are.

        For the end of the whole node, after `run` has ended: the next kubelet starts again what should run. The number
        of pods that were stopped. Raises EngineError when containerd is not there.
        """
        known = {uid_of(p): p for p in self._bound()}
        uids = {b.labels.get(labels.POD_UID, "") for b in await self._engine.runtime.list_sandboxes()} - {""}

        async def end(uid: str) -> bool:
            state = await self._shared.observer.observe(uid)
            if not state.any_running and not any(s.ready for s in state.sandboxes):
                return False
            pod = known.get(uid) or {"metadata": {"uid": uid}, "spec": {"containers": []}}
            try:
                async with asyncio.timeout(limit):
                    await self._actions.stop_pod(pod, state, min(float(grace_period(pod)), limit))
            except (TimeoutError, EngineError) as error:
                _log.warning("pod did not end", pod=uid, error=str(error))
            return True

        # Those that the others may need end after them.
        last = {uid for uid in uids if is_critical(known.get(uid))}
        ended = await asyncio.gather(*(end(uid) for uid in uids - last))
        return sum(ended) + sum(await asyncio.gather(*(end(uid) for uid in last)))

    async def _follow_pods(self) -> None:
        await self._pods.wait_synced()
        await self._services.wait_synced()
        await self._nodes.wait_synced()
        self._pods.on_change(self._pod_changed)
        await self._static.look()
        self._synced = True
        await self._adopt()
        self.placement.keep(self._workers.keys())
        self._adopted.set()
        await self.claims.keep(self._workers.keys())

    async def _place(self) -> None:
        await self._adopted.wait()
        await self.placement.run()

    async def _follow_engine(self) -> None:
        """Wake workers by containerd's events; pods of the node itself run even while nobody answers for the API."""
        async for event in self._engine.events.follow():
            if event.kind == "connected":
                self._actions.tools.figures.connected()
                # Whatever happened while nobody listened: look at everything once.
                if self._synced:
                    await self._adopt()
                for worker in list(self._workers.values()):
                    worker.wake()
                self.node.poke()
                continue
            if event.kind == "image":
                self.node.poke_soon()
                continue
            worker_uid = self._owners.get(event.container)
            found = self._workers.get(worker_uid) if worker_uid else None
            if found is None:
                if event.kind == "exit":
                    self._unclaimed[event.container] = None
                    while len(self._unclaimed) > _UNCLAIMED_MAX:
                        del self._unclaimed[next(iter(self._unclaimed))]
                continue
            if event.kind == "exit":
                found.exited(event.container)
            else:
                found.wake()

    async def _flush(self, pod: Object) -> None:
        """Wait until the pod's newest status has been written."""
        shown = self._static.published(pod)
        if shown is not None:
            await self._writer.flush(uid_of(shown))

    def _outdated(self, uid: str) -> None:
        worker = self._workers.get(uid)
        if worker is not None:
            worker.outdated()

    def _touched(self, uid: str) -> None:
        worker = self._workers.get(uid)
        if worker is not None:
            worker.wake()

    def _released(self, uid: str) -> None:
        """A pod has let go of what it used: those whose resize waits for room may look again."""
        allocations = self._actions.tools.allocations
        allocations.forget(uid)
        self.placement.forget(uid)
        for other in allocations.waiting():
            worker = self._workers.get(other)
            if worker is not None:
                worker.wake()

    def _claim(self, container: str, uid: str) -> None:
        """Note whose container it is. One that ends at once may have ended before this; its worker learns of it now."""
        self._owners[container] = uid
        if container in self._unclaimed:
            del self._unclaimed[container]
            worker = self._workers.get(uid)
            if worker is not None:
                worker.exited(container)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new if new is not None else old
        assert pod is not None
        if self._static.saw(old, new):
            if new is None:
                self._writer.forget(uid_of(pod))
            return
        uid = uid_of(pod)
        worker = self._workers.get(uid)
        if new is None:
            if worker is not None:
                worker.update(None)
        elif worker is not None:
            worker.update(new)
        else:
            self._employ(new)

    def _employ(self, pod: Object) -> PodWorker:
        uid = uid_of(pod)
        worker = self._workers[uid] = PodWorker(pod, self._shared)

        async def work() -> None:
            ended = False
            try:
                await worker.run()
                ended = True
            finally:
                if self._workers.get(uid) is worker:
                    del self._workers[uid]
                    self._tasks.pop(uid, None)
                    for container in [c for c, u in self._owners.items() if u == uid]:
                        del self._owners[container]
                    if ended:
                        self._static.done(uid)

        self._tasks[uid] = asyncio.create_task(work(), name=f"pod {uid}")
        return worker

    async def _adopt(self) -> None:
        """Find what is left of pods that no longer exist, and have it removed."""
        try:
            sandboxes = await self._engine.runtime.list_sandboxes()
        except EngineError as error:
            _log.info("can't look for leftovers", error=error.message)
            return
        for box in sandboxes:
            uid = box.labels.get(labels.POD_UID) or box.metadata.uid
            if uid and uid not in self._workers:
                pod: Object = {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {"name": box.metadata.name, "namespace": box.metadata.namespace, "uid": uid},
                    "spec": {"containers": []},
                }
                _log.info("removing a pod that no longer exists", pod=f"{box.metadata.namespace}/{box.metadata.name}")
                self._employ(pod).update(None)
        parent = self.config.cgroup_parent
        left = set(await asyncio.to_thread(self._actions.tools.volumes.known))
        groups = await asyncio.to_thread(self._actions.tools.cgroups.groups, parent)
        left |= {g.removeprefix("pod") for g in groups if g.startswith("pod")}
        for uid in left - self._workers.keys():
            # A worker, since drivers may not be there yet to let go of its volumes.
            metadata = {"name": uid, "namespace": "", "uid": uid}
            self._employ({"metadata": metadata, "spec": {"containers": []}}).update(None)

    async def _rotate_logs(self) -> None:
        config = self.config
        while True:
            await asyncio.sleep(config.log_check_seconds)
            for worker in list(self._workers.values()):
                for container in worker.state.containers:
                    if container.running and container.log_path:
                        path = Path(container.log_path)
                        with contextlib.suppress(OSError, EngineError):
                            if await asyncio.to_thread(logs.rotate, path, config.log_max_files, config.log_max_bytes):
                                await self._engine.runtime.reopen_log(container.id)
