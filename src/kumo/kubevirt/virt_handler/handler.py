"""virt-handler itself: the shell around the decisions. One key a VMI of this node, reconciled level-triggered."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Coroutine
from typing import Any

import structlog

from kumo.api.objects import Key, Object, key_of, timestamp, uid_of
from kumo.api.resources import VMIS
from kumo.kubevirt.common import names
from kumo.kubevirt.virt_handler import capabilities, heartbeat, prepare, status
from kumo.kubevirt.virt_handler.config import VirtHandlerConfig
from kumo.kubevirt.virt_handler.decisions import STOPPED, Step, decide, phase_of
from kumo.kubevirt.virt_handler.launcher_client import LauncherError, LauncherGone
from kumo.kubevirt.virt_handler.machine import Machine
from kumo.kubevirt.virt_handler.server import Server
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller, Temporary
from kumo.machinery.events import NORMAL, WARNING, EventRecorder
from kumo.machinery.http import Handler
from kumo.machinery.informer import Informers

_log = structlog.get_logger("kumo.virt-handler")

_PHASES = frozenset({names.SCHEDULED, names.RUNNING}) | names.FINAL_PHASES
_LAUNCHER_WAIT = 1.0
_RETRY_MAX = 60.0
_KILL_TIMEOUT = 60.0
_PHASE_EVENTS = {
    names.RUNNING: (NORMAL, "Started", "VirtualMachineInstance started."),
    names.SUCCEEDED: (NORMAL, "Stopped", "The VirtualMachineInstance was shut down."),
    names.FAILED: (WARNING, "Stopped", "The VirtualMachineInstance crashed."),
}


class VirtHandler:
    """The node's KubeVirt agent. `kvm` says whether /dev/kvm runs guests here (`kumo.host.kvm.probe`).

    `handler` serves virt-api on the node's HTTPS port.
    """

    name = "virt-handler"

    def __init__(
        self,
        config: VirtHandlerConfig,
        client: Client,
        informers: Informers,
        recorder: EventRecorder,
        *,
        kvm: bool,
    ) -> None:
        self.config = config
        self._client = client
        self._recorder = recorder
        self._kvm = kvm
        self._machines: dict[Key, Machine] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._vmis = informers.informer(VMIS, label_selector=f"{names.NODE_NAME_LABEL}={config.node}")
        self._controller = Controller(self.name, self.reconcile, workers=8)
        self._controller.watch(self._vmis)
        self.handler: Handler = Server(config, self._find)

    async def run(self) -> None:
        """Run until cancelled. Machines run on then; the next virt-handler finds them again."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(heartbeat.beat(self._client, self.config, kvm=self._kvm), name="heartbeat")
                group.create_task(capabilities.keep(self.config, kvm=self._kvm), name="capabilities")
                group.create_task(self._controller.run(), name=self.name)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for machine in self._machines.values():
                await machine.close()

    def _find(self, key: Key) -> tuple[Object, Machine] | None:
        """The VMI of that name, if it is this node's and its launcher is connected."""
        vmi, machine = self._vmis.get_key(key), self._machines.get(key)
        return (vmi, machine) if vmi is not None and machine is not None else None

    # -- reconcile --------------------------------------------------------------------------------------------------

    async def reconcile(self, key: Key) -> float | None:
        """Make one VMI's domain what it should be, and its status what the domain is."""
        found = self._vmis.get_key(key)
        machine = self._machines.get(key)
        if machine is not None and (found is None or machine.uid != uid_of(found) or not self._is_mine(found)):
            del self._machines[key]
            await machine.close()
            await asyncio.to_thread(machine.forget)
            machine = None
        if found is None or phase_of(found) not in _PHASES or not self._is_mine(found):
            return None
        vmi = copy.deepcopy(found)
        if machine is None:
            pod_uid = _pod_uid(vmi, self.config.node)
            if not pod_uid:
                return None
            machine = self._machines[key] = self._machine(vmi, pod_uid)
        try:
            await machine.client()
        except LauncherGone:
            return await self._without_launcher(vmi, machine)
        return await self._with_launcher(vmi, machine)

    def _is_mine(self, vmi: Object) -> bool:
        return bool((vmi.get("status") or {}).get("nodeName") == self.config.node)

    def _machine(self, vmi: Object, pod_uid: str) -> Machine:
        key = key_of(vmi)
        return Machine(
            key,
            uid_of(vmi),
            pod_uid,
            self.config.volume(pod_uid, "sockets"),
            self.config.records / f"{uid_of(vmi)}.json",
            lambda: self._controller.queue.add(key),
        )

    async def _without_launcher(self, vmi: Object, machine: Machine) -> float | None:
        """Nobody listens on the launcher's socket: it has not come up yet, or it is gone with its guest."""
        phase = phase_of(vmi)
        if phase in names.FINAL_PHASES:
            return None
        if phase == names.SCHEDULED and not (machine.domain or {}).get("status"):
            self._await_launcher(machine)
            return _LAUNCHER_WAIT
        ended = (machine.domain or {}).get("status") in STOPPED
        await self._write_status(vmi, machine, phase="" if ended else names.FAILED)
        return None

    async def _with_launcher(self, vmi: Object, machine: Machine) -> float | None:
        decision = decide(vmi, machine.domain, time.time())
        again, error = decision.again, ""
        if decision.step is Step.START:
            error = await self._start(vmi, machine)
            again = self._backoff(machine) if error else None
        elif decision.step is Step.SHUT_DOWN:
            await self._call(machine, "Shutdown")
            self._once(vmi, machine, NORMAL, "ShuttingDown", "Signaled Graceful Shutdown")
        elif decision.step is Step.KILL:
            await self._call(machine, "Kill", _KILL_TIMEOUT)
            self._once(vmi, machine, NORMAL, "Deleted", "VirtualMachineInstance stopping")
        elif decision.step is Step.FORGET:
            # The end of the domain is written down, so the launcher may go.
            await self._call(machine, "Delete")
            self._once(vmi, machine, NORMAL, "Deleted", "Signaled Deletion")
            return None
        if (machine.domain or {}).get("agentConnected"):
            self._ask_agent(machine)
            again = self.config.agent_interval if again is None else min(again, self.config.agent_interval)
        await self._write_status(vmi, machine, error)
        return again

    def _backoff(self, machine: Machine) -> float:
        machine.failures += 1
        return float(min(2.0 ** min(machine.failures - 1, 30), _RETRY_MAX))

    async def _start(self, vmi: Object, machine: Machine) -> str:
        """Have the domain started; why not, if it could not be."""
        try:
            created = await prepare.start(vmi, machine, self._client, kvm=self._kvm, tun=str(self.config.tun))
        except LauncherGone:
            raise
        except (*prepare.Unable, LauncherError, OSError, TimeoutError, ValueError) as failure:
            error = str(failure) or repr(failure)
            _log.warning("could not start the domain", vmi=str(machine.key), error=error)
            self._recorder.event(vmi, WARNING, "SyncFailed", error)
            return error
        machine.failures = 0
        if created:
            self._recorder.event(vmi, NORMAL, "Created", "VirtualMachineInstance defined.")
            _log.info("domain started", vmi=str(machine.key), kvm=self._kvm)
        return ""

    async def _call(self, machine: Machine, method: str, timeout: float = 30.0) -> None:
        """Ask the launcher for something that is done already when there is no domain any more."""
        try:
            await (await machine.client()).call(method, timeout=timeout)
        except LauncherError as error:
            if error.code != "NoDomain":
                raise Temporary(f"{method}: {error}", 2.0) from error

    def _once(self, vmi: Object, machine: Machine, kind: str, reason: str, message: str) -> None:
        if message not in machine.events:
            machine.events.add(message)
            self._recorder.event(vmi, kind, reason, message)

    def _await_launcher(self, machine: Machine) -> None:
        """Look at the VMI again as soon as its launcher listens."""

        async def wait() -> None:
            try:
                await machine.appearance(_LAUNCHER_WAIT)
            except OSError:
                return  # the pod's volumes are not there: the slow way is quick enough
            self._controller.queue.add(machine.key)

        self._in_background(wait(), "launcher's socket")

    def _in_background(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _ask_agent(self, machine: Machine) -> None:
        """Ask the guest agent in the background if its answer is old; a guest may take its time."""
        now = time.monotonic()
        if machine.agent_asked and now - machine.agent_asked < self.config.agent_interval:
            return
        machine.agent_asked = now
        self._in_background(self._agent(machine), "guest agent")

    async def _agent(self, machine: Machine) -> None:
        try:
            machine.agent = (await (await machine.client()).call("GetGuestInfo"))["info"]
        except (LauncherError, LauncherGone, TimeoutError) as error:
            _log.debug("the guest agent did not answer", vmi=str(machine.key), error=str(error))
            return
        self._controller.queue.add(machine.key)

    # -- status -----------------------------------------------------------------------------------------------------

    async def _write_status(self, vmi: Object, machine: Machine, error: str = "", phase: str = "") -> None:
        interface = await asyncio.to_thread(machine.interface)
        view = status.View(
            domain=machine.domain,
            pod_ip=interface.address if interface else "",
            macs=prepare.macs(vmi, interface),
            agent=machine.agent,
            sizes=machine.sizes,
            error=error,
            phase=phase,
        )
        new: dict[str, Any] = status.updated(vmi, view, timestamp())
        if new == (vmi.get("status") or {}):
            return
        before = phase_of(vmi)
        await self._client.update(VMIS, {**vmi, "status": new})
        if new.get("phase") != before and new.get("phase") in _PHASE_EVENTS:
            self._recorder.event(vmi, *_PHASE_EVENTS[new["phase"]])


def _pod_uid(vmi: Object, node: str) -> str:
    """The uid of the VMI's pod on that node, or the empty string."""
    active = (vmi.get("status") or {}).get("activePods") or {}
    return next((str(uid) for uid, where in active.items() if where == node), "")
