"""`kumo service`: kumo as a service of systemd, started at boot."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import click

from kumo.cli.instance import InstanceError, load
from kumo.cli.main import data_dir_option
from kumo.cli.supervisor import lock_holder
from kumo.host.delegation import has_systemd

_UNIT_DIR = Path("/etc/systemd/system")
_UNIT = """\
[Unit]
Description=kumo private cloud ({data_dir})
# nftables.service empties the kernel's tables when it starts; AppArmor's profiles come before containers ask for them.
After=network-online.target local-fs.target nftables.service apparmor.service dbus.service
Wants=network-online.target

[Service]
Type=notify
ExecStart={program} {verb} --data-dir {data_dir}
Restart=on-failure
RestartSec=2
TimeoutStartSec=600
# Pods and virtual machines are processes of their own; they end by kumo's order, never by systemd's. At this signal
# kumo ends them when the service is stopped, also by a shutdown, and lets them run on when it is restarted.
KillMode=process
KillSignal=SIGUSR2
TimeoutStopSec=180
# A container without memory is that container's business; the cloud itself goes last.
OOMPolicy=continue
OOMScoreAdjust=-999
LimitNOFILE=1048576
TasksMax=infinity

[Install]
WantedBy=multi-user.target
"""


def unit_text(data_dir: Path, program: str, verb: str = "up") -> str:
    """The unit file that runs the instance of `data_dir` with the `kumo` at `program`; `verb` is up or join."""
    return _UNIT.format(data_dir=data_dir, program=program, verb=verb)


def unit_name(data_dir: Path) -> str:
    """The unit's name: `kumo.service` for the default directory, else with the directory's name."""
    return "kumo.service" if data_dir == Path("/var/lib/kumo") else f"kumo-{data_dir.name}.service"


@click.group("service")
def command() -> None:
    """Run kumo as a service of systemd."""


@command.command("install")
@data_dir_option
@click.option("--print", "only_print", is_flag=True, help="Print the unit instead of installing it.")
def install(data_dir: Path, only_print: bool) -> None:
    """Write the unit, enable it and start it."""
    program = Path(sys.argv[0]).absolute()
    instance = load(data_dir.absolute())
    text = unit_text(data_dir.absolute(), str(program), "join" if instance is not None and instance.joined else "up")
    if only_print:
        click.echo(text, nl=False)
        return
    if not has_systemd():
        raise InstanceError("this machine was not started by systemd: run 'kumo up --detach' from its own init instead")
    unit = unit_name(data_dir.absolute())
    holder = lock_holder(instance) if instance is not None else None
    if holder is not None and not _is_active(unit):
        raise InstanceError(
            f"kumo already runs on {data_dir} (pid {holder}), not as a service. End it with 'kumo down', then install "
            f"the service again"
        )
    (_UNIT_DIR / unit).write_text(text)
    _systemctl("daemon-reload")
    _systemctl("enable", "--now", unit)
    click.echo(f"{unit} is installed and started. See it with: systemctl status {unit}")


@command.command("uninstall")
@data_dir_option
def uninstall(data_dir: Path) -> None:
    """Stop the service and remove its unit; the data stays."""
    unit = unit_name(data_dir.absolute())
    path = _UNIT_DIR / unit
    if not path.exists():
        raise InstanceError(f"{path} does not exist: nothing to uninstall")
    _systemctl("disable", "--now", unit)
    path.unlink()
    _systemctl("daemon-reload")
    click.echo(f"{unit} is removed; the data stays in {data_dir}")


def _is_active(unit: str) -> bool:
    return subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode == 0


def _systemctl(*arguments: str) -> None:
    program = shutil.which("systemctl") or "systemctl"
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise InstanceError(
            f"systemctl {' '.join(arguments)} failed: {done.stderr.strip()} (see journalctl -u {arguments[-1]})"
        )
