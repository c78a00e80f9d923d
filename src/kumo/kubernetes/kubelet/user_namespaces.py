"""User namespaces of pods (`hostUsers: false`): which range of the machine's user ids stands for a pod's own.

Each pod has 65,536 ids that no other has, kept in the file `userns` of its directory, in upstream's form. The runtime
maps them and what is mounted. Upstream: `pkg/kubelet/userns/userns_manager.go`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from kumo.api.objects import Object, uid_of
from kumo.host.containerd.stubs import cri_pb2 as cri
from kumo.machinery.files import write_file

LENGTH = 65536
_FILE = "userns"
_MOST = (1 << 32) // LENGTH
_POD, _NODE = 0, 2


class UserNamespaces:
    """Gives pods their ranges. `supported` says whether a runtime's handler (empty: the usual one) can map ids, and
    raises OSError for one that is not known."""

    def __init__(self, pods: Path, supported: Callable[[str], Awaitable[bool]]) -> None:
        self._pods = pods
        self._supported = supported
        self._used: dict[str, int] = {}
        """The first id of each pod (its uid)."""
        self._last = 0
        self._loaded = False
        self._one = asyncio.Lock()

    async def first_id(self, pod: Object, handler: str) -> int | None:
        """The first id of the pod's range, None for a pod that has the machine's ids. Raises OSError."""
        if pod["spec"].get("hostUsers") is not False:
            return None
        try:
            able = await self._supported(handler)
        except OSError as error:
            raise OSError(f"{_refusal(handler)}: {error}") from error
        if not able:
            raise OSError(_refusal(handler))
        uid = uid_of(pod)
        async with self._one:
            if not self._loaded:
                self._used |= await asyncio.to_thread(self._read_all)
                self._loaded = True
            if uid not in self._used:
                self._used[uid] = self._free()
                try:
                    await asyncio.to_thread(self._write, uid, self._used[uid])
                except OSError as error:
                    del self._used[uid]
                    raise OSError(f"create user namespace: {error}") from error
            return self._used[uid]

    def known(self, pod: Object) -> int | None:
        """The same, of a pod whose sandbox has been made or described before."""
        return None if pod["spec"].get("hostUsers") is not False else self._used.get(uid_of(pod))

    def release(self, uid: str) -> None:
        """The pod is gone, with its directory's file. Blocking."""
        self._used.pop(uid, None)
        with contextlib.suppress(OSError):
            (self._pods / uid / _FILE).unlink(missing_ok=True)

    def _free(self) -> int:
        taken = set(self._used.values())
        for step in range(1, _MOST):
            first = ((self._last + step - 1) % (_MOST - 1) + 1) * LENGTH
            if first not in taken:
                self._last = first // LENGTH
                return first
        raise OSError("create user namespace: could not find an empty slot to allocate a user namespace")

    def _write(self, uid: str, first: int) -> None:
        (self._pods / uid).mkdir(parents=True, exist_ok=True)
        write_file(self._pods / uid / _FILE, encode(first))

    def _read_all(self) -> dict[str, int]:
        found = {}
        for path in self._pods.glob(f"*/{_FILE}"):
            with contextlib.suppress(ValueError, OSError):
                found[path.parent.name] = decode(path.read_bytes())
        return found


def encode(first: int) -> bytes:
    """The file's content. Pure."""
    mapping = [{"hostId": first, "containerId": 0, "length": LENGTH}]
    return msgspec.json.encode({"uidMappings": mapping, "gidMappings": mapping})


def decode(content: bytes) -> int:
    """The first id that the file tells of. Raises ValueError for what can't be ours."""
    found: Any = msgspec.json.decode(content)
    try:
        (users,), (groups,) = found["uidMappings"], found["gidMappings"]
        first, length, inner = int(users["hostId"]), int(users["length"]), int(users["containerId"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"invalid user namespace mappings file: {error!r}") from error
    if users != groups or inner != 0 or length != LENGTH or first % LENGTH or not 0 < first < 1 << 32:
        raise ValueError("invalid user namespace configuration")
    return first


def map_sandbox(config: cri.PodSandboxConfig, first: int | None) -> cri.PodSandboxConfig:
    """The sandbox's description with that range, or with the machine's ids."""
    _map(config.linux.security_context.namespace_options, first)
    return config


def map_container(config: cri.ContainerConfig, first: int | None) -> cri.ContainerConfig:
    """The container's description with that range, its mounts too: what they hold belongs to the pod's users."""
    _map(config.linux.security_context.namespace_options, first)
    if first is not None:
        for mount in config.mounts:
            mount.uidMappings.append(_mapping(first))
            mount.gidMappings.append(_mapping(first))
    return config


def _map(options: cri.NamespaceOption, first: int | None) -> None:
    options.userns_options.mode = _NODE if first is None else _POD
    if first is not None:
        options.userns_options.uids.append(_mapping(first))
        options.userns_options.gids.append(_mapping(first))


def _mapping(first: int) -> cri.IDMapping:
    return cri.IDMapping(host_id=first, container_id=0, length=LENGTH)


def _refusal(handler: str) -> str:
    whose = f'RuntimeClass handler "{handler}"' if handler else "runtime"
    return f"can't set `spec.hostUsers: false`, {whose} does not support user namespaces"
