"""The Ingress controller as the node process takes it in: with a user of its own, which may read TLS secrets.

Beside a control plane it always runs, and reads the TLS secrets of every namespace. A machine that has joined serves
Ingresses if it bears the label `node-restriction.kubernetes.io/ingress=true`, which only an administrator can give it:
then it may read the secrets that Ingresses name, and no others (`apiserver.authorization.node_ingress`).
"""

from __future__ import annotations

import asyncio

import structlog

from kumo.api.errors import StatusError
from kumo.api.node_components import INGRESS_LABEL
from kumo.api.objects import labels_of
from kumo.api.resources import NODES
from kumo.cli import engines, prepare
from kumo.cli.instance import Instance
from kumo.cli.node_access import NodeAccess
from kumo.kubernetes.ingress.config import IngressConfig
from kumo.kubernetes.ingress.controller import IngressController
from kumo.machinery.events import EventRecorder
from kumo.machinery.informer import Informers
from kumo.machinery.tls import KeyPair

_DEFAULT = "ingress-server.pem"
_log = structlog.get_logger("kumo.ingress")


def ingress_config(instance: Instance) -> IngressConfig:
    """Where the instance's haproxy listens: on the pods' bridge, which nobody else uses."""
    network = engines.pod_network(instance)
    address, address6 = network.gateway, network.gateway6
    if instance.cni_conf:
        address, address6 = instance.address, ""
    return IngressConfig(
        instance.node_name,
        address,
        instance.node_dir / "ingress",
        address6=address6,
        dns=f"{instance.cluster_dns}:53",
        leading=not instance.joined,
    )


class NodeIngress:
    """The controller, with informers of its own, as long as the node is one that serves Ingresses."""

    name = "ingress-controller"

    def __init__(self, instance: Instance, access: NodeAccess) -> None:
        self._instance = instance
        self._access = access

    async def run(self) -> None:
        """Run until cancelled."""
        if not self._instance.joined:
            await self._serve()
            return
        nodes = Informers(self._access.kubelet)
        own = nodes.informer(NODES, field_selector=f"metadata.name={self._instance.node_name}")
        changed = asyncio.Event()
        own.on_change(lambda _old, _new: changed.set())
        async with asyncio.TaskGroup() as group:
            group.create_task(nodes.run(), name="ingress-node")
            await own.wait_synced()
            serving: asyncio.Task[None] | None = None
            withdrawn = False
            while True:
                changed.clear()
                node = own.get(self._instance.node_name)
                wanted = node is not None and labels_of(node).get(INGRESS_LABEL) == "true"
                if wanted and serving is None:
                    _log.info("this node serves Ingresses", label=INGRESS_LABEL)
                    serving, withdrawn = group.create_task(self._serve(), name=self.name), False
                elif not wanted and node is not None and not withdrawn:
                    if serving is not None:
                        serving.cancel()
                        await asyncio.gather(serving, return_exceptions=True)
                        serving = None
                    withdrawn = await self._withdraw()
                await changed.wait()

    def _controller(self) -> tuple[Informers, IngressController]:
        client = self._access.ingress
        informers = Informers(client)
        recorder = EventRecorder(client, "kumo-ingress", self._instance.node_name)
        return informers, IngressController(ingress_config(self._instance), informers, recorder, self._default())

    def _default(self) -> KeyPair:
        """What is shown to clients for whose host there is no certificate, and no default one in the cluster."""
        if not self._instance.joined:
            return prepare.certificates(self._instance).ingress_server
        from kumo.cli.renewal import provisional

        path = self._instance.pki_dir / _DEFAULT
        if not path.exists():
            provisional(path, self._instance.node_name)
        return KeyPair(path, path)

    async def _serve(self) -> None:
        informers, controller = self._controller()
        async with asyncio.TaskGroup() as group:
            group.create_task(informers.run(), name="ingress-informers")
            group.create_task(controller.run(), name=self.name)

    async def _withdraw(self) -> bool:
        """Say that nobody answers here, and end the haproxy that a killed process may have left; whether that is done.

        A cloud of an earlier version lets no joined node say it, nor serve.
        """
        _, controller = self._controller()
        try:
            await controller.withdraw()
        except (StatusError, OSError) as error:
            if isinstance(error, StatusError) and error.code == 403:
                return True
            _log.warning("can't take the endpoints of this node's Ingresses away", error=str(error))
            return False
        return True
