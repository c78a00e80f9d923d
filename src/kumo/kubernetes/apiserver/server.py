"""The API server: one handler for every request, over one store.

A request's way: who asks (authentication), may he (authorization), what is asked for (the path), then the handler of
the resource, the aggregated group, or the plain path.
"""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter, time

import structlog

from kumo.api.errors import StatusError, internal, method_not_allowed, no_such_path
from kumo.api.users import MASTERS_GROUP, UserInfo
from kumo.kubernetes.apiserver.addresses.upkeep import Addresses
from kumo.kubernetes.apiserver.admission import AdmissionChain, AdmissionConfig
from kumo.kubernetes.apiserver.admission.connecting import connection
from kumo.kubernetes.apiserver.admission.dynamic import DynamicAdmission
from kumo.kubernetes.apiserver.admission.quota import StatusWriter
from kumo.kubernetes.apiserver.aggregation.aggregator import Aggregator
from kumo.kubernetes.apiserver.attributes import RequestInfo
from kumo.kubernetes.apiserver.authentication import Identity, Impersonation, is_impersonating
from kumo.kubernetes.apiserver.authorization import AccessReviews, Authorizer
from kumo.kubernetes.apiserver.bootstrap import BootstrapConfig, OwnEndpoints, bootstrap, node_rules, own_service
from kumo.kubernetes.apiserver.cache import Cache
from kumo.kubernetes.apiserver.call import Call
from kumo.kubernetes.apiserver.compaction import compact_regularly
from kumo.kubernetes.apiserver.config import ApiServerConfig
from kumo.kubernetes.apiserver.conversion.conversions import Conversions
from kumo.kubernetes.apiserver.core import Core
from kumo.kubernetes.apiserver.custom_resources import CustomResources
from kumo.kubernetes.apiserver.deliberation import Deliberation
from kumo.kubernetes.apiserver.encryption import EncryptionError, opened
from kumo.kubernetes.apiserver.flowcontrol import TooManyRequests
from kumo.kubernetes.apiserver.health import Health
from kumo.kubernetes.apiserver.kubelet_proxy import KubeletProxy, KubeletProxyConfig
from kumo.kubernetes.apiserver.memory import give_back_regularly
from kumo.kubernetes.apiserver.metrics import MeasuredAdmission, Metrics
from kumo.kubernetes.apiserver.operation import Operation
from kumo.kubernetes.apiserver.paths import Paths
from kumo.kubernetes.apiserver.reader import CacheReader
from kumo.kubernetes.apiserver.registry import BUILTIN_GROUPS, Registry, add_builtin, builtin_versions
from kumo.kubernetes.apiserver.resource_handler import ResourceHandler
from kumo.kubernetes.apiserver.responses import refusal, text_response, warned
from kumo.kubernetes.apiserver.state_measurements import queues as queue_lines
from kumo.kubernetes.apiserver.storage import Storage, refused
from kumo.kubernetes.apiserver.tokens import TokenEndpoints
from kumo.kubernetes.apiserver.virtual import VirtualResources
from kumo.kubernetes.apiserver.visit import Visit
from kumo.machinery.client import Client
from kumo.machinery.http import Answer, PeerCertificate, Request
from kumo.machinery.transport import InProcessTransport
from kumo.machinery.workqueue import WorkQueue
from kumo.store.base import Store, StoreError

_log = structlog.get_logger("kumo.apiserver")
_ELSEWHERE = frozenset(
    (
        *(("pods", name) for name in ("log", "exec", "attach", "portforward", "proxy")),
        ("nodes", "proxy"),
        ("services", "proxy"),
    )
)
"""The subresources that lead to a node, a pod or a service."""
_OWN_USER = UserInfo("system:apiserver", (MASTERS_GROUP, "system:authenticated"))


class ApiServer:
    """The API server over `store`, which it starts and stops. `handle` answers requests once `start` has returned."""

    name = "apiserver"

    def __init__(self, store: Store, config: ApiServerConfig) -> None:
        store, self._reloader = opened(store, config.operation.encryption)
        self._store = store
        self._config = config
        self._cache = Cache(store)
        self.reader = CacheReader(self._cache)
        self._registry = Registry(self._cache)
        self._metrics = Metrics()
        self._groups = {group.group: group for group in config.groups}
        self._ready = False
        self._stopping = False
        self._kubelets: KubeletProxy | None = None
        self.client = Client(InProcessTransport(self.handle, _OWN_USER))
        """Requests straight into this server, as a member of system:masters."""
        self._operation = Operation(config.operation, self._cache, self.reader, self.client, self._metrics)
        if self._reloader is not None:
            self._reloader.changed = self._cache.retry_unreadable
            self._metrics.add(self._reloader.lines)
        self._health = Health(self._check_readiness, lambda: self._stopping, self._check_store)
        if self._reloader is not None:
            self._health.add("encryption-provider-config", self._reloader.check)
            self._health.add("kms-providers", self._reloader.check_plugins)

    async def start(self) -> None:
        """Open the store, fill the cache, make the default objects true; afterwards requests are answered."""
        config = self._config
        await self._store.start()
        try:
            await self._cache.start()
            self._assemble(config)
            self._health.finish("cache", "admission")
            self._custom.load()
            self._health.finish("definitions")
            ca_pem = config.ca_certificate.read_text() if config.ca_certificate else ""
            where = BootstrapConfig(
                config.service_cidr, config.advertise_address, config.port, ca_pem, config.authentication.front_proxy
            )
            try:
                await self._addresses.start()
                self._health.finish("addresses")
                await bootstrap(self.client, where, config.default_objects, self._health.finish)
                self._endpoints = OwnEndpoints(
                    self._store, self.reader, self.client, own_service(where), (config.advertise_address, config.port)
                )
                await self._endpoints.start()
                await self._operation.start()
                self._health.finish("flow control")
                await self._aggregation.start(builtin_versions())
                self._health.finish("aggregation")
            except StatusError as error:
                raise self._explained(error) from error
        except BaseException:
            await self.stop()
            raise
        self._ready = True
        # What is there now mostly stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()

    def _explained(self, error: StatusError) -> Exception:
        """What keeps the server from starting: often that it can't read its own objects."""
        unreadable = sum(len(found.unreadable) for found in self._cache)
        return (
            EncryptionError(
                f"{unreadable} objects of the store can't be read, without some of which the API server can't start "
                f"({error}). Start it with the encryption configuration that they were written with"
            )
            if unreadable
            else error
        )

    def _assemble(self, config: ApiServerConfig) -> None:
        reader = self.reader
        add_builtin(self._registry)
        self._identity = identity = Identity(
            config.authentication,
            reader,
            self.client,
            issuer=config.service_account_issuer,
            key=config.service_account_key,
            others=config.token_authenticators,
            anonymous=config.anonymous,
        )
        self._authenticator = identity.authenticator
        self._authorizer = Authorizer(reader, node_rules())
        self._impersonation = Impersonation(self._authorizer.check)
        self._conversions = Conversions(reader, self._cache)
        self._metrics.add(self._conversions.metrics.lines)
        deliberation = Deliberation()
        self._dynamic = DynamicAdmission(
            self._cache, reader, self._registry, self._authorizer, self._conversions, deliberation
        )
        self._dynamic.measure(self._metrics.instruments.webhooks, self._metrics.instruments.policies)
        storage = Storage(self._store, self._cache, config.event_ttl, self._metrics.instruments)
        admission = AdmissionChain(
            config.hooks,
            reader,
            authorizer=self._authorizer,
            config=AdmissionConfig(config.service_cidr, config.node_port_range, **config.admission),
            dynamic=self._dynamic,
            quota_writer=StatusWriter(storage, self._registry),
        )
        self._admission = admission
        self._metrics.add(admission.lines)
        self._addresses = Addresses(config.service_cidr, self._cache, reader, storage, self._registry, self.client)
        core = Core(
            self._cache,
            storage,
            self._registry,
            MeasuredAdmission(admission, self._metrics),
            self._authorizer.check,
            deliberation,
        )
        self._core = core
        url = f"https://{config.advertise_address}:{config.port}"
        endpoints = TokenEndpoints(identity.tokens, self._authenticator, reader, url)
        self._kubelets = KubeletProxy(
            reader,
            KubeletProxyConfig(
                config.ca_certificate if config.kubelet_client_certificate else None,
                config.kubelet_client_certificate,
                config.kubelet_client_key,
            ),
            self._authorizer,
        )
        virtual = VirtualResources(core, AccessReviews(self._authorizer), endpoints)
        self._virtual = virtual
        self._resources = ResourceHandler(core, self._store, virtual.subresources())
        self._custom = CustomResources(core, self.client, self._conversions)
        self._aggregation = Aggregator(config.aggregation, reader, self.client, self._registry, config.groups)
        self._paths = Paths(self._registry, config.groups, self._operation, endpoints, self._health, self._aggregation)
        self._operation.open(self._registry, self._authorizer.authorize)

    async def run(self) -> None:
        """Forget old revisions regularly, and finish the work on custom resource definitions, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(compact_regularly(self._store, self._config.compaction_interval), name="compaction")
            group.create_task(self._custom.run(), name="custom resources")
            group.create_task(self._dynamic.run(self.client), name="admission policies")
            group.create_task(self._identity.run(), name="identity")
            group.create_task(give_back_regularly(self._cache), name="memory")
            group.create_task(self._operation.run(), name="operation")
            group.create_task(self._aggregation.run(), name="aggregation")
            group.create_task(self._addresses.run(), name="service addresses")
            group.create_task(self._endpoints.run(), name="own endpoints")
            if self._reloader is not None:
                group.create_task(self._reloader.run(), name="encryption configuration")

    def measure_queues(self, named: Sequence[tuple[str, WorkQueue[object]]]) -> None:
        """Show these work queues in /metrics, too."""
        self._metrics.add(lambda: queue_lines(named))

    def measure(self, lines: Callable[[], list[str]]) -> None:
        """Show these lines in /metrics, too."""
        self._metrics.add(lines)

    async def announce_stop(self) -> None:
        """Say from now on that the server is not ready, and give those who ask time to learn of it."""
        self._stopping = True
        await self._endpoints.leave()
        await asyncio.sleep(self._config.operation.shutdown_delay)

    async def stop(self) -> None:
        """End the watches and close the store."""
        self._ready = False
        self._stopping = True
        if self._kubelets is not None:
            await self._kubelets.close()
            await self._dynamic.close()
            await self._conversions.close()
            self._core.deliberation.close()
            await self._identity.close()
            await self._aggregation.close()
        await self._cache.stop()
        await self._operation.close()
        await self._store.stop()

    def _check_readiness(self) -> str:
        return "" if self._ready else "the server is starting or stopping"

    async def _check_store(self) -> str:
        if self._ready:
            await self._store.current_revision()
        return self._check_readiness()

    def identify(self, peer: PeerCertificate) -> UserInfo | None:
        """Whose client certificate it is, for the listener; nobody's before `start` has returned."""
        if not self._ready:
            return None
        if peer.described.get("notAfter"):
            left = ssl.cert_time_to_seconds(peer.described["notAfter"]) - time()
            self._metrics.instruments.certificates.of().observe(left)
        return self._identity.identify(peer)

    # -- requests ---------------------------------------------------------------------------------------------------

    async def handle(self, request: Request) -> Answer:
        """Answer one request. Refusals are answers too: nothing is raised but cancellation."""
        operation = self._operation
        visit = operation.begin(request)
        try:
            operation.limit_time(visit)
            answer = await self._handle(request, visit)
        except StatusError as error:
            answer = refusal(error, request)
        except TooManyRequests as error:
            answer = operation.too_many(visit, error)
        except StoreError as error:
            _log.error("the store failed", error=str(error), path=request.path)
            answer = refusal(refused(error))
        except asyncio.CancelledError:
            if not visit.timed_out:
                operation.abandon(visit)
                raise
            answer = operation.too_late(visit)
        except Exception as error:
            _log.exception("a request failed", method=request.method, path=request.path)
            operation.failed(visit, error)
            answer = refusal(internal("the server failed to answer; its log has the reason"))
        return operation.finish(visit, answer)

    async def _handle(self, request: Request, visit: Visit) -> Answer:
        info, operation = visit.info, self._operation
        user = await self._authenticator.authenticate(request)
        operation.authenticated(visit, user)
        if is_impersonating(request.headers):
            user = self._impersonation.impersonate(user, request, info)
            operation.acts_as(visit, user)
        await operation.admit(visit, user)
        group = self._groups.get(info.group) if info.resource else self._groups.get(_group_of(request.path))
        if group is None or group.authorize:
            asked = perf_counter()
            self._authorizer.check(user, info)
            self._metrics.allowed += 1
            self._metrics.instruments.authorization.of("allowed").observe(perf_counter() - asked)
        backend = self._aggregation.find(info, request.path) if self._aggregation.backends else None
        if group is not None and backend is None and (info.resource or _below_version(request.path)):
            request.user = user
            return await group.handler(request)
        if backend is not None:
            if info.verb == "watch":
                operation.begun(request)  # How long it takes is the backend's affair.
            return await self._aggregation.forward(backend, request, user)
        if not info.resource:
            return await self._paths.handle(request)
        return await self._resource(request, info, user)

    async def _resource(self, request: Request, info: RequestInfo, user: UserInfo) -> Answer:
        if (not info.verb or request.method == "HEAD") and info.subresource != "proxy":
            raise method_not_allowed()
        virtual = self._virtual.find(info)
        if virtual is not None:
            return await virtual(request, info, user)
        if info.subresource and (info.resource, info.subresource) in _ELSEWHERE and not info.group:
            assert self._kubelets is not None
            connecting = connection(request, info, user)
            if connecting is not None:
                await self._admission.connect(connecting)
            return await self._kubelets.handle(request, info, user)
        resource = self._registry.find(info.group, info.version, info.resource)
        if resource is None or request.path.count("/") > 10:
            if info.group not in BUILTIN_GROUPS:
                return text_response("404 page not found\n", 404)
            raise no_such_path()
        call = Call(request, info, user, resource, request.query)
        below = info.subresource
        if resource.deprecated and (not below or any(s.name == below for s in resource.type.subresources)):
            call.warnings.append(resource.deprecated)
            self._metrics.instruments.deprecated.counts[
                (info.group, info.version, info.resource, info.subresource, "")
            ] = 1.0
        if info.verb == "watch":
            call.begun = partial(self._operation.begun, request)
        try:
            answer = await self._resources.handle(call)
        except StatusError as error:
            if not call.warnings:
                raise
            answer = refusal(error, request)
        return warned(answer, call.warnings) if call.warnings else answer


def _group_of(path: str) -> str:
    parts = path.split("/")
    return parts[2] if len(parts) > 2 and parts[1] == "apis" else ""


def _below_version(path: str) -> bool:
    """Whether a path of an aggregated group is below its discovery documents, which are this server's to answer."""
    return len([p for p in path.split("/") if p]) > 3
