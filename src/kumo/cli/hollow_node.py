"""`kumo hollow-node`: simulated nodes that join a cluster over its API, for scale, for tests and for teaching."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kumo.cli.instance import InstanceError
from kumo.cli.main import data_dir_option

if TYPE_CHECKING:
    from kumo.kubernetes.hollow_node import HollowConfig
    from kumo.machinery.kubeconfig import Access

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


@click.command("hollow-node", short_help="Join simulated nodes, on which pods only seem to run.")
@data_dir_option
@click.option("--kubeconfig", type=click.Path(path_type=Path, dir_okay=False), help="The cluster and who adds nodes.")
@click.option("--context", default="", help="The kubeconfig's context.  [default: its current one]")
@click.option("--count", type=click.IntRange(1, 100_000), default=1, show_default=True, help="How many nodes.")
@click.option("--name-prefix", default="hollow-", show_default=True, help="Names are this and a number.")
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="The first number.")
@click.option("--cpu", default="4", show_default=True, help="Cores of each node.")
@click.option("--memory", default="8Gi", show_default=True, help="Memory of each node.")
@click.option("--pods", default="110", show_default=True, help="Pods that each node takes.")
@click.option("--ephemeral-storage", default="100Gi", show_default=True, help="Local storage of each node.")
@click.option("--resource", "resources", multiple=True, metavar="NAME=N", help="Another resource, such as a GPU.")
@click.option("--label", "labels", multiple=True, metavar="KEY=V[,V...]", help="A label; nodes take turns at values.")
@click.option("--taint", "taints", multiple=True, metavar="KEY[=V]:EFFECT", help="A taint that nodes come with.")
@click.option("--run-seconds", type=float, help="Pods that do not restart always end after that.  [default: never]")
@click.option("--impersonate", is_flag=True, help="Speak for all nodes over one identity, without certificates.")
@click.option("--delete-at-end", is_flag=True, help="Remove the Nodes when interrupted.")
def command(
    data_dir: Path, kubeconfig: Path | None, context: str, impersonate: bool, delete_at_end: bool, **shape: Any
) -> None:
    """Join simulated nodes to a running cluster and keep them until interrupted.

    They register, renew their leases and take pods through their lives, but start no process. Annotations of a pod say
    how it lives: kumo.dev/hollow-run-seconds, -exit-code, -start-seconds, -stop-seconds, -ready. A Node with the
    annotation kumo.dev/hollow-silent=true is heard of no more.
    """
    from kumo.machinery import kubeconfig as kubeconfigs
    from kumo.machinery import logs

    path = kubeconfig or data_dir / "admin.kubeconfig"
    try:
        access = kubeconfigs.read(path, context)
    except kubeconfigs.KubeconfigError as error:
        hint = "" if kubeconfig else ". Name the cluster by --kubeconfig, or its directory by --data-dir"
        raise InstanceError(f"{error}{hint}") from error
    config = configuration(shape)
    logs.set_up(level="info")
    _allow_connections(config.count)
    asyncio.run(_run(config, access, impersonate=impersonate, delete_at_end=delete_at_end))


def configuration(shape: Mapping[str, Any]) -> HollowConfig:
    """What the options say. Raises InstanceError for texts that are no quantities, labels or taints."""
    from kumo.api import quantities
    from kumo.kubernetes.hollow_node import HollowConfig

    capacity = {
        "cpu": shape["cpu"],
        "memory": shape["memory"],
        "ephemeral-storage": shape["ephemeral_storage"],
        "pods": shape["pods"],
        **dict(_pair(text, "--resource") for text in shape["resources"]),
    }
    for name, value in capacity.items():
        try:
            if quantities.parse(value) < 0:
                raise ValueError("it is negative")
        except ValueError as error:
            raise InstanceError(f"{name} {value!r} is no quantity, such as 4, 500m or 8Gi: {error}") from error
    labels = {key: tuple(value.split(",")) for key, value in (_pair(text, "--label") for text in shape["labels"])}
    return HollowConfig(
        count=shape["count"],
        prefix=shape["name_prefix"],
        first=shape["first"],
        capacity=capacity,
        labels=labels,
        taints=tuple(_taint(text) for text in shape["taints"]),
        run_seconds=shape["run_seconds"],
    )


def _pair(text: str, option: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not key or not sign:
        raise InstanceError(f"{option} {text!r} is not NAME=VALUE")
    return key, value


def _taint(text: str) -> dict[str, str]:
    before, _, effect = text.rpartition(":")
    key, sign, value = before.partition("=")
    if not key or effect not in _EFFECTS:
        raise InstanceError(f"--taint {text!r} is not KEY[=VALUE]:EFFECT with one of the effects {', '.join(_EFFECTS)}")
    return {"key": key, "effect": effect} | ({"value": value} if sign else {})


def _allow_connections(count: int) -> None:
    """Each node has a connection or two of its own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * count + 1024
    if soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


async def _run(config: HollowConfig, access: Access, *, impersonate: bool, delete_at_end: bool) -> None:
    from kumo.api.errors import StatusError
    from kumo.api.resources import NODES
    from kumo.kubernetes.hollow_node import HollowNodes
    from kumo.kubernetes.hollow_node.identities import Impersonation, OwnCertificates
    from kumo.machinery.client import Client
    from kumo.machinery.informer import Informers

    transport = access.transport()
    client = Client(transport)
    informers = Informers(client)
    nodes = HollowNodes(config, informers, Impersonation(transport) if impersonate else OwnCertificates(client, access))
    stop = asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    tasks = [asyncio.create_task(informers.run()), asyncio.create_task(nodes.run())]
    ready = asyncio.create_task(_tell(nodes, config))
    try:
        await asyncio.wait([asyncio.create_task(stop.wait()), *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in (ready, *tasks):
            task.cancel()
        await asyncio.gather(ready, *tasks, return_exceptions=True)
        if delete_at_end:
            for name in config.names():
                with contextlib.suppress(StatusError, ConnectionError, OSError):
                    await client.delete(NODES, name)
        await transport.close()


async def _tell(nodes: Any, config: HollowConfig) -> None:
    await nodes.registered.wait()
    names = config.names()
    text = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
    click.echo(f"{len(names)} hollow node(s) are ready: {text}. Interrupt to let them fall silent.")
