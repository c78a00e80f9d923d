"""The kubelet's static side: which pods come from manifests, which objects mirror them, and who works on them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from kumo.api.errors import StatusError
from kumo.api.objects import Object, name_of, namespace_of, uid_of
from kumo.kubernetes.kubelet.spec import is_static
from kumo.kubernetes.kubelet.static_pods import Mirrors, StaticPods, ended, mirror_hash
from kumo.machinery.client import Client

_log = structlog.get_logger("kumo.kubelet")
_RETRY = 5.0


def _name(pod: Object) -> str:
    return f"{namespace_of(pod)}/{name_of(pod)}"


class StaticSide:
    """Employs workers for static pods, one after the other under one name, and keeps their mirrors.

    `employ` starts a worker for a pod, `tell` gives the worker of a uid a newer pod; `wake` has it look again.
    """

    def __init__(
        self,
        directory: Path,
        node_name: str,
        client: Client,
        node: Callable[[], Object | None],
        employ: Callable[[Object], object],
        tell: Callable[[Object], None],
        look_again: float = 20.0,
    ) -> None:
        self._pods = StaticPods(directory, node_name, self._changed, look_again)
        self._mirrors = Mirrors(client, node)
        self._employ = employ
        self._tell = tell
        self._working: dict[str, str] = {}
        """The uid of the static pod that a worker works on, by full name."""
        self._known: dict[str, Object] = {}
        """The mirrors that the API server has, by full name."""
        self._unsettled: set[str] = set()
        self._wake = asyncio.Event()

    def objects(self) -> list[Object]:
        """The static pods."""
        return self._pods.objects()

    def uid(self, mirror: Object) -> str:
        """The uid of the static pod that this object mirrors, empty if it mirrors none."""
        return self._working.get(_name(mirror), "") if mirror_hash(mirror) else ""

    def published(self, pod: Object) -> Object | None:
        """The object that shows this pod: itself, or its mirror (None while there is none)."""
        if not is_static(pod):
            return pod
        mirror = self._known.get(_name(pod))
        return mirror if mirror is not None and mirror_hash(mirror) == uid_of(pod) else None

    def saw(self, old: Object | None, new: Object | None) -> bool:
        """The API server's pods have changed; whether it was a mirror, which nobody works on."""
        pod = new if new is not None else old
        if pod is None or not mirror_hash(pod):
            return False
        name = _name(pod)
        if new is not None:
            self._known[name] = new
        else:
            self._known.pop(name, None)
        self._settle(name)
        if old is None and new is not None:
            found = self._pods.get(namespace_of(pod), name_of(pod))
            if found is not None:
                self._tell(found)  # there is somewhere now to write its status to
        return True

    def done(self, uid: str) -> None:
        """Nobody works on that pod any more: the next of its name may begin."""
        for name, working in list(self._working.items()):
            if working == uid:
                del self._working[name]
                self._settle(name)
                namespace, _, plain = name.partition("/")
                following = self._pods.get(namespace, plain)
                if following is not None:
                    self._begin(following)

    async def look(self) -> None:
        """Read the manifests once."""
        await self._pods.look()

    async def run(self) -> None:
        """Follow the manifests and keep the mirrors until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pods.run(), name="manifests")
            group.create_task(self._keep_mirrors(), name="mirrors")

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None:
            self._tell(ended(old))
            self._settle(_name(old))
        if new is not None:
            self._begin(new)

    def _begin(self, pod: Object) -> None:
        name = _name(pod)
        if name not in self._working:
            self._working[name] = uid_of(pod)
            self._employ(pod)
        self._settle(name)

    def _settle(self, name: str) -> None:
        self._unsettled.add(name)
        self._wake.set()

    async def _keep_mirrors(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            names, self._unsettled = self._unsettled, set()
            for name in sorted(names):
                namespace, _, plain = name.partition("/")
                pod = self._pods.get(namespace, plain)
                if pod is not None and self._working.get(name) != uid_of(pod):
                    continue  # the one before it still ends: its mirror stays
                if pod is None and name in self._working:
                    continue
                try:
                    await self._mirrors.settle(pod, self._known.get(name))
                except (StatusError, ConnectionError, OSError, TimeoutError) as error:
                    _log.info("mirror is not as it should be", pod=name, error=str(error))
                    self._unsettled.add(name)
            if self._unsettled and not self._wake.is_set():
                asyncio.get_running_loop().call_later(_RETRY, self._wake.set)
