"""A machine becomes a node: from a token to a signed certificate, a Node object and a range of pod addresses."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

from kumo.api import conditions
from kumo.api.errors import StatusError, is_already_exists, is_not_found
from kumo.api.kubernetes_version import VERSION
from kumo.api.node_components import PROXY_USER
from kumo.api.objects import Object, name_of
from kumo.api.resources import CONFIGMAPS, NODES
from kumo.cli import node_rights
from kumo.cli.discovery import with_clock
from kumo.cli.instance import Instance, InstanceError
from kumo.cli.node_access import CLIENT_FILE, client_context
from kumo.cli.node_registration import registration
from kumo.cli.node_rights import ClusterSettings, SettingsError
from kumo.host.containerd.archive import architecture
from kumo.machinery import enrolment, tls
from kumo.machinery.client import Client, raise_for_status
from kumo.machinery.files import write_file
from kumo.machinery.transport import HttpTransport

_PATIENCE = 60.0
_MINOR = re.compile(r'"minor":\s*"(\d+)')


async def enlist(instance: Instance, ca: bytes, token: str) -> Instance:
    """The instance as it is once its machine is a node: with the cluster's ranges and its own. Raises InstanceError."""
    try:
        transport = HttpTransport(instance.server, tls=tls.client_context(ca_data=ca.decode()), token=token)
        async with _client(transport) as client:
            await _require_version(client, instance.server)
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
            pods = await _range(client, _node(instance))
    except StatusError as error:
        if error.code == 401:
            raise InstanceError(f"{instance.server} does not know the token (any more): make a new one") from error
        raise InstanceError(f"{instance.server} refuses: {error.message}") from error
    except (enrolment.EnrolmentError, SettingsError, ConnectionError, TimeoutError) as error:
        raise InstanceError(with_clock(str(error)) or f"{instance.server} does not answer in time") from error
    return replace(
        instance,
        pod_cidr=settings.pod_cidr,
        node_pod_cidr=pods,
        service_cidr=settings.service_cidr,
        monitor_grace=settings.lease_seconds * 4 if settings.lease_seconds < 10.0 else 0.0,
        cluster_capabilities=settings.capabilities,
        overlay_family=settings.overlay_family,
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


async def _range(client: Client, wanted: Object) -> str:
    """Make the Node, unless it is there, and wait until it is given its range of pod addresses."""
    name = name_of(wanted)
    try:
        node = await client.create(NODES, wanted)
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


def _node(instance: Instance) -> Object:
    name = instance.node_name
    own = {"kubernetes.io/arch": architecture(), "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
    labels, taints = registration(instance)
    spec = {"taints": taints} if taints else {}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": own | labels}, "spec": spec}


async def _require_version(client: Client, server: str) -> None:
    """As upstream's skew policy: a node is not newer than its API server, and at most three minor versions older."""
    reply = await client.transport.request("GET", "/version")
    if reply.status == 401:
        raise_for_status(reply)
    found = _MINOR.search(reply.body.decode(errors="replace"))
    if reply.status != 200 or found is None:
        raise InstanceError(f"{server} does not say which version it is: is it the API server of a cloud?")
    theirs, ours = int(found.group(1)), int(VERSION.split(".")[1])
    if why := skew(theirs, ours):
        raise InstanceError(f"{server} presents Kubernetes 1.{theirs}, this machine 1.{ours}: {why}")


def skew(server: int, own: int) -> str:
    """Why a node of minor version `own` can't join a server of another one; empty if it can. Pure."""
    if own > server:
        return "a node must not be newer than its control plane. Upgrade that first"
    if server - own > 3:
        return "a node may be at most three minor versions older than its control plane. Upgrade kumo here"
    return ""


async def stranger(instance: Instance) -> str:
    """Why the server is not of the cloud that the instance's certificates are of; empty if it is.

    Raises InstanceError.
    """
    async with _client(HttpTransport(instance.server, tls=client_context(instance), timeout=15.0)) as client:
        try:
            await client.get(NODES, instance.node_name)
        except StatusError as error:
            return "it does not know this node's certificate" if error.code == 401 else ""
        except ConnectionError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error) or "certificate verify failed" in str(error):
                return "its certificate is not of the CA that this machine knows"
            raise InstanceError(with_clock(str(error))) from error
    return ""


def _pod_cidr(node: Object) -> str:
    return str((node.get("spec") or {}).get("podCIDR") or "")
