"""ssh: the local ssh client, tunnelled through port-forward."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import click

from kumo.cli.virt.port_forward import parse_target
from kumo.cli.virt.session import Session, SessionError, namespace_option


def proxy_command(session: Session, kind: str, name: str, namespace: str, port: int) -> str:
    """The command that joins ssh's standard input and output with the guest's ssh port."""
    options = ["--kubeconfig", str(session.kubeconfig)]
    options += ["--context", session.context] if session.context else []
    forward = ["port-forward", "--stdio=true", f"{kind}/{name}/{namespace}", str(port)]
    return shlex.join([sys.executable, "-m", "kumo.cli.main", "virt", *options, *forward])


@click.command("ssh", context_settings={"ignore_unknown_options": False})
@click.argument("target", metavar="[USER@]TYPE/NAME[/NAMESPACE]")
@click.option("-l", "--username", default="", help="Set this to the user you want to open the connection as.")
@click.option("-i", "--identity-file", default="", help="Set the path to a private key used for authenticating.")
@click.option("-p", "--port", type=int, default=22, show_default=True, help="Specify a port on the VM to send to.")
@click.option("-c", "--command", "remote", default="", help="Specify a command to execute in the VM.")
@click.option("-t", "--local-ssh-opts", multiple=True, help="Additional options to be passed to the local ssh.")
@namespace_option
def ssh(
    session: Session,
    target: str,
    username: str,
    identity_file: str,
    port: int,
    remote: str,
    local_ssh_opts: tuple[str, ...],
) -> None:
    """Open a SSH connection to a virtual machine instance."""
    user, at, rest = target.rpartition("@")
    if at and not user:
        raise SessionError("expected username before '@'")
    where = parse_target(rest, session.namespace)
    kind = "vm" if where.resource == "virtualmachines" else "vmi"
    user = user or username or os.environ.get("USER") or os.environ.get("LOGNAME") or ""
    argv = ["ssh", "-o", f"ProxyCommand={proxy_command(session, kind, where.name, where.namespace, port)}"]
    argv += local_ssh_opts
    argv += ["-i", str(Path(identity_file).expanduser())] if identity_file else []
    argv.append(f"{user}@{kind}.{where.name}.{where.namespace}" if user else f"{kind}.{where.name}.{where.namespace}")
    argv += [remote] if remote else []
    sys.exit(subprocess.run(argv, check=False).returncode)
