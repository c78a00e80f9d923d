"""How the node process proves itself: by the machine's own CA beside the control plane, by signed requests elsewhere.

A joined node has one client certificate, its kubelet's (`kubelet-client.pem`), and acts as kube-proxy, cluster DNS,
virt-handler, the volumes' controllers and (where it is labelled so) the Ingresses' by impersonation. Both of its
certificates are renewed while it runs.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kumo.api.node_components import CSI_USER, DNS_USER, INGRESS_USER, PROXY_USER, VIRT_USER
from kumo.cli import prepare
from kumo.cli.api_servers import servers_of
from kumo.cli.instance import Instance, InstanceError
from kumo.machinery import tls
from kumo.machinery.client import Client
from kumo.machinery.servers import Servers
from kumo.machinery.transport import HttpTransport

if TYPE_CHECKING:
    from kumo.cli.renewal import Kept

CLIENT_FILE, SERVER_FILE = "kubelet-client.pem", "kubelet-server.pem"
"""In `pki/` of a joined node: each a certificate and its key, so that they change together."""
_CONNECT = 4.0
"""Seconds for a connection to an API server, after which another one is tried."""


@dataclass(frozen=True, slots=True)
class NodeAccess:
    """Clients for each component, what the node's server shows, and what keeps all that valid."""

    ca: Path
    server: tls.KeyPair
    kubelet: Client
    proxy: Client
    dns: Client
    virt: Client
    csi: Client
    ingress: Client
    transports: Sequence[HttpTransport]
    keepers: Sequence[Kept] = ()
    servers: Servers | None = None
    """The API servers that a joined node may ask."""

    async def close(self) -> None:
        """Let go of all connections."""
        for transport in self.transports:
            await transport.close()


def access(instance: Instance) -> NodeAccess:
    """The access of the instance's node. Raises InstanceError."""
    return _joined(instance) if instance.joined else _beside(instance)


def _beside(instance: Instance) -> NodeAccess:
    pki = prepare.certificates(instance)
    made = [
        HttpTransport(instance.url, ca=pki.ca, cert=pair.cert, key=pair.key)
        for pair in (pki.node, pki.kube_proxy, pki.dns, pki.virt_handler, pki.csi, pki.ingress)
    ]
    return _made(pki.ca, pki.node_server, made)


def _joined(instance: Instance) -> NodeAccess:
    from kumo.cli.renewal import Renewal, provisional

    server = instance.pki_dir / SERVER_FILE
    if not server.exists():
        provisional(server, instance.node_name)
    context = client_context(instance)
    names = ("", PROXY_USER, DNS_USER, VIRT_USER, CSI_USER, INGRESS_USER)
    servers = servers_of(instance, told=True)
    made = [
        HttpTransport(
            instance.url,
            tls=context,
            headers={"Impersonate-User": name} if name else {},
            connect_timeout=_CONNECT,
            servers=servers,
        )
        for name in names
    ]
    keeper = Renewal(instance, Client(made[0]), context, made)
    pair = tls.KeyPair(server, server)
    found = _made(instance.pki_dir / "ca.crt", pair, made, (keeper.client, keeper.server))
    return replace(found, servers=servers)


def _made(ca: Path, server: tls.KeyPair, made: Sequence[HttpTransport], keepers: Sequence[Kept] = ()) -> NodeAccess:
    kubelet, proxy, dns, virt, csi, ingress = map(Client, made)
    return NodeAccess(ca, server, kubelet, proxy, dns, virt, csi, ingress, made, keepers)


def client_context(instance: Instance) -> ssl.SSLContext:
    """TLS towards the API server, as the joined node's kubelet. Raises InstanceError."""
    pem = instance.pki_dir / CLIENT_FILE
    try:
        return tls.client_context(ca=instance.pki_dir / "ca.crt", cert=pem, key=pem)
    except (OSError, ssl.SSLError) as error:
        raise InstanceError(
            f"{pem} is missing or damaged: {error}. Join anew: 'kumo reset --data-dir {instance.data_dir}', then "
            f"'kumo join' with a fresh token"
        ) from error
