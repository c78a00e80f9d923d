"""Further control planes on one etcd: what they must share lies in etcd, sealed by the cluster's token.

The first control plane makes the token (`server-token` in its data directory) and seals; another is given the token and
takes over what it finds. Afterwards each start compares: what was changed here since is shared, what was changed
elsewhere is taken over.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from kumo.cli import shared_files, stores
from kumo.cli.instance import Instance, InstanceError
from kumo.cli.sealing import SealError, ca_of, fingerprint, open_sealed, seal
from kumo.cli.shared_files import Shared
from kumo.store.base import CompareFailed, KeyValue

KEY = "/bootstrap/shared"
TOKEN = "server-token"
_STATE = "shared.json"
"""What was last alike here and in the store: its digest."""
_SHORTEST = 16
_Command = TypeVar("_Command", bound=Callable[..., Any])
T = TypeVar("T")


def options(command: _Command) -> _Command:
    """The option of `kumo up` by which a further control plane joins."""
    return click.option(
        "--server-token",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Be a further control plane on --store: the file server-token of the first one's data directory.",
    )(command)


@dataclass(frozen=True, slots=True)
class Found:
    """What lies in the store, and its revision (0: nothing)."""

    sealed: bytes = b""
    revision: int = 0


class Joining:
    """One start of a control plane: `join` before anything is made, `share` once everything is there."""

    def __init__(self, instance: Instance, given: dict[str, Any]) -> None:
        self._file: Path | None = given["server_token"]
        self._fresh = not (instance.pki_dir / "ca.crt").exists()
        if self._file is not None and not instance.etcd:
            raise InstanceError("--server-token is for --store etcd://...: control planes share nothing but that")

    def join(self, instance: Instance, *, node: bool) -> Instance:
        """Take over what the cluster's control planes share; the instance as it is then.

        Raises InstanceError when the store belongs to another cluster, and without the token that it takes.
        """
        if not instance.etcd:
            return instance
        found = stores.run(_read(instance))
        if not found.revision:
            if self._file is not None and self._fresh:
                raise InstanceError(f"no control plane has begun on {stores.where(instance)}: start the first one")
            return instance
        ca = _told(lambda: ca_of(found.sealed), instance)
        if not self._fresh and fingerprint((instance.pki_dir / "ca.crt").read_bytes()) != ca:
            raise InstanceError(
                f"{stores.where(instance)} holds another cluster than {instance.data_dir}: their CAs differ. Choose "
                f"another prefix (etcd://.../PREFIX), or another --data-dir"
            )
        token = self._token(instance)
        if not token and self._fresh:
            raise InstanceError(
                f"a control plane has begun on {stores.where(instance)} already. To be a further one, copy the file "
                f"{TOKEN} from its data directory to this machine and add --server-token FILE; for a cloud of its own, "
                f"choose another prefix (etcd://.../PREFIX)"
            )
        if not token:
            return instance  # Its files were brought by hand: they are the administrator's affair.
        if self._fresh and node:
            raise InstanceError("a further control plane runs no pods as yet: add --no-node")
        return self._take_over(instance, _opened(found, token, instance), token)

    def _take_over(self, instance: Instance, shared: Shared, token: str) -> Instance:
        base = _base(instance)
        if not self._fresh and base:
            mine = shared_files.collect(instance).digest
            if shared.digest in (mine, base):
                return instance
            if mine != base:
                raise InstanceError(
                    f"what control planes share was changed both here and elsewhere. To take what the others have, "
                    f"remove {instance.root / _STATE} and run kumo up again"
                )
        instance = shared_files.apply(instance, shared)
        _keep(instance.root / TOKEN, token.encode())
        _note(instance, shared)
        return instance

    def share(self, instance: Instance) -> None:
        """Seal what is here into the store, if that has not got it. Raises InstanceError."""
        if not instance.etcd:
            return
        found, token = stores.run(_read(instance)), self._token(instance)
        if found.revision and not token:
            return
        mine, base = shared_files.collect(instance), _base(instance)
        theirs = _opened(found, token, instance).digest if found.revision else base
        if theirs != mine.digest:
            if theirs != base:
                raise InstanceError("another control plane has just changed what they share: run kumo up again")
            token = token or secrets.token_urlsafe(32)
            sealed = seal(mine.encode(), token, fingerprint(mine.files["pki/ca.crt"]))
            if not stores.run(_write(instance, sealed, found.revision)):
                self._leave(instance)
            _keep(instance.root / TOKEN, token.encode())
        _note(instance, mine)

    def _leave(self, instance: Instance) -> None:
        """Another control plane was faster: what was made here is of no cluster. Raises InstanceError."""
        if self._fresh:
            shutil.rmtree(instance.pki_dir, ignore_errors=True)
        raise InstanceError("another control plane began at the same moment: run kumo up again")

    def _token(self, instance: Instance) -> str:
        """The cluster's token: the one that was given, else the one that was kept; empty if there is none."""
        path = self._file or instance.root / TOKEN
        try:
            token = path.read_text().strip()
        except FileNotFoundError:
            return ""
        except (OSError, ValueError) as error:
            raise InstanceError(f"{path} can't be read: {error}") from error
        if len(token) < _SHORTEST:
            raise InstanceError(f"{path} holds no token: it should be one line of at least {_SHORTEST} characters")
        return token


def _opened(found: Found, token: str, instance: Instance) -> Shared:
    plain = _told(lambda: open_sealed(found.sealed, token), instance)
    try:
        return msgspec.json.decode(plain, type=Shared)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise InstanceError(f"what control planes share on {stores.where(instance)} can't be understood") from error


def _told(deed: Callable[[], T], instance: Instance) -> T:
    try:
        return deed()
    except SealError as error:
        raise InstanceError(f"what control planes share on {stores.where(instance)} can't be opened: {error}") from None


async def _read(instance: Instance) -> Found:
    store = stores.open_store(instance)
    await store.start()
    try:
        found: KeyValue | None = await store.get(KEY)
    finally:
        await store.stop()
    return Found(found.value, found.mod_revision) if found is not None else Found()


async def _write(instance: Instance, sealed: bytes, expect: int) -> bool:
    """Whether it was written: only in place of what was read."""
    store = stores.open_store(instance)
    await store.start()
    try:
        await store.put(KEY, sealed, expect=expect)
    except CompareFailed:
        return False
    finally:
        await store.stop()
    return True


def _base(instance: Instance) -> str:
    try:
        return str(json.loads((instance.root / _STATE).read_text())["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _note(instance: Instance, shared: Shared) -> None:
    _keep(instance.root / _STATE, json.dumps({"digest": shared.digest}).encode())


def _keep(path: Path, data: bytes) -> None:
    from kumo.machinery.files import write_file

    write_file(path, data)
