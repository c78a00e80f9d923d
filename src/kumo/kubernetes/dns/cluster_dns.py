"""Cluster DNS as a component: a server on the node, and the objects that lead pods to it."""

from __future__ import annotations

import asyncio

import structlog

from kumo.api.errors import StatusError
from kumo.api.node_slices import differs, slice_name
from kumo.api.objects import Object, name_of, namespace_of
from kumo.api.resources import CONFIGMAPS, ENDPOINTSLICES, NODES, SERVICES
from kumo.kubernetes.dns import publication, routes
from kumo.kubernetes.dns.catalog import Catalog
from kumo.kubernetes.dns.config import ClusterDnsConfig
from kumo.kubernetes.dns.figures import Figures, Page
from kumo.kubernetes.dns.forward import Forwarder
from kumo.kubernetes.dns.server import Ports, Resolver, Server
from kumo.kubernetes.dns.zone import Zone
from kumo.machinery.informer import Informers
from kumo.machinery.listener import Listener, ListenError

_log = structlog.get_logger("kumo.dns")
_RETRY_FIRST, _RETRY_LONGEST = 0.1, 10.0


class ClusterDns:
    """Answers the node's pods, and keeps the Service `kube-dns` and its endpoint as they must be.

    The user of `informers` needs to list and watch Services, EndpointSlices and Namespaces, to get Nodes, and to create
    and change the first two in the namespace kube-system.
    """

    name = "cluster-dns"

    def __init__(self, config: ClusterDnsConfig, informers: Informers) -> None:
        self.config = config
        self.ready = asyncio.Event()
        """Set once the server listens and its objects are in place."""
        self._informers = informers
        self._services = informers.informer(SERVICES)
        self._slices = informers.informer(ENDPOINTSLICES)
        self._settings = informers.informer(
            CONFIGMAPS, namespace=routes.NAMESPACE, field_selector=f"metadata.name={routes.NAME}"
        )
        self._catalog = Catalog(informers)
        self._wake = asyncio.Event()
        self._forwarder: Forwarder | None = None
        self._services.on_change(self._changed)
        self._slices.on_change(self._changed)
        self._settings.on_change(lambda _, new: self._route(new))

    def _changed(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        if obj is not None and namespace_of(obj) == publication.NAMESPACE:
            ours = (publication.SERVICE, slice_name(publication.SERVICE, self.config.node_name))
            if name_of(obj) in ours:
                self._wake.set()

    async def run(self) -> None:
        """Serve until cancelled; it may be called again after a failure. Raises OSError: no port to listen on."""
        config = self.config
        without = frozenset((config.address, config.service_address))
        forwarder = self._forwarder = Forwarder(config.resolv_conf, without)
        self._route(self._settings.get(routes.NAME, routes.NAMESPACE))
        resolver = Resolver(Zone(config, self._catalog), forwarder, lambda: self._catalog.synced)
        figures = Figures(lambda: (forwarder.hits, forwarder.misses))
        server = Server(resolver, config.address, config.port, figures)
        ports = await server.start()
        _log.info("cluster DNS listens", address=config.address, udp=ports.udp, tcp=ports.tcp)
        try:
            await self._publish(ports, self._page(figures))
        finally:
            await server.close()
            await forwarder.close()

    def _route(self, settings: Object | None) -> None:
        """Follow the ConfigMap; one that can't be understood changes nothing."""
        if self._forwarder is None or (settings is not None and name_of(settings) != routes.NAME):
            return
        try:
            self._forwarder.route(routes.routes_of(settings))
        except ValueError as error:
            _log.error("the ConfigMap kube-system/kube-dns can't be understood", error=str(error))

    def _page(self, figures: Figures) -> Listener | None:
        host, _, port = self.config.metrics.rpartition(":")
        if not port:
            return None
        page = Page(figures, lambda: self._catalog.synced)
        return Listener(page.handle, host=host, port=int(port), grace=0.5, name="figures of DNS")

    async def _publish(self, ports: Ports, page: Listener | None) -> None:
        try:
            await self._keep_published(ports, page)
        finally:
            if page is not None:
                await page.stop()

    async def _keep_published(self, ports: Ports, page: Listener | None) -> None:
        await self._catalog.wait_synced()  # nobody is led here before we know the answers
        delay, served = _RETRY_FIRST, False
        while True:
            self._wake.clear()
            try:
                await self._ensure(ports)
            except (StatusError, OSError, TimeoutError) as error:
                _log.warning("can't publish the DNS service", error=str(error), again_in=delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, _RETRY_LONGEST)
                continue
            delay = _RETRY_FIRST
            if page is not None and not served:  # The bridge has its address now.
                served = True
                try:
                    await page.start()
                except ListenError as error:
                    _log.warning("the figures of DNS are not served", error=str(error))
            self.ready.set()
            await self._wake.wait()

    async def _ensure(self, ports: Ports) -> None:
        client, config = self._informers.client, self.config
        service = self._services.get(publication.SERVICE, publication.NAMESPACE)
        if service is None:
            await client.create(SERVICES, publication.service(config))
        elif (service.get("spec") or {}).get("clusterIP") != config.service_address:
            _log.error(
                "the Service kube-system/kube-dns has another address than pods are told",
                has=(service.get("spec") or {}).get("clusterIP"),
                pods_are_told=config.service_address,
                fix="kubectl -n kube-system delete service kube-dns",
            )
        elif patch := publication.amendment(service):
            try:
                await client.patch(SERVICES, publication.SERVICE, patch, publication.NAMESPACE)
            except StatusError as error:
                if error.code != 403:  # That of a joined node is not its own to change.
                    raise
        wanted = publication.endpoint_slice(config, ports, await client.get(NODES, config.node_name))
        found = self._slices.get(name_of(wanted), publication.NAMESPACE)
        if found is None:
            await client.create(ENDPOINTSLICES, wanted)
        elif differs(wanted, found):
            wanted["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
            await client.update(ENDPOINTSLICES, wanted)
