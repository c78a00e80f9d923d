"""Keeps APIServices: sends requests on to those with a service, says whether these are available, and makes the
APIServices of what is served here (upstream's aggregator, autoregister and availability controllers)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

import structlog

from kumo.api.conditions import set_condition
from kumo.api.errors import StatusError, is_already_exists, is_conflict, is_not_found, no_such_path
from kumo.api.objects import Object, labels_of, name_of, timestamp
from kumo.api.resources import CRDS, ENDPOINTSLICES, SERVICES
from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.aggregation import availability, registrations
from kumo.kubernetes.apiserver.aggregation.asking import AGGREGATOR, Unanswered
from kumo.kubernetes.apiserver.aggregation.backends import Backend, BadTrust, Transports, read
from kumo.kubernetes.apiserver.aggregation.config import AggregationConfig
from kumo.kubernetes.apiserver.aggregation.forwarding import forward, unavailable
from kumo.kubernetes.apiserver.aggregation.registrations import APISERVICES, AUTOMANAGED, LOCAL
from kumo.kubernetes.apiserver.aggregation.specs import Specs
from kumo.kubernetes.apiserver.aggregation.upgrading import forward_upgrade
from kumo.kubernetes.apiserver.attributes import RequestInfo
from kumo.kubernetes.apiserver.outbound.connections import Unresolved, endpoint
from kumo.kubernetes.apiserver.reader import CacheReader
from kumo.kubernetes.apiserver.registry import Registry
from kumo.kubernetes.apiserver.responses import text_response
from kumo.machinery.client import Client
from kumo.machinery.extension import ApiGroup
from kumo.machinery.http import Answer, Request, Response
from kumo.machinery.workqueue import WorkQueue

_log = structlog.get_logger("kumo.apiserver.aggregation")
_AGAIN = 30.0
"""Seconds after which each backend is asked again: nobody tells when its network fails."""
_WORKERS = 4
_NEVER = ("", APISERVICES.group)
"""Groups that only this server answers: what keeps the APIServices must be reachable."""
_CUSTOM = "/custom"
"""A key of the queue that no APIService has: those of custom resources are compared."""


class Aggregator:
    """The APIServices of one server. `backends` is empty as long as none has a service: then nothing costs anything."""

    def __init__(
        self,
        config: AggregationConfig,
        reader: CacheReader,
        client: Client,
        registry: Registry,
        groups: Sequence[ApiGroup],
    ) -> None:
        self.backends: dict[tuple[str, str], Backend] = {}
        """By group and version."""
        self.generation = 0
        """Grows with each change of what discovery shows."""
        self._reader = reader
        self._client = client
        self._registry = registry
        self._groups = groups
        self._transports = Transports(config)
        self.specs = Specs(reader, self._transports)
        """The OpenAPI documents of the backends."""
        self._queue: WorkQueue[str] = WorkQueue(ceiling=_AGAIN)
        self._closing: set[asyncio.Task[None]] = set()

    async def start(self, builtin: set[tuple[str, str]]) -> None:
        """Read what there is, listen to changes, and make the missing APIServices of `builtin` group versions."""
        reader = self._reader
        for service in reader.objects(APISERVICES):
            self._changed("", name_of(service))
        reader.listen(APISERVICES, self._changed)
        reader.listen(CRDS, lambda _namespace, _name: self._queue.add(_CUSTOM))
        reader.listen(SERVICES, self._service_changed)
        reader.listen(ENDPOINTSLICES, lambda namespace, _name: self._service_changed(namespace, ""))
        wanted = [registrations.builtin(g, v) for g, v in sorted(builtin)]
        wanted += [registrations.builtin(group.group, v) for group in self._groups for v in group.versions]
        await asyncio.gather(*(self._register(service) for service in wanted))
        self._queue.add(_CUSTOM)

    async def _register(self, wanted: Object) -> None:
        if self._reader.get(APISERVICES, name_of(wanted)) is not None:
            return
        try:
            made = await self._client.create(APISERVICES, wanted)
            made["status"] = {"conditions": [{**LOCAL, "lastTransitionTime": timestamp()}]}
            await self._client.update_status(APISERVICES, made)
        except StatusError as error:
            if not (is_already_exists(error) or is_conflict(error) or is_not_found(error)):
                raise

    # -- changes ----------------------------------------------------------------------------------------------------

    def _changed(self, _namespace: str, name: str) -> None:
        service = self._reader.get(APISERVICES, name)
        version, _, group = name.partition(".")
        old = self.backends.get((group, version))
        new = read(service) if service is not None and group not in _NEVER else None
        if new is not None:
            if old is not None:
                new.resources, new.discovered = old.resources, old.discovered
            self.backends[(group, version)] = new
        else:
            self.backends.pop((group, version), None)
        if old is not None and (new is None or new.spec != old.spec):
            self.specs.forget(name)
            self._later(self._transports.forget(name))
        if old is not None or new is not None:
            self.generation += 1
        self._queue.add(name)

    def _service_changed(self, namespace: str, name: str) -> None:
        for backend in self.backends.values():
            if backend.namespace == namespace and name in ("", backend.service):
                self._queue.add(backend.name)

    def _later(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    # -- requests ---------------------------------------------------------------------------------------------------

    def find(self, info: RequestInfo, path: str) -> Backend | None:
        """Who answers the request, if not this server."""
        if info.resource:
            return self.backends.get((info.group, info.version))
        parts = path.split("/")
        if len(parts) < 4 or parts[1] != "apis":
            return None
        return self.backends.get((parts[2], parts[3]))

    async def forward(self, backend: Backend, request: Request, user: UserInfo) -> Answer:
        """The backend's answer for the user, who may do what he asks for; 503 when there is none."""
        if not backend.available:
            return unavailable()
        try:
            where = endpoint(self._reader, backend.namespace, backend.service, backend.port)
            transport = self._transports.to(backend, where)
            tls = self._transports.context(backend) if request.wanted_protocol else None
        except Unresolved:
            return unavailable()
        except BadTrust as error:
            return text_response(f"{error}\n", 500)
        if tls is not None:
            return await forward_upgrade(where, backend.host, tls, request, user)
        return await forward(transport, request, user)

    async def open_api(self, request: Request) -> Answer | None:
        """The document of version 3 at the request's path, if it is a backend's."""
        group, _, version = request.path.removeprefix("/openapi/v3/apis/").rstrip("/").partition("/")
        backend = self.backends.get((group, version))
        if backend is None:
            return None
        document = await self.specs.document(backend) if backend.available else None
        if document is not None:
            return Response(200, document.body, headers={"Etag": f'"{document.etag}"', "Vary": "Accept"})
        if self.specs.has_own(backend):
            return await self.forward(backend, request, AGGREGATOR)
        raise no_such_path()

    # -- upkeep -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep conditions and registrations true, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(_WORKERS):
                group.create_task(self._work(), name=f"API services {number}")
            group.create_task(self._ask_again(), name="API services again")

    async def _ask_again(self) -> None:
        while True:
            await asyncio.sleep(_AGAIN)
            await self._transports.tidy()
            for backend in list(self.backends.values()):
                self._queue.add(backend.name)

    async def _work(self) -> None:
        while True:
            name = await self._queue.get()
            try:
                if await self._sync(name):
                    self._queue.forget(name)
                else:
                    self._queue.retry(name)
            except StatusError as error:
                if not is_conflict(error) and not is_not_found(error):
                    _log.warning("an API service will be tried again", name=name, error=error.message)
                self._queue.retry(name)
            except Exception:
                _log.exception("an API service will be tried again", name=name)
                self._queue.retry(name)
            finally:
                self._queue.done(name)

    async def _sync(self, name: str) -> bool:
        """Bring one APIService up to date; whether all is well with it."""
        if name == _CUSTOM:
            await self._sync_custom()
            return True
        service = self._reader.get(APISERVICES, name)
        if service is None:
            return True
        backend = read(service)
        if backend is None:
            await self._say(service, LOCAL)
            return True
        found = availability.missing(self._reader, backend)
        if found is None:
            try:
                resources = await availability.probe(self._reader, self._transports, backend)
            except Unanswered as error:
                await self._say(service, availability.condition("False", "FailedDiscoveryCheck", str(error)))
                return False
            self._discovered(backend, resources, await availability.discover(self._reader, self._transports, backend))
            found = availability.condition("True", "Passed", "all checks passed")
        await self._say(service, found)
        return True

    def _discovered(self, asked: Backend, resources: list[Object], aggregated: list[Object] | None) -> None:
        known = self.backends.get((asked.group, asked.version))
        if known is not None and (known.resources, known.discovered) != (resources, aggregated):
            known.resources, known.discovered = resources, aggregated
            self.generation += 1

    async def _say(self, service: Object, condition: Object) -> None:
        status = service.setdefault("status", {})
        conditions = status["conditions"] = status.get("conditions") or []
        if set_condition(conditions, condition, timestamp()):
            await self._client.update_status(APISERVICES, service)

    async def _sync_custom(self) -> None:
        """The APIServices of custom resources' group versions: made, and removed with the last definition."""
        wanted = {(r.type.group, r.type.version) for r in self._registry if r.custom is not None}
        for service in self._reader.objects(APISERVICES):
            version, _, group = name_of(service).partition(".")
            if (group, version) in wanted:
                wanted.discard((group, version))
            elif labels_of(service).get(AUTOMANAGED) == "true":
                try:
                    await self._client.delete(APISERVICES, name_of(service))
                except StatusError as error:
                    if not is_not_found(error):
                        raise
        for group, version in sorted(wanted):
            await self._register(registrations.custom(group, version))

    async def close(self) -> None:
        """Close the connections to all backends."""
        await self._transports.close()
        await asyncio.gather(*self._closing, return_exceptions=True)
