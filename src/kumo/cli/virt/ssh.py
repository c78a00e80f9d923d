"""ssh: the local ssh client, tunnelled through port-forward."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping

import click

from kumo.cli.virt import port_forward
from kumo.cli.virt.flags import INTEGER, Command
from kumo.cli.virt.session import Session, SessionError, session_options


def proxy_command(session: Session, kind: str, name: str, namespace: str, port: int) -> str:
    """The command that joins ssh's standard input and output with the guest's ssh port."""
    options = ["--kubeconfig", str(session.kubeconfig)]
    options += ["--context", session.context] if session.context else []
    forward = ["port-forward", "--stdio=true", f"{kind}/{name}/{namespace}", str(port)]
    return shlex.join([sys.executable, "-m", "kumo.cli.main", "virt", *options, *forward])


def parse_target(text: str, namespace: str) -> tuple[str, port_forward.Target]:
    """`[user@]type/name[/namespace]`: the user, if any, and the rest. Raises SessionError."""
    user, at, rest = text.partition("@")
    if not at:
        return "", port_forward.parse_target(text, namespace)
    if not user:
        raise SessionError("expected username before '@'")
    if not rest:
        raise SessionError("expected target after '@'")
    return user, port_forward.parse_target(rest, namespace)


def default_user(environment: Mapping[str, str]) -> str:
    """Who the local user is; empty when nobody says."""
    return next((environment[v] for v in ("USER", "USERNAME", "LOGNAME") if environment.get(v)), "")


@click.command("ssh", cls=Command)
@click.argument("target", metavar="[USER@]TYPE/NAME[/NAMESPACE]")
@click.option("-l", "--username", default="", help="Set this to the user you want to open the connection as.")
@click.option("-i", "--identity-file", default="", help="Set the path to a private key used for authenticating.")
@click.option("--known-hosts", default="", help="Accepted, and left to the local ssh client's options, as in virtctl.")
@click.option("-p", "--port", type=INTEGER, default=22, show_default=True, help="Specify a port on the VM to send to.")
@click.option("-c", "--command", "remote", default="", help="Specify a command to execute in the VM.")
@click.option("-t", "--local-ssh-opts", multiple=True, help="Additional options to be passed to the local ssh.")
@session_options
def ssh(
    session: Session,
    target: str,
    username: str,
    identity_file: str,
    known_hosts: str,
    port: int,
    remote: str,
    local_ssh_opts: tuple[str, ...],
) -> None:
    """Open a SSH connection to a virtual machine instance."""
    named, where = parse_target(target, session.namespace)
    kind = "vm" if where.resource == "virtualmachines" else "vmi"
    user = named or username or default_user(os.environ)
    argv = ["ssh", "-o", f"ProxyCommand={proxy_command(session, kind, where.name, where.namespace, port)}"]
    argv += local_ssh_opts
    argv += ["-i", identity_file] if identity_file else []
    argv.append(f"{user}@{kind}.{where.name}.{where.namespace}" if user else f"{kind}.{where.name}.{where.namespace}")
    argv += [remote] if remote else []
    try:
        code = subprocess.run(argv, check=False).returncode
    except FileNotFoundError as error:
        raise SessionError('exec: "ssh": executable file not found in $PATH') from error
    if code:
        # The remote command's own exit code is in the message only, as in virtctl.
        raise SessionError(f"signal: {signal.strsignal(-code)}" if code < 0 else f"exit status {code}")
