"""`kumo token`: bootstrap tokens, by which machines join as nodes (`kumo join`), as `kubeadm token`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from kumo.api import bootstrap_tokens
from kumo.cli import bootstrap_token
from kumo.cli.discovery import ca_hash
from kumo.cli.instance import DEFAULT_DATA_DIR, Instance, InstanceError, load
from kumo.cli.main import data_dir_option
from kumo.cli.node_rights import TOKEN_GROUP

if TYPE_CHECKING:
    from kumo.machinery.client import Client

T = TypeVar("T")


@click.group("token", short_help="Make, list and delete the tokens that machines join with.")
def command() -> None:
    """Bootstrap tokens: who holds one may join a machine to the cloud as a node (`kumo join`)."""


@command.command("create")
@click.argument("token", default="")
@data_dir_option
@click.option("--ttl", default="24h0m0s", show_default=True, help="How long it lasts: 24h, 90m, 0 for ever.")
@click.option("--description", default="", help="What it is for.")
@click.option("--usages", default="signing,authentication", show_default=True, help="What it may be used for.")
@click.option("--groups", default=TOKEN_GROUP, show_default=True, help="Groups of who comes with it.")
@click.option("--print-join-command", is_flag=True, help="Print the whole command to type on the other machine.")
def create(
    token: str, data_dir: Path, ttl: str, description: str, usages: str, groups: str, print_join_command: bool
) -> None:
    """Make a token (or use TOKEN) and print it."""
    from kumo.api.resources import SECRETS

    instance = _instance(data_dir)
    made = bootstrap_token.parse(token) if token else bootstrap_token.generate()
    wanted = bootstrap_token.secret(
        made,
        ttl=bootstrap_token.seconds_of(ttl),
        description=description,
        usages=[u for u in usages.split(",") if u],
        groups=[g for g in groups.split(",") if g],
    )

    async def work(client: Client) -> None:
        await client.create(SECRETS, wanted)

    _with_client(instance, work)
    click.echo(join_command(instance, made) if print_join_command else made)


def join_command(instance: Instance, token: bootstrap_token.Token) -> str:
    """What to type on the machine that is to join."""
    pinned = ca_hash((instance.pki_dir / "ca.crt").read_bytes())
    return f"kumo join https://{instance.address}:{instance.port} --token {token} --ca-cert-hash {pinned}"


@command.command("list")
@data_dir_option
def listed(data_dir: Path) -> None:
    """List the tokens."""
    from kumo.api.resources import SECRETS

    async def work(client: Client) -> list[bootstrap_token.Row]:
        selector = f"type={bootstrap_tokens.TYPE}"
        found = (await client.list(SECRETS, bootstrap_tokens.NAMESPACE, field_selector=selector)).items
        return [row for s in found if (row := bootstrap_token.row(s, time.time())) is not None]

    rows = _with_client(_instance(data_dir), work)
    heads = ("TOKEN", "TTL", "EXPIRES", "USAGES", "DESCRIPTION", "EXTRA GROUPS")
    widths = [max(len(r[i]) for r in (heads, *rows)) for i in range(len(heads))]
    for each in (heads, *rows):
        click.echo("   ".join(text.ljust(width) for text, width in zip(each, widths, strict=True)).rstrip())


@command.command("delete")
@click.argument("tokens", nargs=-1, required=True)
@data_dir_option
def delete(tokens: tuple[str, ...], data_dir: Path) -> None:
    """Delete TOKENS, each given whole or by its id."""
    from kumo.api.resources import SECRETS

    ids = [bootstrap_token.id_of(t) for t in tokens]

    async def work(client: Client) -> None:
        for each in ids:
            await client.delete(SECRETS, bootstrap_tokens.secret_name(each), bootstrap_tokens.NAMESPACE)
            click.echo(f'bootstrap token "{each}" deleted')

    _with_client(_instance(data_dir), work)


@command.command("generate")
def generate() -> None:
    """Print a token that nobody can guess, without making it known to any cluster."""
    click.echo(bootstrap_token.generate())


def _instance(data_dir: Path) -> Instance:
    instance = load(data_dir)
    if instance is None or not instance.kubeconfig.exists():
        prefix = "" if data_dir == DEFAULT_DATA_DIR else f" --data-dir {data_dir}"
        raise InstanceError(f"no control plane has begun in {data_dir}: 'kumo up{prefix}' starts one; tokens are its")
    return instance


def _with_client(instance: Instance, work: Callable[[Client], Awaitable[T]]) -> T:
    from kumo.api.errors import StatusError
    from kumo.machinery import kubeconfig
    from kumo.machinery.client import Client

    async def run() -> T:
        transport = kubeconfig.transport(instance.kubeconfig)
        try:
            return await work(Client(transport))
        finally:
            await transport.close()

    try:
        return asyncio.run(run())
    except StatusError as error:
        raise InstanceError(error.message) from error
    except (ConnectionError, TimeoutError) as error:
        raise InstanceError(f"the API server does not answer: {error}") from error
