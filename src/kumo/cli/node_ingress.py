"""The Ingress controller as the node process takes it in: with a user of its own, which may read TLS secrets.

It runs beside a control plane only: a machine that has joined does not get to read every namespace's secrets.
"""

from __future__ import annotations

import asyncio

from kumo.cli import engines, prepare
from kumo.cli.instance import Instance
from kumo.kubernetes.ingress.config import IngressConfig
from kumo.kubernetes.ingress.controller import IngressController
from kumo.machinery.client import Client
from kumo.machinery.events import EventRecorder
from kumo.machinery.informer import Informers
from kumo.machinery.transport import HttpTransport


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
    )


class NodeIngress:
    """The controller, and the connection and informers it has for itself."""

    name = "ingress-controller"

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    async def run(self) -> None:
        """Run until cancelled."""
        pki = prepare.certificates(self._instance)
        transport = HttpTransport(self._instance.url, ca=pki.ca, cert=pki.ingress.cert, key=pki.ingress.key)
        client = Client(transport)
        informers = Informers(client)
        recorder = EventRecorder(client, "kumo-ingress", self._instance.node_name)
        controller = IngressController(ingress_config(self._instance), informers, recorder, pki.ingress_server)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(informers.run(), name="ingress-informers")
                group.create_task(controller.run(), name=self.name)
        finally:
            await transport.close()
