"""`kumo join`: make this machine a node of a cloud whose control plane is elsewhere, and keep it one."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from kumo.api.names import check_subdomain
from kumo.cli import addresses, facts, kubelet_options, leftovers, node_registration, prepare, up
from kumo.cli.instance import DEFAULT_NODE_PORT, Instance, InstanceError, choose, load, save
from kumo.cli.main import data_dir_option
from kumo.cli.supervisor import ALREADY_RUNS, lock_holder
from kumo.host import kvm


@click.command("join", short_help="Make this machine a node of a cloud that runs elsewhere.")
@click.argument("server", default="")
@data_dir_option
@click.option("--token", default="", help="A bootstrap token of that cloud: 'kumo token create' there makes one.")
@click.option(
    "--ca-cert-hash", multiple=True, metavar="sha256:HEX", help="The CA that the cloud must have. Repeatable."
)
@click.option(
    "--ca-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The CA of the cloud, instead of finding it by the token.",
)
@click.option("--node-name", default="", help="Name of this machine's node.  [default: the host name]")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the node's own server.  [default: 10250]")
@click.option(
    "--mirror", "mirrors", multiple=True, metavar="HOST=URL", help="Pull images of HOST from URL. Repeatable."
)
@addresses.node_options
@kubelet_options.options
@node_registration.options
@click.option("--detach", is_flag=True, help="Return when the node is ready; it goes on in the background.")
def command(
    server: str,
    data_dir: Path,
    token: str,
    ca_cert_hash: tuple[str, ...],
    ca_file: Path | None,
    node_name: str,
    port: int | None,
    mirrors: tuple[str, ...],
    detach: bool,
    **given: Any,
) -> None:
    """Make this machine a node of the cloud whose API server is at SERVER (https://HOST:PORT), and keep it one.

    Once it has joined, `kumo join` alone starts it again.
    """
    began = time.monotonic()
    up.require(facts.user())
    instance = _chosen(data_dir, server, token, node_name, port)
    holder = lock_holder(instance)
    if holder is not None:
        raise InstanceError(ALREADY_RUNS.format(data_dir=instance.data_dir, pid=holder))
    instance = replace(instance, mirrors=instance.mirrors | dict(up.mirror(m) for m in mirrors))
    instance = node_registration.choose(addresses.choose(instance, given), given)
    kubelet_options.keep(instance.root, given)
    up.step("This machine has what a node needs", lambda: up.look(instance, node=True))
    known = load(instance.root)
    if known is not None and known.server != instance.server:
        _require_same(known, instance)
    if known is None or _lapsed(instance, token):
        instance = _joined(instance, token, ca_cert_hash, ca_file)
    save(instance)
    leftovers.lend(instance)
    prepare.directories(instance)
    kvm.begin(instance.kvm_path)
    up.begin(instance, prepare.plan(instance, node=True), began=began, detach=detach)


def _chosen(data_dir: Path, server: str, token: str, node_name: str, port: int | None) -> Instance:
    """The node that has joined, or one that is about to. Raises InstanceError."""
    from kumo.cli.bootstrap_token import parse
    from kumo.cli.discovery import server_url

    known = load(data_dir.absolute())
    if known is not None and not known.joined:
        raise InstanceError(f"{data_dir} has a control plane of its own: a node needs another --data-dir")
    if known is None and not server:
        raise InstanceError(
            "which cloud? On the machine with the control plane type 'kumo token create --print-join-command', "
            "and here what it prints"
        )
    if token:
        parse(token)
    elif known is None:
        raise InstanceError("a machine joins by a token: 'kumo token create --print-join-command' there makes one")
    url = server_url(server) if server else known.server if known is not None else ""
    instance = choose(data_dir, node_name=node_name)
    if faults := check_subdomain(instance.node_name):
        raise InstanceError(f"--node-name {instance.node_name}: {faults[0]}")
    if known is None:
        instance = replace(instance, node_port=DEFAULT_NODE_PORT, pod_cidr="", node_pod_cidr="", service_cidr="")
    return replace(instance, server=url, port=0, node_port=port or instance.node_port)


def _require_same(known: Instance, instance: Instance) -> None:
    """Raise InstanceError unless the server belongs to the cloud that this machine has joined."""
    from kumo.cli import enlisting

    why = asyncio.run(enlisting.stranger(instance))
    if why:
        raise InstanceError(
            f"this machine is node {known.node_name} of {known.server}, and {instance.server} is another cloud "
            f"({why}). To join that one, type 'kumo reset --data-dir {known.data_dir}' first, and at the control plane "
            f"of the first one 'kubectl delete node {known.node_name}'"
        )


def _lapsed(instance: Instance, token: str) -> bool:
    """Whether the node's certificate has ended while nobody renewed it. Raises InstanceError without a token then."""
    from kumo.cli.node_access import CLIENT_FILE
    from kumo.cli.renewal import validity

    found = validity(instance.pki_dir / CLIENT_FILE)
    if found is not None and found[1] > time.time():
        return False
    if not token:
        raise InstanceError(
            f"this node's certificate has ended. Type 'kumo token create --print-join-command' at the control plane, "
            f"and here what it prints, with --data-dir {instance.data_dir}"
        )
    return True


def _joined(instance: Instance, token: str, hashes: tuple[str, ...], ca_file: Path | None) -> Instance:
    """Find the cloud, get an identity there and a range of pod addresses. Raises InstanceError."""
    from kumo.cli import bootstrap_token, discovery, enlisting

    parsed = bootstrap_token.parse(token)

    def found() -> bytes:
        if ca_file is None:
            return asyncio.run(discovery.discover(instance.server, parsed, hashes))
        ca = ca_file.read_bytes()
        if hashes and discovery.ca_hash(ca) not in hashes:
            raise InstanceError(f"the CA in {ca_file} is another one than was named: it is {discovery.ca_hash(ca)}")
        return ca

    ca = up.step("The cloud is found, and is the right one", found)
    return up.step(
        "This machine is known there, and has addresses for pods",
        lambda: asyncio.run(enlisting.enlist(instance, ca, str(parsed))),
    )
