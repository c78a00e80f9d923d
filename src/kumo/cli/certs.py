"""`kumo certs`: the instance's certificates, when they end, and new ones in their place."""

from __future__ import annotations

import datetime
from dataclasses import fields
from pathlib import Path

import click

from kumo.cli import prepare
from kumo.cli.instance import Instance, InstanceError, load
from kumo.cli.main import data_dir_option
from kumo.machinery import kubeconfig, tls


@click.group("certs", short_help="Show or renew the cluster's certificates.")
def command() -> None:
    """Show when certificates end, and renew them. `kumo up` renews those with less than 30 days left by itself."""


@command.command("list")
@data_dir_option
def listed(data_dir: Path) -> None:
    """List the certificates with the days they have left."""
    from cryptography import x509

    instance = _instance(data_dir)
    now = datetime.datetime.now(datetime.UTC)
    click.echo(f"{'CERTIFICATE':<28} {'EXPIRES':<20} DAYS LEFT")
    for path in sorted((*instance.pki_dir.glob("*.crt"), *instance.pki_dir.glob("*.pem"))):
        end = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
        click.echo(f"{path.stem:<28} {end:%Y-%m-%dT%H:%M:%SZ} {(end - now).days:>9}")


@command.command("renew")
@data_dir_option
def renew(data_dir: Path) -> None:
    """Make every certificate anew (not the CAs), with new keys. A running API server shows its new one at once."""
    instance = _instance(data_dir)
    if instance.joined:
        raise InstanceError(f"{data_dir} is a node of {instance.server}: it has its certificates renewed by itself")
    pki = prepare.certificates(instance)
    pairs = [value for value in (getattr(pki, f.name) for f in fields(pki)) if isinstance(value, tls.KeyPair)]
    for pair in pairs:
        pair.cert.unlink()
    pki = prepare.certificates(instance)
    if instance.kubeconfig.exists():
        kubeconfig.write(
            instance.kubeconfig,
            server=instance.url,
            ca=pki.ca.read_bytes(),
            cert=pki.admin.cert.read_bytes(),
            key=pki.admin.key.read_bytes(),
        )
    click.echo(f"{len(pairs)} certificates renewed; the node's own clients take theirs at the next 'kumo up'")


def _instance(data_dir: Path) -> Instance:
    instance = load(data_dir)
    if instance is None:
        raise InstanceError(f"there is no instance in {data_dir} yet: 'kumo up --data-dir {data_dir}' makes one")
    return instance
