"""The Ingress controller of a node: objects in, haproxy and the Ingresses' status out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping

import structlog

from kumo.api.errors import StatusError, is_already_exists, is_conflict, is_not_found
from kumo.api.node_slices import differs
from kumo.api.objects import Key, Object, key_of, name_of, namespace_of
from kumo.api.resources import ENDPOINTSLICES, NODES, SERVICES
from kumo.kubernetes.ingress import files, publication
from kumo.kubernetes.ingress.backends import commands
from kumo.kubernetes.ingress.config import NAMESPACE, SERVICE, IngressConfig
from kumo.kubernetes.ingress.engine import EngineError, Haproxy
from kumo.kubernetes.ingress.names import Names
from kumo.kubernetes.ingress.publication import INGRESSES
from kumo.kubernetes.ingress.secret_sources import AllSecrets, NamedSecrets, SecretSource
from kumo.kubernetes.ingress.world import Plan, World, title
from kumo.machinery.deadlines import ends_within
from kumo.machinery.events import NORMAL, WARNING, EventRecorder
from kumo.machinery.informer import Informers
from kumo.machinery.tls import KeyPair

_log = structlog.get_logger("kumo.ingress")
_RETRY_FIRST, _RETRY_LONGEST = 0.2, 30.0
_END_SECONDS = 30.0
"""More than haproxy takes to end, or not to."""


class IngressController:
    """Serves the Ingresses of its classes by haproxy on this node, as long as there are any.

    `default` is shown to clients who ask for a host that no secret is for. The user of `informers` has the rights of
    `publication.objects`.
    """

    name = "ingress-controller"

    def __init__(self, config: IngressConfig, informers: Informers, recorder: EventRecorder, default: KeyPair) -> None:
        self._config = config
        self._client = informers.client
        self._recorder = recorder
        self._default = default
        self._wake = asyncio.Event()
        self._names = Names(config.dns, self._wake.set, config.addresses) if config.dns else None
        told = self._wake.set
        self._secrets: SecretSource = NamedSecrets(self._client, told)
        if config.leading:
            self._secrets = AllSecrets(informers, told)
        self._world = World(informers, told, self._secrets, self._names)
        self._engine = Haproxy(config.directory, config.binary)
        self._served: Plan | None = None
        self._told: Mapping[Key, tuple[str, ...]] = {}
        self._watcher: asyncio.Task[None] | None = None
        self._node: Object | None = None

    async def run(self) -> None:
        """Work until cancelled; then haproxy finishes what it has, for a few seconds at most, and ends."""
        await self._world.wait_synced()
        try:
            await self._keep()
        finally:
            if self._watcher is not None:
                self._watcher.cancel()
            if self._names is not None:
                await self._names.close()
            await self._secrets.close()
            await ends_within(_END_SECONDS, self._engine.stop())

    async def _keep(self) -> None:
        delay = _RETRY_FIRST
        while True:
            self._wake.clear()
            try:
                await self._look()
            except (EngineError, StatusError, OSError, TimeoutError) as error:
                if not (isinstance(error, StatusError) and is_conflict(error)):
                    _log.warning("can't serve the Ingresses", error=str(error), again_in=delay)
            except Exception:  # A tenant's objects must not take the node's process with them.
                _log.exception("can't serve the Ingresses", again_in=delay)
            else:
                delay = _RETRY_FIRST
                await self._wake.wait()
                continue
            await asyncio.sleep(delay)
            delay = min(delay * 2, _RETRY_LONGEST)

    async def _look(self) -> None:
        ours = self._world.ours
        await self._world.wait_secrets(ours)
        if not ours:
            await self._rest()
            return
        slots = {t: b.slots for t, b in self._served.backends.items()} if self._served else {}
        plan = self._world.plan(ours, slots)
        await self._serve(plan)
        if self._config.leading:
            self._complain(ours, plan)
            await self._make_balancer()
        await self._publish()
        if self._config.leading:
            await self._show(ours)

    async def _rest(self) -> None:
        """Nobody wants anything: no haproxy, nor one that a killed process has left."""
        self._served, self._told = None, {}
        if self._names is not None:
            self._names.want(())
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None
        await self._engine.stop()

    async def _serve(self, plan: Plan) -> None:
        served = self._served
        if served is not None and plan.same_shape(served):
            told = [
                command
                for target, backend in plan.backends.items()
                for command in commands(target.title, served.backends[target].slots, backend.slots)
            ]
            if told:
                self._served = None  # Until it is known that all of it was taken.
                await self._engine.tell(told)
            self._served = plan
            return
        self._served = None
        await asyncio.to_thread(files.write, self._config, plan, self._default)
        await self._engine.serve()
        self._served = plan
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch(), name="haproxy")
        _log.info("Ingresses served", rules=len(plan.rules), backends=len(plan.backends))

    async def _watch(self) -> None:
        """haproxy's end is a reason to look again."""
        await self._engine.ended()
        _log.warning("haproxy has ended")
        self._served = None
        self._wake.set()

    def _complain(self, ours: list[Object], plan: Plan) -> None:
        for ingress in ours:
            key = key_of(ingress)
            before, now = self._told.get(key), plan.troubles.get(key, ())
            for text in now:
                if text not in (before or ()):
                    self._recorder.event(ingress, WARNING, "Rejected", text)
            if before is None:
                self._recorder.event(ingress, NORMAL, "Sync", "Scheduled for sync")
        self._told = {key_of(i): plan.troubles.get(key_of(i), ()) for i in ours}

    async def _make_balancer(self) -> None:
        client, config = self._client, self._config
        balancer = self._world.balancer
        if balancer is None:
            await _unless_there(client.create(SERVICES, publication.service(config)))
        elif config.address6 and publication.is_single(balancer):
            patch = {"spec": {"ipFamilyPolicy": "PreferDualStack"}}
            await client.patch(SERVICES, SERVICE, patch, NAMESPACE)

    async def _publish(self) -> None:
        """Make this node's endpoints, where they are not as they must be."""
        client, config = self._client, self._config
        if self._node is None or any(self._world.piece(n) is None for n in publication.slice_names(config)):
            self._node = await client.get(NODES, config.node_name)
        for wanted in publication.endpoint_slices(config, self._node):
            found = self._world.piece(name_of(wanted))
            if found is None:
                await _unless_there(client.create(ENDPOINTSLICES, wanted))
            elif differs(wanted, found):
                wanted["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
                await client.update(ENDPOINTSLICES, wanted)

    async def withdraw(self) -> None:
        """Take this node's endpoints away, and end what an earlier process left. Raises StatusError."""
        await self._engine.stop()
        for name in publication.slice_names(self._config):
            try:
                await self._client.delete(ENDPOINTSLICES, name, NAMESPACE)
            except StatusError as error:
                if not is_not_found(error):
                    raise

    async def _show(self, ours: list[Object]) -> None:
        """Write where the Ingresses are reached into those that do not say it yet."""
        where = publication.shown(self._world.balancer)
        status = {"loadBalancer": {"ingress": where or None}}
        for ingress in ours:
            if (((ingress.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []) == where:
                continue
            try:
                await self._client.patch(
                    INGRESSES, name_of(ingress), {"status": status}, namespace_of(ingress), subresource="status"
                )
            except StatusError as error:
                if not is_not_found(error):
                    raise
                _log.debug("an Ingress has gone", ingress=title(ingress))


async def _unless_there(creation: Awaitable[Object]) -> None:
    try:
        await creation
    except StatusError as error:
        if not is_already_exists(error):
            raise
