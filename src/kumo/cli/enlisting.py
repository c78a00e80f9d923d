"""A machine becomes a node: from a token to a signed certificate, a Node object and a range of pod addresses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

from kumo.api import conditions
from kumo.api.errors import StatusError, is_already_exists, is_not_found
from kumo.api.node_components import PROXY_USER
from kumo.api.objects import Object, name_of
from kumo.api.resources import CONFIGMAPS, NODES
from kumo.cli import node_rights
from kumo.cli.instance import Instance, InstanceError
from kumo.cli.node_access import CLIENT_FILE, client_context
from kumo.cli.node_rights import ClusterSettings, SettingsError
from kumo.host.containerd.archive import architecture
from kumo.machinery import enrolment, tls
from kumo.machinery.client import Client
from kumo.machinery.files import write_file
from kumo.machinery.transport import HttpTransport

_PATIENCE = 60.0


async def enlist(instance: Instance, ca: bytes, token: str) -> Instance:
    """The instance as it is once its machine is a node: with the cluster's ranges and its own. Raises InstanceError."""
    try:
        transport = HttpTransport(instance.server, tls=tls.client_context(ca_data=ca.decode()), token=token)
        async with _client(transport) as client:
            settings = await _settings(client)
            await _refuse_taken(client, instance.node_name)
            wanted = enrolment.node_request(instance.node_name)
            cert = await enrolment.enrol(client, wanted, prefix="node-csr-")
        instance.pki_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_file(instance.pki_dir / "ca.crt", ca, 0o644)
        write_file(instance.pki_dir / CLIENT_FILE, cert + wanted.key)
        context = client_context(instance)
        # A kubelet may look at its own Node only; kube-proxy looks at all.
        async with _client(
            HttpTransport(instance.server, tls=context, headers={"Impersonate-User": PROXY_USER})
        ) as client:
            await _refuse_address(client, instance)
        async with _client(HttpTransport(instance.server, tls=context)) as client:
            pods = await _range(client, instance.node_name)
    except StatusError as error:
        if error.code == 401:
            raise InstanceError(f"{instance.server} does not know the token (any more): make a new one") from error
        raise InstanceError(f"{instance.server} refuses: {error.message}") from error
    except (enrolment.EnrolmentError, SettingsError, ConnectionError, TimeoutError) as error:
        raise InstanceError(str(error) or f"{instance.server} does not answer in time") from error
    return replace(
        instance,
        pod_cidr=settings.pod_cidr,
        node_pod_cidr=pods,
        service_cidr=settings.service_cidr,
        monitor_grace=settings.lease_seconds * 4 if settings.lease_seconds < 10.0 else 0.0,
        cluster_capabilities=settings.capabilities,
    )


@asynccontextmanager
async def _client(transport: HttpTransport) -> AsyncIterator[Client]:
    try:
        yield Client(transport)
    finally:
        await transport.close()


async def _settings(client: Client) -> ClusterSettings:
    try:
        found = await client.get(CONFIGMAPS, node_rights.NAME, node_rights.NAMESPACE)
    except StatusError as error:
        if not is_not_found(error):
            raise
        raise InstanceError("the control plane there is no kumo, or one too old to be joined") from error
    return ClusterSettings.of(found.get("data") or {})


async def _refuse_taken(client: Client, name: str) -> None:
    """As kubeadm: a name that belongs to a node that is alive is not taken over."""
    try:
        node = await client.get(NODES, name)
    except StatusError as error:
        if is_not_found(error):
            return
        raise
    if conditions.is_true(node, "Ready"):
        raise InstanceError(
            f'a Node with name "{name}" and status "Ready" already exists in the cluster. You must delete the existing '
            f"Node or change the name of this new joining Node (--node-name)"
        )


async def _refuse_address(client: Client, instance: Instance) -> None:
    for node in (await client.list(NODES)).items:
        listed = [a.get("address") for a in (node.get("status") or {}).get("addresses") or ()]
        if name_of(node) != instance.node_name and instance.address in listed:
            raise InstanceError(
                f"node {name_of(node)} has the address {instance.address} already: nodes need one each "
                f"(--advertise-address)"
            )


async def _range(client: Client, name: str) -> str:
    """Make the Node, unless it is there, and wait until it is given its range of pod addresses."""
    try:
        node = await client.create(NODES, _node(name))
    except StatusError as error:
        if not is_already_exists(error):
            raise
        node = await client.get(NODES, name)
    async with asyncio.timeout(_PATIENCE):
        if found := _pod_cidr(node):
            return found
        revision = node["metadata"]["resourceVersion"]
        events = client.watch(NODES, field_selector=f"metadata.name={name}", resource_version=revision)
        async with aclosing(events):
            async for event in events:
                if event.type != "BOOKMARK" and (found := _pod_cidr(event.object)):
                    return found
    raise InstanceError("the control plane has ended the connection: try again")


def _node(name: str) -> Object:
    labels = {"kubernetes.io/arch": architecture(), "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}


def _pod_cidr(node: Object) -> str:
    return str((node.get("spec") or {}).get("podCIDR") or "")
