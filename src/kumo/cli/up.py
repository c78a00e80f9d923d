"""`kumo up`: look at the machine, prepare the instance, and become its supervisor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import click

from kumo.cli import facts, prepare
from kumo.cli.instance import Instance, InstanceError, open_or_create, save
from kumo.cli.main import data_dir_option
from kumo.cli.supervisor import lock_holder
from kumo.host import kvm

DETACHED = "KUMO_DETACHED"
"""Set in the environment of a supervisor that must let go of its output once the cloud is ready."""


@click.command("up")
@data_dir_option
@click.option("--port", type=click.IntRange(1, 65534), help="Port of the API server.  [default: 6443]")
@click.option("--node-name", default="", help="Name of this machine's node.  [default: the host name]")
@click.option("--no-node", is_flag=True, help="Run the control plane alone: no pods and no VMs on this machine.")
@click.option(
    "--mirror", "mirrors", multiple=True, metavar="HOST=URL", help="Pull images of HOST from URL. Repeatable."
)
@click.option("--detach", is_flag=True, help="Return when the cloud is ready; it goes on in the background.")
def command(
    data_dir: Path, port: int | None, node_name: str, no_node: bool, mirrors: tuple[str, ...], detach: bool
) -> None:
    """Turn this machine into a cloud, and keep it running until interrupted (or, with --detach, in the background)."""
    began = time.monotonic()
    _require(facts.user())
    instance = open_or_create(data_dir, port=port, node_name=node_name)
    holder = lock_holder(instance)
    if holder is not None:
        raise InstanceError(
            f"kumo already runs on {instance.data_dir} (pid {holder}). See it with 'kumo status', end it with "
            f"'kumo down'; another instance needs its own --data-dir and --port"
        )
    if detach:
        sys.exit(_detach(instance, no_node, mirrors))
    if mirrors:
        instance = replace(instance, mirrors=instance.mirrors | dict(_mirror(m) for m in mirrors))
        save(instance)
    _look(instance, node=not no_node)
    prepare.directories(instance)
    kvm.begin(instance.kvm_path)  # takes half a second on a machine without: may go on meanwhile
    _step("Certificates", lambda: prepare.certificates(instance))
    plan = prepare.plan(instance, node=not no_node)
    instance.plan_path.write_text(json.dumps([asdict(p) for p in plan], indent=2))
    sys.stdout.flush()
    spent = f"{time.monotonic() - began:.2f}"
    argv = [sys.executable, "-m", "kumo.cli.supervisor", instance.data_dir, spent]
    os.execv(sys.executable, argv)  # the supervisor stays: it must not carry what the preparations needed


def _require(fact: facts.Fact) -> None:
    if fact.level == "fault":
        raise InstanceError(f"{fact.name}: {fact.found}. To fix it: {fact.fix}")


def _look(instance: Instance, *, node: bool) -> None:
    def check() -> None:
        faults = [f for f in facts.before_up(instance, node=node) if f.level == "fault"]
        if faults:
            lines = "\n".join(f"  {f.name}: {f.found}. To fix it: {f.fix}" for f in faults)
            raise InstanceError(f"this machine can't run kumo yet:\n{lines}\n'kumo doctor' shows every fact")

    _step("This machine has what a cloud needs", check)


def _step(text: str, deed: object) -> None:
    began = time.monotonic()
    deed()  # type: ignore[operator]
    tick = click.style("✓", fg="green")
    click.echo(f"  {tick} {text:<58} {time.monotonic() - began:5.1f} s")


def _mirror(text: str) -> tuple[str, str]:
    host, _, url = text.partition("=")
    if not host or not url.startswith(("http://", "https://")):
        raise InstanceError(f"--mirror {text!r} is not HOST=URL, e.g. --mirror docker.io=http://127.0.0.1:5000")
    if url.startswith("http://") and not url.startswith(("http://127.", "http://localhost", "http://[::1]")):
        raise InstanceError(f"--mirror {text!r}: plain HTTP is allowed for loopback only; use https://")
    return host, url


def _detach(instance: Instance, no_node: bool, mirrors: tuple[str, ...]) -> int:
    """Start `kumo up` in a session of its own and show what it says until the cloud is ready."""
    argv = [sys.executable, "-m", "kumo.cli.main", "up", "--data-dir", instance.data_dir]
    argv += ["--no-node"] if no_node else []
    argv += [a for m in mirrors for a in ("--mirror", m)]
    instance.log_dir.mkdir(parents=True, exist_ok=True)
    ready = instance.run_dir / "ready"
    ready.unlink(missing_ok=True)
    with (instance.log_dir / "supervisor.log").open("ab") as log:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if sys.stderr.isatty() else log,
            env=os.environ | {DETACHED: "1"},
            start_new_session=True,
            text=True,
        )
    assert child.stdout is not None
    for line in child.stdout:
        click.echo(line, nl=False)
    if ready.exists():
        return 0
    code = child.wait()
    if code:
        click.echo((instance.log_dir / "supervisor.log").read_text().rstrip().rsplit("\n", 1)[-1], err=True)
    return code or 1
