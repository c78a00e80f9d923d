"""`kumo status`: whether the cloud runs, its processes and what they hold, its nodes, pods and VMs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import click

from kumo.api.conditions import is_true
from kumo.api.errors import StatusError
from kumo.api.resources import NODES, PODS, VMIS, VMS
from kumo.cli.instance import Instance, load
from kumo.cli.main import data_dir_option
from kumo.cli.orphans import left_behind
from kumo.cli.supervisor import lock_holder
from kumo.machinery import kubeconfig
from kumo.machinery.client import Client

_TIMEOUT = 10.0


def children(pid: int) -> list[int]:
    """The process's children, in no order."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(p) for p in (task / "children").read_text().split()]
    return found


def memory(pid: int) -> int:
    """What the process alone would free by ending: its proportional set size, in bytes."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _name(pid: int) -> str:
    argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    named = next((a.decode() for a in argv if a.startswith(b"kumo.cli.")), "")
    return named.removeprefix("kumo.cli.").replace("_", "-") or Path(argv[0].decode()).name


def processes(pid: int) -> list[dict[str, Any]]:
    """The supervisor and its children: name, pid, memory in bytes."""
    found = []
    for each in [pid, *children(pid)]:
        try:
            found.append({"name": _name(each), "pid": each, "memory": memory(each)})
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


async def _objects(instance: Instance) -> dict[str, Any]:
    if instance.joined:
        return await _own_objects(instance)
    transport = kubeconfig.transport(instance.kubeconfig)
    client = Client(transport)
    try:
        async with asyncio.timeout(_TIMEOUT):
            nodes = (await client.list(NODES)).items
            pods = (await client.list(PODS)).items
            counts = {"pods": len(pods), "podsRunning": sum(p["status"].get("phase") == "Running" for p in pods)}
            try:
                counts["vms"] = len((await client.list(VMS)).items)
                vmis = (await client.list(VMIS)).items
                counts["vmsRunning"] = sum((v.get("status") or {}).get("phase") == "Running" for v in vmis)
            except StatusError as error:
                if error.code != 404:
                    raise
            ready = {n["metadata"]["name"]: is_true(n, "Ready") for n in nodes}
            return {"nodes": ready, **counts}
    finally:
        await transport.close()


async def _own_objects(instance: Instance) -> dict[str, Any]:
    """What a joined node may know of: itself, and the pods that it runs."""
    from kumo.cli.api_servers import servers_of
    from kumo.cli.node_access import client_context
    from kumo.machinery.transport import HttpTransport

    transport = HttpTransport(
        instance.url, tls=client_context(instance), connect_timeout=_TIMEOUT / 3, servers=servers_of(instance)
    )
    client, name = Client(transport), instance.node_name
    try:
        async with asyncio.timeout(_TIMEOUT):
            nodes = (await client.list(NODES, field_selector=f"metadata.name={name}")).items
            pods = (await client.list(PODS, field_selector=f"spec.nodeName={name}")).items
    finally:
        await transport.close()
    running = sum((p.get("status") or {}).get("phase") == "Running" for p in pods)
    ready = {n["metadata"]["name"]: is_true(n, "Ready") for n in nodes}
    return {"nodes": ready or {name: False}, "pods": len(pods), "podsRunning": running}


@click.command("status", short_help="Show whether the cloud runs and what is in it.")
@data_dir_option
@click.option("-o", "--output", type=click.Choice(["json"]), help="Output for scripts.")
def command(data_dir: Path, output: str | None) -> None:
    """Show whether the cloud runs and what is in it. Exit code 0 if it is ready, 3 if it does not run, 1 if ailing."""
    instance = load(data_dir)
    pid = lock_holder(instance) if instance is not None else None
    if instance is None or pid is None:
        verb = "join" if instance is not None and instance.joined else "up"
        problem = left_behind(instance.containerd_dir, str(data_dir), verb) if instance is not None else ""
        if output == "json":
            told = {"problem": problem} if problem else {}
            click.echo(json.dumps({"running": False, "dataDir": str(data_dir), **told}))
        else:
            advice = problem or f"Start it with 'kumo {verb} --detach'"
            click.echo(f"kumo does not run on {data_dir}. {advice}")
        sys.exit(3)
    report: dict[str, Any] = {
        "running": True,
        "dataDir": instance.data_dir,
        "url": instance.url,
        "processes": processes(pid),
    }
    problem = ""
    try:
        report |= asyncio.run(_objects(instance))
    except (StatusError, ConnectionError, TimeoutError, OSError) as error:
        problem = str(error) or "the API server does not answer"
        with contextlib.suppress(OSError):
            problem = instance.waiting_path.read_text()  # What its process said it waits for tells more.
        report["problem"] = problem
    if output == "json":
        click.echo(json.dumps(report, indent=2))
    else:
        _show(report, problem)
    if problem or not all(report.get("nodes", {}).values()):
        sys.exit(1)


def _show(report: dict[str, Any], problem: str) -> None:
    total = sum(p["memory"] for p in report["processes"])
    click.echo(f"kumo runs on {report['dataDir']}, {report['url']}\n")
    for process in report["processes"]:
        click.echo(f"  {process['name']:<16} pid {process['pid']:<8} {process['memory'] / 2**20:6.1f} MiB")
    click.echo(f"  {'':<29} {total / 2**20:6.1f} MiB in all\n")
    if problem:
        click.echo(f"  The API server does not answer: {problem}. Its log is in {report['dataDir']}/logs")
        return
    for name, ready in report["nodes"].items():
        click.echo(f"  node {name}: {'Ready' if ready else 'NotReady'}")
    click.echo(f"  pods: {report['pods']} ({report['podsRunning']} running)")
    if "vms" in report:
        click.echo(f"  virtual machines: {report['vms']} ({report['vmsRunning']} running)")
