"""The node process: pod network, kubelet, kube-proxy, cluster DNS, virt-handler, behind one HTTPS port."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from kumo import __version__
from kumo.api.conditions import is_true
from kumo.api.errors import StatusError
from kumo.api.resources import NODES
from kumo.api.users import MASTERS_GROUP
from kumo.cli import engines, kubelet_options, node_registration, prepare
from kumo.cli.abandoned import Abandoned
from kumo.cli.api_servers import ApiServers
from kumo.cli.instance import DEFAULT_NODE_PORT, Instance, InstanceError, load
from kumo.cli.node_access import access
from kumo.cli.node_ingress import NodeIngress
from kumo.cli.node_range import RangeKeeper
from kumo.cli.node_storage import local_driver, volume_controllers
from kumo.cli.node_tables import TablesLost, TablesWatch
from kumo.cli.own_address import node_address6
from kumo.cli.policies import guarded
from kumo.cli.process import ended_before, our_turn, run_until_told
from kumo.cli.ranges import node_port_ranges
from kumo.cli.report import Reporter
from kumo.host import delegation
from kumo.host.containerd.engine import Containerd
from kumo.host.containerd.process import wait_ready
from kumo.host.containerd.rpc import EngineError
from kumo.host.kvm import recorded
from kumo.host.network.agent import PodNetwork, install
from kumo.host.network.overlay import network_identifier
from kumo.host.nftables import Nft
from kumo.kubernetes.dns.cluster_dns import ClusterDns
from kumo.kubernetes.dns.config import ClusterDnsConfig
from kumo.kubernetes.kube_proxy.config import KubeProxyConfig, Network
from kumo.kubernetes.kube_proxy.proxy import KubeProxy
from kumo.kubernetes.kubelet.config import DeviceNode, DeviceResource, KubeletConfig
from kumo.kubernetes.kubelet.kubelet import Kubelet
from kumo.kubernetes.kubelet.placement.manager import PlacementError
from kumo.kubernetes.kubelet.server.guard import NodeGuard
from kumo.kubernetes.local_csi.component import LocalCsi
from kumo.kubernetes.pod_network.agent import NodeNetwork, RangeChanged
from kumo.kubevirt.virt_handler import launcher_image
from kumo.kubevirt.virt_handler.config import VirtHandlerConfig
from kumo.kubevirt.virt_handler.devices import node_devices
from kumo.kubevirt.virt_handler.handler import VirtHandler
from kumo.machinery import logs
from kumo.machinery.client import Client
from kumo.machinery.controller import Component
from kumo.machinery.events import EventRecorder
from kumo.machinery.http import Answer, Handler, Request, Response
from kumo.machinery.informer import Informers
from kumo.machinery.listener import Listener, ListenError
from kumo.machinery.restarting import Restarted
from kumo.machinery.rotation import RotatingContext

PROCESS = "node"
_GRACE = 1.0
"""Seconds for what is under way when the process ends: nothing that it is asked takes longer but what has no end."""
_log = structlog.get_logger("kumo.node")


class Node:
    """This machine as a node of one instance."""

    def __init__(self, instance: Instance, reporter: Reporter) -> None:
        self._instance = instance
        self._reporter = reporter
        self._access = access(instance)
        self._address = instance.address
        self._engine: Containerd
        self._nft = Nft()
        self._waits = ""
        self.end_pods = False
        """Set when the machine's pods are to be ended, not only this process."""

    async def run(self, stop: asyncio.Event) -> None:
        """Start everything, report it, run until `stop` is set. Raises ListenError and InstanceError."""
        asyncio.get_running_loop().add_signal_handler(prepare.STOP_NODE, self._asked_to_end, stop)
        self._engine = Containerd(engines.containerd(self._instance).socket)
        await asyncio.to_thread(self._engine.tasks.sweep)
        if not await ended_before(stop, self._prepare_engine()):
            await self._engine.close()
            return
        kvm = await self._find_virtualization()
        virt = self._virt_handler_config()
        known = self._access
        kubelet_client, virt_client = known.kubelet, known.virt
        sets = [Informers(c) for c in (kubelet_client, known.proxy, virt_client, known.dns)]
        host = self._instance.node_name
        devices = await asyncio.to_thread(node_devices, virt, kvm=kvm)
        kubelet = Kubelet(
            self._kubelet_config(
                {d.resource: DeviceResource(d.count, (DeviceNode(d.host_path, d.container_path),)) for d in devices}
            ),
            kubelet_client,
            sets[0],
            EventRecorder(kubelet_client, "kubelet", host),
            self._engine,
        )
        proxy = KubeProxy(self._proxy_config(), sets[1], EventRecorder(known.proxy, "kube-proxy", host), self._nft)
        dns = ClusterDns(self._dns_config(), sets[3])
        handler = VirtHandler(virt, virt_client, sets[2], EventRecorder(virt_client, "virt-handler", host), kvm=kvm)
        listener = Listener(
            _dispatch(NodeGuard(kubelet_client, host).protect(kubelet.handler), only_api_server(handler.handler)),
            host="0.0.0.0",
            port=self._instance.node_port,
            tls=RotatingContext.of(known.server, known.ca),
            name="node",
            grace=_GRACE,
        )
        await listener.start()
        try:
            if not await our_turn(stop):
                return
            async with asyncio.TaskGroup() as group:
                # Pods give their addresses back when they end: the network goes last.
                networks = [group.create_task(_kept(c), name=c.name) for c in self._networks(sets[1])]
                volumes = volume_controllers(self._instance, known.csi)
                driver = LocalCsi(local_driver(self._instance))
                components: list[Component] = [kubelet, proxy, dns, handler, driver, volumes, *known.keepers]
                if known.servers is not None:
                    components.append(ApiServers(self._instance, known.servers, sets[1]))
                components.append(NodeIngress(self._instance, known))
                components.append(TablesWatch(f"{self._instance.table_prefix}-", self._nft))
                await self._run_components(components, sets, kubelet_client, stop)
                if self.end_pods:
                    if self._instance.joined:
                        await kubelet.node.leave()
                    with contextlib.suppress(EngineError):
                        ended = await kubelet.end_pods()
                        _log.info("ended the pods of this node", count=ended)
                        await asyncio.to_thread(delegation.release, self._instance.id)
                for network in networks:
                    network.cancel()
        finally:
            await listener.stop()
            await known.close()
            await self._engine.close()

    def _networks(self, informers: Informers) -> list[Component]:
        """This node's pods and the way to the others', unless that is another CNI's."""
        if self._instance.cni_conf:
            return []
        vni = network_identifier(self._access.ca.read_bytes())
        overlay = NodeNetwork(engines.overlay(self._instance, vni), self._instance.node_name, informers)
        network = PodNetwork(engines.pod_network(self._instance), self._nft)
        left = Abandoned(network, self._engine, self._instance.containerd_dir)
        return [
            network,
            RangeKeeper(self._instance, overlay),
            guarded(self._instance, network, informers, self._nft),
            left,
        ]

    def _asked_to_end(self, stop: asyncio.Event) -> None:
        self.end_pods = True
        stop.set()

    async def _prepare_engine(self) -> None:
        settings = engines.containerd(self._instance)
        network = engines.pod_network(self._instance)
        try:
            await asyncio.to_thread(delegation.ensure, self._instance.id, engines.native_binary("pause"))
        except delegation.DelegationError as error:  # pods run without it, in groups that systemd does not know
            _log.warning("systemd gives the pods no unit of their own", error=str(error))
        with self._reporter.timed("containerd"):
            if not self._instance.cni_conf:
                await asyncio.to_thread(
                    install, settings.cni_bin_dir, settings.cni_conf_dir, engines.native_binary("cni"), network
                )
            await wait_ready(settings.socket)
        with self._reporter.timed("Images of the sandbox and the launcher"):
            await self._engine.ensure_pause(settings.sandbox_image)
            await launcher_image.ensure(self._engine, __version__)

    async def _find_virtualization(self) -> bool:
        found = await asyncio.to_thread(recorded, self._instance.kvm_path)
        text = "Virtualization: KVM" if found.usable else "Virtualization: no usable KVM, VMs run in software (TCG)"
        self._reporter.step(text, found.seconds)
        _log.info("virtualization", kvm=found.usable, reason=found.reason)
        return found.usable

    async def _run_components(
        self, components: list[Component], sets: list[Informers], client: Client, stop: asyncio.Event
    ) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(i.run()) for i in sets]
            tasks += [group.create_task(_kept(c), name=c.name) for c in components]
            with self._reporter.timed("Node: registered and ready"):
                ended = asyncio.create_task(stop.wait())
                ready = asyncio.create_task(self._ready(client))
                await asyncio.wait({ended, ready}, return_when=asyncio.FIRST_COMPLETED)
                ready.cancel()
            self._reporter.ready()
            await ended
            for task in tasks:
                task.cancel()

    async def _ready(self, client: Client) -> None:
        """Return once the Node is Ready, and can prove to the API server that it is this node."""
        await _ready(client, self._instance.node_name, self._wait)
        for keeper in self._access.keepers:
            await keeper.valid.wait()

    def _wait(self, why: str) -> None:
        """Tell, once, what a machine that has joined waits for: its control plane is nobody's child here."""
        text = f"waiting for the control plane: {why}"
        if self._instance.joined and text != self._waits:
            self._waits = text
            self._reporter.waiting(text)

    # -- what each component is told --------------------------------------------------------------------------------

    def _kubelet_config(self, devices: dict[str, DeviceResource]) -> KubeletConfig:
        instance = self._instance
        config = KubeletConfig(
            node_name=instance.node_name,
            node_ip=self._address,
            directory=instance.node_dir,
            cgroup_parent=instance.cgroup_root,
            port=instance.node_port,
            pod_cidr="" if instance.joined else instance.node_pod_cidr,
            node_ip6=node_address6() if instance.service_cidr6 else "",
            pod_cidr6=instance.node_pod_cidr6,
            lease_seconds=instance.lease_seconds,
            cluster_dns=(instance.cluster_dns,),
            devices=devices,
        )
        config, without_effect = kubelet_options.configured(instance, config)
        if without_effect:
            _log.warning(kubelet_options.warning(without_effect))
        return node_registration.applied(instance, config)

    def _virt_handler_config(self) -> VirtHandlerConfig:
        instance = self._instance
        return VirtHandlerConfig(
            node=instance.node_name,
            kubelet_directory=instance.node_dir,
            directory=instance.node_dir / "virt-handler",
            address=f"{self._address}:{instance.node_port}",
        )

    def _proxy_config(self) -> KubeProxyConfig:
        instance = self._instance
        network = engines.pod_network(instance)
        second = None
        if instance.service_cidr6:
            second = Network(instance.service_cidr6, instance.pod_cidr6, network.gateway6)
        healthz, metrics = "0.0.0.0", "127.0.0.1"
        if instance.node_port != DEFAULT_NODE_PORT:  # Upstream's ports are free on the bridge's own address.
            healthz = metrics = network.gateway
        return KubeProxyConfig(
            table=f"{instance.table_prefix}-services",
            node_name=instance.node_name,
            service_cidr=instance.service_cidr4,
            cluster_cidr=instance.pod_cidr,
            bridge="" if instance.cni_conf else instance.bridge,
            gateway=network.gateway,
            second=second,
            node_port_addresses=node_port_ranges(
                instance, self._address, node_address6() if instance.service_cidr6 else ""
            ),
            healthz=f"{healthz}:10256",
            metrics=f"{metrics}:10249",
        )

    def _dns_config(self) -> ClusterDnsConfig:
        instance = self._instance
        address = self._address if instance.cni_conf else engines.pod_network(instance).gateway
        return ClusterDnsConfig(
            address=address,
            metrics=f"{address}:9153",
            service_address=instance.cluster_dns,
            node_name=instance.node_name,
            own_ranges=(instance.pod_cidr, instance.pod_cidr6, *instance.service_cidr.split(",")),
        )


async def _kept(component: Component) -> None:
    """Run a component, again when it fails; where others stand on it, or for good reason, its end is the process's."""
    if isinstance(component, (Kubelet, PodNetwork)):
        await component.run()
        raise RuntimeError(f"{component.name} ended")
    await Restarted(component, RangeChanged, TablesLost, ListenError, InstanceError).run()


async def _ready(client: Client, name: str, wait: Callable[[str], None]) -> None:
    """Return once the Node is Ready; `wait` is told why nobody can say so."""
    while True:
        try:
            listing = await client.list(NODES, field_selector=f"metadata.name={name}")
            if any(is_true(n, "Ready") for n in listing.items):
                return
            async for event in client.watch(
                NODES, field_selector=f"metadata.name={name}", resource_version=listing.resource_version
            ):
                if event.type != "BOOKMARK" and is_true(event.object, "Ready"):
                    return
        except (StatusError, ConnectionError, OSError) as error:
            wait(str(error))
        await asyncio.sleep(0.1)


def _dispatch(kubelet: Handler, virt_handler: Handler) -> Handler:
    async def handle(request: Request) -> Answer:
        return await (virt_handler if request.path.startswith("/v1/") else kubelet)(request)

    return handle


def only_api_server(handler: Handler) -> Handler:
    """The handler, for members of system:masters only (the API server's certificate says it is one); others get 403."""

    async def handle(request: Request) -> Answer:
        if request.user is None or MASTERS_GROUP not in request.user.groups:
            return Response(403, b"only the API server may ask a node", "text/plain")
        return await handler(request)

    return handle


def main() -> int:
    """Run the node of the instance in the directory named by the first argument."""
    instance = load(Path(sys.argv[1]))
    if instance is None:
        sys.exit(f"there is no instance in {sys.argv[1]}")
    # The order to end the pods may come before anybody can follow it.
    signal.signal(prepare.STOP_NODE, lambda *_: sys.exit(0))
    logs.set_up(level="info")
    reporter = Reporter(instance.notify_socket, PROCESS)
    work: Callable[[asyncio.Event], Awaitable[None]] = Node(instance, reporter).run
    return run_until_told(
        work, reporter, (ListenError, InstanceError, PlacementError), cured=(RangeChanged, TablesLost)
    )


if __name__ == "__main__":
    sys.exit(main())
