"""All of device plugins on one node: plugins come and go, pods are given devices before they are taken in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import structlog

from kumo.api import quantities
from kumo.api.objects import Object, uid_of
from kumo.api.pod_resources import is_sidecar, needed
from kumo.kubernetes.kubelet.admission import Refusal
from kumo.kubernetes.kubelet.devices import checkpoint
from kumo.kubernetes.kubelet.devices.affinity import device_hints, is_placed, sorted_by_nearness
from kumo.kubernetes.kubelet.devices.ledger import DeviceError, Ledger, fill
from kumo.kubernetes.kubelet.devices.options import DeviceOptions, merge
from kumo.kubernetes.kubelet.devices.plugin import Plugin
from kumo.kubernetes.kubelet.devices.registration import RegistryHandler, serving
from kumo.kubernetes.kubelet.placement.hints import Hint, Wishes
from kumo.kubernetes.kubelet.spec import Container, claimed_resources, containers, init_containers

_GRACE = 300.0
"""Seconds after which a resource whose plugin is away is no longer the node's."""
_TOGETHER = 0.1
_log = structlog.get_logger("kumo.kubelet")


class DeviceManager:
    """One kubelet's. `changed` hears that the node offers something else, `touched` of pods whose devices' health has.

    `own` are the resources that the kubelet offers without a plugin. The checkpoint in `folder` is read at once.
    """

    def __init__(
        self,
        folder: Path,
        changed: Callable[[], None],
        touched: Callable[[str], None],
        own: Collection[str] = (),
        grace: float = _GRACE,
    ) -> None:
        self._folder = folder
        self._changed = changed
        self._touched = touched
        self._own = own
        self._grace = grace
        self._plugins: dict[str, Plugin] = {}
        self._streams: dict[str, asyncio.Task[None]] = {}
        self._away: dict[str, asyncio.TimerHandle] = {}
        self._removed: set[str] = set()
        self._admitted: set[str] = set()
        self._spare: tuple[str, dict[str, set[str]]] = ("", {})
        """What init containers of that pod had, by resource."""
        self._giving = asyncio.Lock()
        self._joining = asyncio.Lock()
        self._soon: asyncio.TimerHandle | None = None
        self.ledger = Ledger()
        try:
            self.ledger = checkpoint.load(folder) or self.ledger
        except (OSError, ValueError) as error:
            _log.error("devices of containers are not known any more", error=str(error))
        self.handler = RegistryHandler(self.connect, self.disconnect)

    async def run(self) -> None:
        """Serve registrations until cancelled. Containers keep their devices."""
        for resource in self.ledger.healthy.keys() - self._plugins.keys():
            self._wait_for(resource)
        try:
            async with serving(self._folder, self.connect):
                await asyncio.Event().wait()
        except OSError as error:
            _log.error("device plugins can't register", error=str(error))
            await asyncio.Event().wait()
        finally:
            for task in self._streams.values():
                task.cancel()
            await asyncio.gather(*self._streams.values(), return_exceptions=True)
            for timer in [*self._away.values(), *([self._soon] if self._soon else ())]:
                timer.cancel()
            for plugin in self._plugins.values():
                await plugin.close()

    # -- plugins ----------------------------------------------------------------------------------------------------

    async def connect(self, resource: str, socket: str) -> None:
        """Take in the plugin of a resource, in place of an older one. Raises DeviceError."""
        if resource in self._own:
            raise DeviceError(f'the ResourceName "{resource}" is invalid: the node offers it itself')
        plugin = Plugin(resource, socket)
        try:
            await plugin.connect()
        except BaseException:
            await plugin.close()
            raise
        async with self._joining:
            await self._replace(plugin)
        _log.info("device plugin registered", resource=resource, socket=socket)

    async def _replace(self, plugin: Plugin) -> None:
        resource = plugin.resource
        before = self._streams.pop(resource, None)
        if before is not None:
            before.cancel()
            await asyncio.gather(before, return_exceptions=True)
        older = self._plugins.get(resource)
        self._plugins[resource] = plugin
        if older is not None:
            await older.close()
        self.ledger.expect(resource)
        timer = self._away.pop(resource, None)
        if timer is not None:
            timer.cancel()
        self._removed.discard(resource)
        self._streams[resource] = asyncio.create_task(self._follow(plugin), name=f"devices {resource}")

    async def disconnect(self, resource: str, socket: str) -> None:
        """The plugin at that socket has gone."""
        plugin, stream = self._plugins.get(resource), self._streams.get(resource)
        if plugin is not None and plugin.socket == socket and stream is not None:
            stream.cancel()
            await asyncio.gather(stream, return_exceptions=True)
            await self._lost(plugin)

    async def _follow(self, plugin: Plugin) -> None:
        resource = plugin.resource
        try:
            async for devices in plugin.lists():
                before = self.ledger.counts(), set(self.ledger.healthy.get(resource, ()))
                touched = self.ledger.update(resource, devices)
                after = self.ledger.counts(), self.ledger.healthy[resource]
                if before != after:
                    self._save()
                    self._tell()
                for uid in touched:
                    self._touched(uid)
        except DeviceError as error:
            _log.info("device plugin ended", resource=resource, error=str(error))
        await self._lost(plugin)

    async def _lost(self, plugin: Plugin) -> None:
        if self._plugins.get(plugin.resource) is plugin and not plugin.stopped:
            await plugin.close()
            self.ledger.lose(plugin.resource)
            self._wait_for(plugin.resource)
            self._tell()

    def _wait_for(self, resource: str) -> None:
        """Give the plugin time to come (back)."""
        if resource not in self._away:
            self._away[resource] = asyncio.get_running_loop().call_later(self._grace, self._drop, resource)

    def _drop(self, resource: str) -> None:
        del self._away[resource]
        self._plugins.pop(resource, None)
        self._streams.pop(resource, None)
        self.ledger.drop(resource)
        self._removed.add(resource)
        self._save()
        self._tell()

    def _tell(self) -> None:
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(_TOGETHER, self._tell_now)

    def _tell_now(self) -> None:
        self._soon = None
        self._changed()

    # -- what the node says -----------------------------------------------------------------------------------------

    def offered(self) -> tuple[dict[str, str], dict[str, str]]:
        """Capacity and allocatable, as `Node.status` has them; what is no longer offered is zero."""
        gone = dict.fromkeys(self._removed, "0")
        capacity, allocatable = ({r: str(n) for r, n in counts.items()} for counts in self.ledger.counts())
        return gone | capacity, gone | allocatable

    def roomy(self, pod: Object, node: Object) -> Object:
        """The Node, with at least what is given away already: who has devices is not refused for want of them."""
        if uid_of(pod) not in self.ledger.claims:
            return node
        status = node.get("status") or {}
        offered = dict(status.get("allocatable") or {})
        for resource, ids in self.ledger.used().items():
            if quantities.parse(offered.get(resource) or "0") < len(ids):
                offered[resource] = str(len(ids))
        return {**node, "status": {**status, "allocatable": offered}}

    # -- pods -------------------------------------------------------------------------------------------------------

    def waits(self, pod: Object) -> bool:
        """Whether the pod is still to be given devices (`admit`). What it wants is looked at once."""
        if uid_of(pod) in self._admitted:
            return False
        if any(self._wanted(pod, c) for c in (*init_containers(pod), *containers(pod))):
            return True
        self._admitted.add(uid_of(pod))
        return False

    async def admit(self, pod: Object, running: Collection[str]) -> Refusal | None:
        """Give the pod's containers their devices, or say why not. `running`: the containers that run already."""
        for container in (*init_containers(pod), *containers(pod)):
            try:
                await self.place(pod, container, None, running=container["name"] in running)
            except DeviceError as error:
                return Refusal("UnexpectedAdmissionError", f"Allocate failed due to {error}, which is unexpected")
        self.placed(pod)
        return None

    def hints(self, pod: Object, container: Container | None, machine: Collection[int]) -> Wishes:
        """At which of the machine's NUMA nodes a container's devices (or, without one, all of the pod's) can be."""
        members = [*init_containers(pod), *containers(pod)] if container is None else [container]
        if container is None:
            wanted = needed(pod["spec"], lambda c: self._wanted(pod, c))
        else:
            wanted = self._wanted(pod, container)
        return {resource: self._hints(pod, members, resource, n, machine) for resource, n in wanted.items()}

    def _hints(
        self, pod: Object, members: Collection[Container], resource: str, wanted: int, machine: Collection[int]
    ) -> list[Hint] | None:
        known = self.ledger.known(resource)
        if not is_placed(known):
            return None
        uid = uid_of(pod)
        mine: set[str] = set()
        for member in members:
            mine |= self.ledger.has(uid, member["name"], resource) or set()
        if mine:
            return device_hints(known, mine, (), wanted, machine) if len(mine) == wanted else []
        free = self.ledger.healthy.get(resource, set()) - self.ledger.used().get(resource, set())
        spare = self._reusable(uid).get(resource, set()) if len(members) == 1 else set()
        if len(free | spare) < wanted:
            return []
        return device_hints(known, free, spare, wanted, machine)

    async def place(self, pod: Object, container: Container, mask: int | None, *, running: bool) -> None:
        """Give a container its devices, near these NUMA nodes if it can be. Raises DeviceError."""
        uid, name = uid_of(pod), container["name"]
        async with self._giving:
            spare = self._reusable(uid)
            await self._give(pod, container, spare, running=running, mask=mask)
            passes_on = container in init_containers(pod) and not is_sidecar(container)
            for resource, claim in self.ledger.claims.get(uid, {}).get(name, {}).items():
                # What an init container had, the containers after it may have.
                reusable = spare.setdefault(resource, set())
                reusable.update(claim.ids) if passes_on else reusable.difference_update(claim.ids)
            self._spare = (uid, spare)

    def _reusable(self, uid: str) -> dict[str, set[str]]:
        return self._spare[1] if self._spare[0] == uid else {}

    def placed(self, pod: Object) -> None:
        """All containers of the pod have what they want."""
        self._admitted.add(uid_of(pod))

    async def prepare(self, pod: Object, container: Container) -> DeviceOptions:
        """What the container gets, right before it is created. Raises DeviceError."""
        uid, name = uid_of(pod), container["name"]
        wanted = [r for r, n in self._wanted(pod, container).items() if n]
        for resource in wanted:
            plugin = self._plugins.get(resource)
            if plugin is not None and plugin.options.pre_start_required:
                mine = self.ledger.has(uid, name, resource)
                if mine is None:
                    where = f"pod {uid}, container {name}, resource {resource}"
                    raise DeviceError(f"no devices found allocated in local cache for {where}")
                await plugin.pre_start(sorted(mine))
        if any(self.ledger.has(uid, name, r) is None for r in wanted):
            # It was taken in before anybody knew of the plugin.
            async with self._giving:
                await self._give(pod, container, {}, running=False)
        return merge(c.response for _, c in sorted(self.ledger.claims.get(uid, {}).get(name, {}).items()))

    def health(self, uid: str) -> Mapping[str, list[dict[str, Any]]]:
        """The health of the devices of a pod's containers, as their statuses show it."""
        return self.ledger.health(uid)

    def forget(self, uid: str) -> None:
        """The pod uses nothing any more."""
        self._admitted.discard(uid)
        if self.ledger.claims.pop(uid, None) is not None:
            self._save()

    def keep(self, uids: Collection[str]) -> None:
        """Only these pods are left; what others had is free."""
        for uid in [u for u in self.ledger.claims if u not in uids]:
            self.forget(uid)

    def _wanted(self, pod: Object, container: Container) -> dict[str, int]:
        """How many devices of which plugins' resources a container wants."""
        limits = (container.get("resources") or {}).get("limits") or {}
        found = {r: quantities.whole(q) for r, q in limits.items() if "/" in r and self.ledger.managed(r)}
        claimed = claimed_resources(pod, container["name"]) if found else {}
        return {r: n for r, n in found.items() if r not in claimed}

    async def _give(
        self,
        pod: Object,
        container: Container,
        spare: Mapping[str, Iterable[str]],
        *,
        running: bool,
        mask: int | None = None,
    ) -> None:
        uid, name = uid_of(pod), container["name"]
        for resource, wanted in self._wanted(pod, container).items():
            missing = self.ledger.needed(uid, name, resource, wanted, running=running)
            if not missing:
                continue
            ids = await self._choose(resource, missing, sorted(spare.get(resource, ())), mask)
            answer: Any = await self._plugin(resource, "unknown Device Plugin").allocate(ids)
            self.ledger.give(uid, name, resource, ids, answer.SerializeToString(deterministic=True))
            self._save()

    async def _choose(self, resource: str, size: int, spare: list[str], mask: int | None) -> list[str]:
        taken = fill(size, spare)
        missing = size - len(taken)
        if not missing:
            return taken
        known = self.ledger.known(resource)
        near, _, _ = sorted_by_nearness(known, self.ledger.free(resource, missing), mask)
        if len(near) > missing:  # the plugin may choose among those that are where they should be
            preferred = await self._prefer(resource, near, taken, size)
            near, _, _ = sorted_by_nearness(known, self.ledger.free(resource, missing), mask)
            return fill(size, taken, [i for i in preferred if i in near], near)
        taken = fill(size, taken, near)
        missing = size - len(taken)
        if not missing:
            return taken
        free = [i for i in self.ledger.free(resource, missing) if i not in taken]
        preferred = await self._prefer(resource, free, taken, size)
        # The plugin may have told of other devices meanwhile.
        free = [i for i in self.ledger.free(resource, missing) if i not in taken]
        return fill(size, taken, [i for i in preferred if i in free], *sorted_by_nearness(known, free, mask))

    async def _prefer(self, resource: str, free: Collection[str], taken: Collection[str], size: int) -> list[str]:
        plugin = self._plugin(resource, "endpoint not found in cache for a registered resource:")
        return await plugin.prefer([*free, *taken], taken, size)

    def _plugin(self, resource: str, problem: str) -> Plugin:
        plugin = self._plugins.get(resource)
        if plugin is None:
            raise DeviceError(f"{problem} {resource}")
        return plugin

    def _save(self) -> None:
        try:
            checkpoint.save(self._folder, self.ledger)
        except OSError as error:
            _log.error("devices of containers are not written down", error=str(error))
