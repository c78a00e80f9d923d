"""Which store an instance has: the file in its data directory, or etcd. Chosen at first start, and remembered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from kumo.api.errors import StatusError
from kumo.cli.instance import Instance, InstanceError
from kumo.store.base import KeyValue, OutcomeUnknown, Store, StoreError, Unreachable
from kumo.store.etcd.address import EtcdAddress, parse
from kumo.store.transfer import Head, SqliteDump

_Command = TypeVar("_Command", bound=Callable[..., Any])
T = TypeVar("T")
SQLITE = "sqlite"
_TRY_SECONDS = 2.0
_RETRY_SECONDS = 0.5
"""While etcd is waited for: how long one attempt takes, and the pause between two."""


def tls_options(command: _Command) -> _Command:
    """The options that say how one proves oneself to etcd."""
    for name, text in (
        ("--store-key", "Key of --store-cert."),
        ("--store-cert", "Certificate that proves us to etcd."),
        ("--store-ca", "CA of etcd's certificates. Without it the connection is not encrypted."),
    ):
        command = click.option(name, type=click.Path(exists=True, dir_okay=False, path_type=Path), help=text)(command)
    return command


def options(command: _Command) -> _Command:
    """The options of `kumo up` about the store."""
    store = click.option(
        "--store",
        metavar="URL",
        help="Where the cloud's objects are kept: etcd://HOST:PORT,HOST:PORT,... Remembered.  [default: a file]",
    )
    return store(tls_options(command))


def settings(url: str, given: dict[str, Any]) -> dict[str, str]:
    """What `instance.json` remembers of a store; empty for the file. Raises InstanceError."""
    files = {name: given.get(f"store_{name}") for name in ("ca", "cert", "key")}
    if url == SQLITE:
        return {}
    found = {name: path.absolute() for name, path in files.items() if path is not None}
    try:
        address = parse(url, ca=found.get("ca"), cert=found.get("cert"), key=found.get("key"))
    except ValueError as error:
        raise InstanceError(f"--store: {error}") from None
    return {"url": str(address), **{name: str(path) for name, path in found.items()}}


def choose(instance: Instance, given: dict[str, Any]) -> Instance:
    """The instance with the store that was asked for. Raises InstanceError for a store other than its data is in."""
    url = given.get("store") or instance.etcd.get("url", "")
    if not given.get("store") and not any(given.get(f"store_{name}") for name in ("ca", "cert", "key")):
        return instance
    if not url:
        raise InstanceError("--store-ca, --store-cert and --store-key are for --store etcd://...")
    wanted = settings(url, given)
    if wanted and instance.etcd:
        old, new = address(instance), _address(wanted)
        assert old is not None
        # Members come and go; a list that shares none with the old one, or another prefix, is another store.
        if old.prefix == new.prefix and set(old.endpoints) & set(new.endpoints):
            kept = {name: path for name, path in instance.etcd.items() if name != "url" and new.ca is None}
            return replace(instance, etcd=kept | wanted)
    elif not wanted and not instance.etcd:
        return instance
    elif not instance.etcd and not instance.store_path.exists():
        return replace(instance, etcd=wanted)
    raise InstanceError(
        f"the objects of {instance.data_dir} are in {where(instance)}. To move them, stop the cloud and run "
        f"'kumo store migrate --to {url}'; to start an empty cloud, choose another --data-dir"
    )


def _address(found: dict[str, str]) -> EtcdAddress:
    files = {name: Path(found[name]) for name in ("ca", "cert", "key") if name in found}
    try:
        return parse(found["url"], **files)
    except ValueError as error:
        raise InstanceError(f"the store in instance.json: {error}") from None


def address(instance: Instance) -> EtcdAddress | None:
    """Where the instance's etcd is; None when its store is a file."""
    return _address(instance.etcd) if instance.etcd else None


def where(instance: Instance) -> str:
    """The store in words."""
    return instance.etcd["url"] if instance.etcd else f"the file {instance.store_path}"


def open_store(instance: Instance, *, patience: float = 8.0) -> Store:
    """The instance's store, not started yet. gRPC is imported only for etcd, whose requests take up to `patience` s."""
    if instance.joined:
        raise InstanceError(f"{instance.data_dir} is a node of {instance.server}: the objects are there")
    found = address(instance)
    if found is not None:
        from kumo.store.etcd.engine import EtcdStore

        return EtcdStore(found, patience=patience)
    from kumo.store.sqlite import SqliteStore

    return SqliteStore(instance.store_path)


async def answers(instance: Instance, say: Callable[[str], object]) -> None:
    """Return once the store can be used. What may pass is told to `say`, once for each reason, and waited for.

    Raises StoreError for what does not pass by itself: certificates, credentials, data that is not ours.
    """
    said = ""
    while instance.etcd:
        store = open_store(instance, patience=_TRY_SECONDS)
        try:
            await store.start()
        except Unreachable as error:
            if str(error) != said:
                said = str(error)
                say(f"waiting for the store: {said}")
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            await store.stop()
            return


async def patiently(instance: Instance, say: Callable[[str], object], deed: Callable[[], Awaitable[T]]) -> T:
    """What `deed` returns; it is tried again whenever it ends because etcd did not answer. Raises what else it does."""
    while True:
        await answers(instance, say)
        try:
            return await deed()
        except (Unreachable, OutcomeUnknown, StatusError) as error:
            if not instance.etcd or (isinstance(error, StatusError) and error.code < 500):
                raise
            say(f"waiting for the store: {error}")
            await asyncio.sleep(_RETRY_SECONDS)


def probe(instance: Instance, say: Callable[[str], object]) -> None:
    """Wait until etcd can be used (see `answers`). Raises InstanceError with the reason why it can't ever."""
    run(answers(instance, say))


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine; what a store refuses becomes one line for the user (InstanceError)."""
    try:
        return asyncio.run(work)
    except StoreError as error:
        raise InstanceError(str(error)) from error


@dataclass(slots=True)
class Dump:
    """All data of a store as of one revision. The leases in `head` are complete when the batches are at their end."""

    head: Head
    batches: AsyncIterator[list[KeyValue]]


@asynccontextmanager
async def dump(instance: Instance) -> AsyncIterator[Dump]:
    """Read the instance's store, which may be in use. Raises StoreError."""
    found = address(instance)
    if found is None:
        file = SqliteDump(instance.store_path)

        async def batches() -> AsyncIterator[list[KeyValue]]:
            for batch in file.batches():
                yield batch

        try:
            yield Dump(file.head, batches())
        finally:
            file.close()
        return
    from kumo.store.etcd import transfer
    from kumo.store.etcd.engine import EtcdStore

    store = EtcdStore(found)
    await store.start()
    try:
        head = await transfer.read_head(store)
        yield Dump(head, transfer.batches(store, head))
    finally:
        await store.stop()
