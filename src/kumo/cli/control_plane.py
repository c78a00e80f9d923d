"""The control-plane process: store, API server, controllers, scheduler, KubeVirt's and OpenStack's control parts."""

from __future__ import annotations

import asyncio
import sys
import uuid
from pathlib import Path

import structlog

from kumo.api.users import MASTERS_GROUP, UserInfo, service_account_user
from kumo.cli import prepare, stores
from kumo.cli.admission import admission
from kumo.cli.cluster_info import cluster_info
from kumo.cli.identity import authentication
from kumo.cli.instance import Instance, InstanceError, load
from kumo.cli.late import LateHandler
from kumo.cli.metrics import metrics_server
from kumo.cli.node_rights import ClusterSettings, node_objects
from kumo.cli.node_storage import install_snapshot_class, snapshot_objects, storage_rights
from kumo.cli.operation import operation
from kumo.cli.process import ended_before, run_until_told
from kumo.cli.report import Reporter
from kumo.cli.rights import rights
from kumo.cli.scheduling import scheduling
from kumo.cli.wings import Wing, kubevirt, openstack
from kumo.kubernetes.apiserver.aggregation.config import AggregationConfig
from kumo.kubernetes.apiserver.audit import AuditError
from kumo.kubernetes.apiserver.config import ApiServerConfig
from kumo.kubernetes.apiserver.encryption import EncryptionError
from kumo.kubernetes.apiserver.server import ApiServer
from kumo.kubernetes.cloud_controller_manager.service_controller import ServiceController
from kumo.kubernetes.controller_manager import ControllerManagerConfig, controllers
from kumo.kubernetes.controller_manager.certificates import SigningAuthority
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.config import AutoscalerConfig
from kumo.kubernetes.controller_manager.node_ipam import NodeIpamConfig
from kumo.kubernetes.controller_manager.node_lifecycle.health import Grace
from kumo.kubernetes.ingress import publication as ingress
from kumo.kubernetes.local_csi import objects as local_csi
from kumo.kubernetes.metrics_server import MetricsServer
from kumo.kubernetes.scheduler import Scheduler
from kumo.kubernetes.snapshot_controller.controller import SnapshotController
from kumo.machinery import kubeconfig, logs
from kumo.machinery.client import Client
from kumo.machinery.controller import Component, Measured, queues
from kumo.machinery.event_series import SeriesRecorder
from kumo.machinery.http import Answer, Handler, Request
from kumo.machinery.informer import Informers
from kumo.machinery.leader_election import Elected, Election, LeadershipLost
from kumo.machinery.listener import Listener, ListenError
from kumo.machinery.restarting import Restarted
from kumo.machinery.rotation import RotatingContext
from kumo.machinery.transport import InProcessTransport
from kumo.store.base import StoreError

PROCESS = "control-plane"
_log = structlog.get_logger("kumo.control-plane")


class ControlPlane:
    """The control plane of one instance."""

    def __init__(self, instance: Instance, reporter: Reporter) -> None:
        self._instance = instance
        self._reporter = reporter
        self._late = LateHandler()
        self._pki = prepare.certificates(instance)
        self._informers = Informers(self.client_for(UserInfo("system:kumo-informers", (MASTERS_GROUP,))))
        self._metrics = metrics_server(instance, self._pki, self._informers)
        self._wings: list[Wing] = []
        self._api: ApiServer

    def client_for(self, user: UserInfo) -> Client:
        """A client that acts as the user, straight into the API server."""
        return Client(InProcessTransport(self._late, user))

    async def run(self, stop: asyncio.Event) -> None:
        """Start everything, report it, run until `stop` is set. Raises StoreError and ListenError.

        A store that does not answer yet is waited for.
        """
        instance = self._instance
        self._wings = [
            kubevirt(instance, self._pki, self._informers, self.client_for),
            openstack(instance, self._informers, self.client_for),
        ]
        if not await ended_before(stop, self._start()):
            return
        server = self._api
        listener = Listener(
            by_prefix(server.handle, {p: w.handler for w in self._wings if w.handler for p in w.prefixes}),
            host=instance.bind_address or "0.0.0.0",
            port=instance.port,
            tls=RotatingContext.of(self._pki.apiserver, self._pki.ca, self._pki.front_proxy_ca),
            name="apiserver",
            identify=server.identify,
        )
        try:
            await listener.start()
            self._write_kubeconfig()
            await self._run_components(server, stop)
        finally:
            await listener.stop()
            await server.stop()

    async def _start(self) -> None:
        """Make and start the API server, once its store lets it. Raises StoreError for what waiting would not cure."""

        async def attempt() -> None:
            self._api = server = self._server()
            self._late.target = server.handle
            with self._reporter.timed("API server: the store is open and the default objects are there"):
                await server.start()

        await stores.patiently(self._instance, self._wait, attempt)

    async def _install(self) -> None:
        for wing in self._wings:
            with self._reporter.timed(wing.step):
                await stores.patiently(self._instance, self._wait, wing.install)
        installer = self.client_for(UserInfo("system:kumo-installer", (MASTERS_GROUP,)))
        await stores.patiently(self._instance, self._wait, lambda: install_snapshot_class(installer))

    def _wait(self, text: str) -> None:
        """Tell what is waited for."""
        self._reporter.waiting(text)
        _log.warning("waiting", reason=text)

    async def _run_components(self, server: ApiServer, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(server.run()), group.create_task(self._informers.run())]
            if await ended_before(stop, self._install()):
                controllers = [self._metrics, *self._controllers(), *(c for w in self._wings for c in w.components)]
                server.measure_queues(list(queues(controllers)))
                for measured in (c for c in controllers if isinstance(c, Measured)):
                    server.measure(measured.measured)
                components = self._elected(controllers)
                tasks += [group.create_task(c.run(), name=c.name) for c in components]
                self._reporter.ready()
                _log.info("ready", url=self._instance.url)
                await stop.wait()
            await server.announce_stop()
            for task in tasks:
                task.cancel()

    def _elected(self, components: list[Component]) -> list[Component]:
        """The components; with several control planes on one store, those that act do so in one of them only."""
        everywhere: list[Component] = [c for c in components if isinstance(c, (Informers, MetricsServer))]
        acting = [_restarted(c) for c in components if c not in everywhere]
        if not self._instance.etcd:
            return [*everywhere, *acting]
        identity = f"{self._instance.node_name}_{uuid.uuid4()}"
        client = self.client_for(UserInfo("system:kumo-leader-election", (MASTERS_GROUP,)))
        return [*everywhere, Elected(client, Election("kumo-controllers", identity), acting)]

    def _server(self) -> ApiServer:
        instance, pki = self._instance, self._pki
        known, anonymous = authentication(instance, pki)
        address = instance.address
        config = ApiServerConfig(
            service_account_key=pki.signing_key,
            authentication=known,
            anonymous=anonymous,
            admission=admission(instance),
            operation=operation(instance),
            ca_certificate=pki.ca,
            kubelet_client_certificate=pki.kubelet_client.cert,
            kubelet_client_key=pki.kubelet_client.key,
            aggregation=AggregationConfig(pki.front_proxy.cert, pki.front_proxy.key),
            advertise_address=address,
            port=instance.port,
            service_cidr=instance.service_cidr,
            groups=[*self._metrics.groups, *(g for w in self._wings for g in w.groups)],
            hooks=[h for w in self._wings for h in w.hooks],
            default_objects=[
                *rights(),
                *cluster_info(f"https://{address}:{instance.port}", pki.ca.read_text()),
                *node_objects(settings_of(instance)),
                *local_csi.objects(),
                *ingress.objects(),
                *storage_rights(),
                *snapshot_objects(),
            ],
            token_authenticators=[a for w in self._wings for a in w.token_authenticators],
        )
        return ApiServer(stores.open_store(instance), config)

    def _controllers(self) -> list[Component]:
        def client_for(name: str) -> Client:
            return self.client_for(service_account_user("kube-system", name))

        scheduler = self.client_for(UserInfo("system:kube-scheduler", ("system:authenticated",)))
        manager = ControllerManagerConfig(
            root_ca=self._pki.ca.read_text(),
            node_ipam=NodeIpamConfig(self._instance.pod_cidr, cluster_cidr6=self._instance.pod_cidr6),
            node_grace=Grace(self._instance.monitor_grace) if self._instance.monitor_grace else Grace(),
            signing=SigningAuthority(self._pki.ca, self._pki.ca_key),
            account_key=self._pki.signing_key,
            autoscaler=AutoscalerConfig(sync_period=self._instance.autoscaler_sync or 15.0),
            own=self.client_for(UserInfo("system:kube-controller-manager", ("system:authenticated",))),
        )
        return [
            *controllers(client_for, self._informers, manager),
            SnapshotController(client_for("snapshot-controller"), self._informers),
            ServiceController(client_for("service-controller"), self._informers, self._instance.balancer_ranges),
            Scheduler(
                scheduler, self._informers, SeriesRecorder(scheduler, "default-scheduler"), scheduling(self._instance)
            ),
        ]

    def _write_kubeconfig(self) -> None:
        kubeconfig.write(
            self._instance.kubeconfig,
            server=self._instance.url,
            ca=self._pki.ca.read_bytes(),
            cert=self._pki.admin.cert.read_bytes(),
            key=self._pki.admin.key.read_bytes(),
        )


def _restarted(component: Component) -> Component:
    """The component, begun again when it fails; the scheduler's memory is begun anew with the process."""
    return component if isinstance(component, Scheduler) else Restarted(component, StoreError, InstanceError)


def settings_of(instance: Instance) -> ClusterSettings:
    """What nodes that join are told."""
    capabilities = str(instance.node_dir / "virt-handler" / "capabilities")
    return ClusterSettings(
        instance.pod_cidr, instance.service_cidr, instance.lease_seconds, capabilities, instance.overlay_family
    )


def by_prefix(default: Handler, prefixes: dict[str, Handler]) -> Handler:
    """A handler that passes a request to the one whose prefix its path has (whole segments), else to `default`."""

    async def handle(request: Request) -> Answer:
        first = "/" + request.path.split("/", 2)[1] if request.path.startswith("/") else request.path
        return await prefixes.get(first, default)(request)

    return handle


def main() -> int:
    """Run the control plane of the instance in the directory named by the first argument."""
    instance = load(Path(sys.argv[1]))
    if instance is None:
        sys.exit(f"there is no instance in {sys.argv[1]}")
    logs.set_up(level="info")
    reporter = Reporter(instance.notify_socket, PROCESS)
    plane = ControlPlane(instance, reporter)
    fatal = (StoreError, ListenError, InstanceError, AuditError, EncryptionError)
    return run_until_told(plane.run, reporter, fatal, cured=(LeadershipLost,))


if __name__ == "__main__":
    sys.exit(main())
