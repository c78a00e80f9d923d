"""`kumo up`: look at the machine, prepare the instance, and become its supervisor."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from kumo.cli import (
    addresses,
    admission,
    autoscaling,
    facts,
    identity,
    kubelet_options,
    leftovers,
    node_registration,
    operation,
    prepare,
    ranges,
    scheduling,
    stores,
)
from kumo.cli.instance import Instance, InstanceError, choose, save
from kumo.cli.joining import Joining
from kumo.cli.joining import options as joining_options
from kumo.cli.main import data_dir_option
from kumo.cli.supervisor import ALREADY_RUNS, DETACHED, Process, lock_holder
from kumo.host import kvm

T = TypeVar("T")
JOINED = (
    "{data_dir} is a node of the cluster at {server}: 'kumo join --data-dir {data_dir}' starts it again. For a cloud "
    "of its own, choose another --data-dir"
)


@click.command("up", short_help="Start the cloud on this machine.")
@data_dir_option
@click.option("--port", type=click.IntRange(1, 65534), help="Port of the API server.  [default: 6443]")
@click.option("--node-name", default="", help="Name of this machine's node.  [default: the host name]")
@click.option("--no-node", is_flag=True, help="Run the control plane alone: no pods and no VMs on this machine.")
@click.option(
    "--mirror", "mirrors", multiple=True, metavar="HOST=URL", help="Pull images of HOST from URL. Repeatable."
)
@identity.options
@admission.options
@scheduling.options
@kubelet_options.options
@node_registration.options
@operation.options
@stores.options
@ranges.options
@autoscaling.options
@addresses.options
@joining_options
@click.option("--detach", is_flag=True, help="Return when the cloud is ready; it goes on in the background.")
def command(
    data_dir: Path,
    port: int | None,
    node_name: str,
    no_node: bool,
    mirrors: tuple[str, ...],
    detach: bool,
    **providers: Any,
) -> None:
    """Turn this machine into a cloud, and keep it running until interrupted (or, with --detach, in the background)."""
    began = time.monotonic()
    require(facts.user())
    instance = choose(data_dir, port=port, node_name=node_name)
    if instance.joined:
        raise InstanceError(JOINED.format(data_dir=instance.data_dir, server=instance.server))
    holder = lock_holder(instance)
    if holder is not None:
        raise InstanceError(ALREADY_RUNS.format(data_dir=instance.data_dir, pid=holder))
    instance = replace(instance, mirrors=instance.mirrors | dict(mirror(m) for m in mirrors))
    instance = ranges.choose_outside(ranges.choose(stores.choose(instance, providers), providers), providers)
    instance = autoscaling.choose(addresses.choose(instance, providers), providers)
    instance = node_registration.choose(instance, providers)
    step("This machine has what a cloud needs", lambda: look(instance, node=not no_node))
    if instance.etcd:
        step("etcd answers", lambda: stores.probe(instance, lambda text: click.echo(f"  … {text}")))
    joining = Joining(instance, providers)
    instance = joining.join(instance, node=not no_node)
    identity.keep(instance.root, providers)
    admission.keep(instance.root, providers)
    scheduling.keep(instance.root, providers)
    kubelet_options.keep(instance.root, providers)
    operation.keep(instance.root, providers)
    save(instance)
    prepare.directories(instance)
    kvm.begin(instance.kvm_path)  # takes half a second on a machine without: may go on meanwhile
    step("Certificates", lambda: prepare.certificates(instance))
    joining.share(instance)
    begin(instance, prepare.plan(instance, node=not no_node), began=began, detach=detach)


def begin(instance: Instance, plan: list[Process], *, began: float, detach: bool) -> None:
    """Become the supervisor of the plan's processes, or (`detach`) start one and wait until all is ready."""
    instance.plan_path.write_text(json.dumps([asdict(p) for p in plan], indent=2))
    sys.stdout.flush()
    spent = f"{time.monotonic() - began:.2f}"
    argv = [sys.executable, "-m", "kumo.cli.supervisor", instance.data_dir, spent]
    if detach:
        sys.exit(_detached(instance, argv))
    os.execv(sys.executable, argv)  # the supervisor stays: it must not carry what the preparations needed


def require(fact: facts.Fact) -> None:
    """Raise InstanceError for a fact that is a fault."""
    if fact.level == "fault":
        raise InstanceError(f"{fact.name}: {fact.found}. To fix it: {fact.fix}")


def look(instance: Instance, *, node: bool) -> None:
    """Wait for what a killed supervisor has left, then raise InstanceError unless the instance can run here."""
    leftovers.end_daemons(instance)
    faults = [f for f in facts.before_up(instance, node=node) if f.level == "fault"]
    if faults:
        lines = "\n".join(f"  {f.name}: {f.found}. To fix it: {f.fix}" for f in faults)
        raise InstanceError(f"this machine can't run kumo yet ('kumo doctor' shows every fact):\n{lines}")


def step(text: str, deed: Callable[[], T]) -> T:
    """What the deed gives; it is shown, with its time, once it is done."""
    began = time.monotonic()
    given = deed()
    tick = click.style("✓", fg="green")
    click.echo(f"  {tick} {text:<58} {time.monotonic() - began:5.1f} s")
    return given


def mirror(text: str) -> tuple[str, str]:
    """Host and URL of a mirror given as HOST=URL. Raises InstanceError."""
    host, _, url = text.partition("=")
    if not host or not url.startswith(("http://", "https://")):
        raise InstanceError(f"--mirror {text!r} is not HOST=URL, e.g. --mirror docker.io=http://127.0.0.1:5000")
    if url.startswith("http://") and not url.startswith(("http://127.", "http://localhost", "http://[::1]")):
        raise InstanceError(f"--mirror {text!r}: plain HTTP is allowed for loopback only; use https://")
    return host, url


def _detached(instance: Instance, argv: list[str]) -> int:
    """Start the supervisor in a session of its own, return once it is ready (0) or has ended (its exit code).

    It says what it does on our output and lets go of it when it is ready, which is how we know.
    """
    (instance.run_dir / "ready").unlink(missing_ok=True)
    read, write = os.pipe()
    environment = os.environ | {DETACHED: str(write)}
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, env=environment, start_new_session=True, pass_fds=[write])
    os.close(write)
    try:
        told = os.read(read, 1)
    except KeyboardInterrupt:
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(signal.SIGTERM)
        child.wait()
        return 130
    if told:
        child.returncode = 0  # it lives on: not ours to wait for
        return 0
    return child.wait() or 1
