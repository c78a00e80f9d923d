"""What containerd has of a pod, as plain values: its sandboxes and containers, the newest first."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kumo.host.containerd.cri import RuntimeService
from kumo.host.containerd.rpc import EngineError
from kumo.host.containerd.stubs import cri_pb2 as cri
from kumo.host.containerd.tasks import Tasks
from kumo.kubernetes.kubelet import labels

CREATED, RUNNING, EXITED, UNKNOWN = "created", "running", "exited", "unknown"
_STATES = {
    cri.CONTAINER_CREATED: CREATED,
    cri.CONTAINER_RUNNING: RUNNING,
    cri.CONTAINER_EXITED: EXITED,
    cri.CONTAINER_UNKNOWN: UNKNOWN,
}
User = tuple[int, int, tuple[int, ...]]
"""User, group and supplementary groups."""
_USERS_MAX = 2048
_MESSAGE_LIMIT = 4096
_FALLBACK_LIMIT = 2048


@dataclass(frozen=True, slots=True)
class SandboxState:
    """One sandbox of a pod. Times are seconds since the epoch."""

    id: str
    ready: bool
    created_at: float
    attempt: int
    ips: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerState:
    """One container of a pod, running or not. Times are seconds since the epoch, 0 where there is none."""

    id: str
    name: str
    state: str
    sandbox: str = ""
    created_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    image: str = ""
    image_id: str = ""
    restarts: int = 0
    hash: str = ""
    log_path: str = ""
    user: User | None = None
    """Who its first process is, where that is known."""

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self.state == RUNNING

    @property
    def exited(self) -> bool:
        """Whether its process has ended."""
        return self.state == EXITED


@dataclass(frozen=True, slots=True)
class PodState:
    """A pod in containerd."""

    sandboxes: Sequence[SandboxState] = ()
    containers: Sequence[ContainerState] = ()

    @property
    def sandbox(self) -> SandboxState | None:
        """The newest sandbox, if there is one."""
        return self.sandboxes[0] if self.sandboxes else None

    @property
    def ready_sandbox(self) -> SandboxState | None:
        """The newest sandbox if it is ready."""
        return self.sandboxes[0] if self.sandboxes and self.sandboxes[0].ready else None

    def container(self, name: str) -> ContainerState | None:
        """The newest container of that name."""
        return next((c for c in self.containers if c.name == name), None)

    def history(self, name: str) -> list[ContainerState]:
        """All containers of that name, the newest first."""
        return [c for c in self.containers if c.name == name]

    @property
    def any_running(self) -> bool:
        """Whether any container runs."""
        return any(c.running for c in self.containers)


class Observer:
    """Reads pods' states from containerd. `remember` hears of every id it meets, so that events find their pod.

    `looked` hears how many seconds each look has taken.
    """

    def __init__(
        self,
        runtime: RuntimeService,
        remember: Callable[[str, str], None],
        tasks: Tasks | None = None,
        looked: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._runtime = runtime
        self._remember = remember
        self._tasks = tasks
        self._looked = looked
        self._users: OrderedDict[str, User] = OrderedDict()

    async def observe(self, uid: str) -> PodState:
        """The pod's state now. Raises EngineError when containerd can't be asked."""
        began = time.monotonic()
        wanted = {labels.POD_UID: uid}
        boxes, listed = await asyncio.gather(
            self._runtime.list_sandboxes(wanted), self._runtime.list_containers(wanted)
        )
        sandboxes = await asyncio.gather(*(self._sandbox(b, uid) for b in boxes))
        containers = await asyncio.gather(*(self._container(c.id, uid, c.pod_sandbox_id) for c in listed))
        self._looked(time.monotonic() - began)
        return PodState(
            sorted((s for s in sandboxes if s), key=lambda s: s.created_at, reverse=True),
            sorted((c for c in containers if c), key=lambda c: (c.created_at, c.restarts), reverse=True),
        )

    async def _sandbox(self, listed: cri.PodSandbox, uid: str) -> SandboxState | None:
        self._remember(listed.id, uid)
        try:
            status = (await self._runtime.sandbox_status(listed.id)).status
        except EngineError as error:
            if error.code == "NOT_FOUND":
                return None
            raise
        ips = [status.network.ip, *(a.ip for a in status.network.additional_ips)]
        return SandboxState(
            listed.id,
            status.state == cri.SANDBOX_READY,
            listed.created_at / 1e9,
            listed.metadata.attempt,
            tuple(ip for ip in ips if ip),
        )

    async def _container(self, container: str, uid: str, sandbox: str) -> ContainerState | None:
        self._remember(container, uid)
        try:
            found = await self._runtime.container_status(container)
        except EngineError as error:
            if error.code == "NOT_FOUND":
                return None
            raise
        notes = found.annotations
        state = _STATES.get(found.state, UNKNOWN)
        message = found.message
        if state == EXITED:
            failed = found.exit_code != 0
            written = await asyncio.to_thread(_termination_message, dict(notes), found.log_path, failed)
            message = written or message
        return ContainerState(
            id=container,
            name=found.metadata.name,
            state=state,
            sandbox=sandbox,
            created_at=found.created_at / 1e9,
            started_at=found.started_at / 1e9,
            finished_at=found.finished_at / 1e9,
            exit_code=found.exit_code,
            reason=found.reason,
            message=message,
            image=found.image.image,
            image_id=found.image_ref,
            restarts=int(notes.get(labels.RESTART_COUNT) or 0),
            hash=notes.get(labels.HASH, ""),
            log_path=found.log_path,
            user=_user(found) or (await self._user(container) if state == RUNNING else self._users.get(container)),
        )

    async def _user(self, container: str) -> User | None:
        """Who its first process is, from containerd's own description of the container: older ones don't say by CRI."""
        known = self._users.get(container)
        if known is not None or self._tasks is None:
            return known
        try:
            user = (await self._tasks.spec(container)).get("process", {}).get("user", {})
        except EngineError:
            return None
        uid, gid = int(user.get("uid") or 0), int(user.get("gid") or 0)
        groups = tuple(int(g) for g in user.get("additionalGids") or ())
        found = self._users[container] = uid, gid, groups or (gid,)
        while len(self._users) > _USERS_MAX:
            self._users.popitem(last=False)
        return found


def _user(found: cri.ContainerStatus) -> User | None:
    if not found.HasField("user") or not found.user.HasField("linux"):
        return None
    linux = found.user.linux
    return linux.uid, linux.gid, tuple(linux.supplemental_groups)


def _termination_message(notes: dict[str, str], log_path: str, failed: bool) -> str:
    """What the container left in its termination file, or the end of its log where the policy says so."""
    from kumo.kubernetes.kubelet.logs import last_lines

    path = notes.get(labels.TERMINATION_FILE)
    text = ""
    if path:
        try:
            with Path(path).open("rb") as stream:
                text = stream.read(_MESSAGE_LIMIT).decode(errors="replace")
        except OSError:
            text = ""
    if not text and failed and notes.get(labels.TERMINATION_POLICY) == "FallbackToLogsOnError" and log_path:
        text = last_lines(Path(log_path), 80, _FALLBACK_LIMIT)
    return text
