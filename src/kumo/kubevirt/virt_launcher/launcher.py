"""The launcher's life: ready for virt-handler, the guest's run, the end - and what each request does.

The process ends when the domain has ended and virt-handler has seen it (it asks to delete the domain), or some time
later if no virt-handler asks. SIGTERM presses the guest's power button, again every five seconds since a guest that
boots may miss it, and pulls the plug when the grace period is over.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from kumo.host import libvirt_guest
from kumo.kubevirt.common import launcher_contract as contract
from kumo.kubevirt.common import launcher_options
from kumo.kubevirt.virt_launcher import dhcp_server, files, states
from kumo.kubevirt.virt_launcher.children import Children
from kumo.kubevirt.virt_launcher.daemon import Daemon
from kumo.kubevirt.virt_launcher.guest import Guest
from kumo.kubevirt.virt_launcher.log import say
from kumo.kubevirt.virt_launcher.rpc import Body, Refused, Server
from kumo.kubevirt.virt_launcher.settings import Settings

FINAL_WAIT = 30.0
"""Seconds that the launcher stays after the guest's end for a virt-handler that has not seen it (as upstream)."""
SHUTDOWN_RETRY = 5.0


class Launcher:
    """One virtual machine from its pod's start to its end."""

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        self._settings = settings
        self._environment = dict(environment)
        self._wake = threading.Condition()
        self._terminate = False
        self._deleted = False
        self._syncing = threading.Lock()
        self._serving_dhcp = False
        self.guest = Guest(settings.namespace, settings.name, settings.uid, self._changed)
        self._children = Children()
        self._server = Server(contract.LAUNCHER_SOCKET, self._call, self._greeting)
        self._methods: dict[str, Callable[[Body], Body]] = {
            "Ping": lambda _params: {},
            "SyncVirtualMachine": self._sync,
            "PauseVirtualMachine": lambda _params: self._do(self.guest.pause),
            "UnpauseVirtualMachine": lambda _params: self._do(self.guest.unpause),
            "SoftReboot": lambda _params: self._do(self.guest.reboot),
            "Reset": lambda _params: self._do(self.guest.reset),
            "Shutdown": lambda _params: self._do(self.guest.shut_down),
            "Kill": lambda _params: self._do(self.guest.kill),
            "Delete": self._delete,
            "GetDomain": lambda _params: {"domain": self.guest.state},
            "GetDomainStats": lambda _params: {"stats": self.guest.stats()},
            "GetGuestInfo": lambda _params: {"info": self.guest.agent_info()},
            "AgentCommand": lambda params: {"answer": self.guest.agent_command(params["command"])},
            "Screenshot": lambda _params: self.guest.screenshot(),
        }

    # -- life -------------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Run to the end of the guest; the exit code: 0 after an orderly end, 1 after a crash or without a guest."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        os.makedirs(contract.instance_dir(self._settings.uid), exist_ok=True)
        self._server.start()
        paths = libvirt_guest.SessionPaths(
            self._environment["XDG_CONFIG_HOME"],
            self._environment["XDG_CACHE_HOME"],
            self._environment["XDG_RUNTIME_DIR"],
        )
        with open("/proc/sys/kernel/random/uuid") as source:
            # A machine id of this pod's own: libvirt refuses to migrate between daemons of the same.
            libvirt_guest.prepare(paths, source.read().strip(), contract.CAPABILITIES_DIR)
        daemon = Daemon(self._children, paths, self.guest.connected)
        self.guest.attach(daemon)
        daemon.start()
        say("waiting for virt-handler", socket=contract.LAUNCHER_SOCKET)
        if not self._wait_for_start():
            return 1
        self._wait_for_stop()
        self._wait_for_delete()
        state = self.guest.state
        say("the guest has ended", status=state["status"], reason=state["reason"])
        return 1 if state["reason"] in states.ABNORMAL else 0

    def _wait(self, until: Any, timeout: float | None) -> bool:
        with self._wake:
            return bool(self._wake.wait_for(until, timeout))

    def _wait_for_start(self) -> bool:
        self._wait(lambda: self.guest.started or self._terminate or self._deleted, self._settings.qemu_timeout)
        if self.guest.started:
            return True
        if not self._terminate and not self._deleted:
            say("no guest was started in time", seconds=self._settings.qemu_timeout)
        return False

    def _wait_for_stop(self) -> None:
        self._wait(lambda: self.guest.stopped or self._terminate or self._deleted, None)
        deadline = time.monotonic() + self._settings.grace_period
        while not (self.guest.stopped or self._deleted):
            left = deadline - time.monotonic()
            self._attempt(self.guest.shut_down if left > 0 else self.guest.kill)
            self._wait(lambda: self.guest.stopped or self._deleted, min(SHUTDOWN_RETRY, max(left, 1.0)))
            if left < -FINAL_WAIT:
                say("the guest does not die; leaving it to the kernel")
                return

    def _wait_for_delete(self) -> None:
        if self._terminate and not self._server.connected():
            return  # the node ends, virt-handler before the pods: nobody will ask for the guest's last state
        self._wait(lambda: self._deleted, FINAL_WAIT)

    def _attempt(self, action: Any) -> None:
        try:
            action()
        except Exception as error:  # whatever libvirt says, the next try or the plug follows
            say("could not stop the guest", error=str(error))

    def _on_signal(self, _number: int, _frame: object) -> None:
        # A handler runs in the main thread, which may hold the condition's lock: let another thread take it.
        threading.Thread(target=self._mark_terminated, daemon=True).start()

    def _mark_terminated(self) -> None:
        say("asked to terminate")
        with self._wake:
            self._terminate = True
            self._wake.notify_all()

    def _changed(self, event: Body) -> None:
        state = event["domain"]
        say("domain", status=state["status"], reason=state["reason"], agent=state["agentConnected"])
        self._server.publish(event)
        with self._wake:
            self._wake.notify_all()

    # -- requests ---------------------------------------------------------------------------------------------------

    def _greeting(self) -> Body:
        return {"event": "domain", "domain": self.guest.state}

    def _call(self, method: str, params: Body) -> Body:
        handler = self._methods.get(method)
        if handler is None:
            raise Refused("UnknownMethod", f"no such method: {method}")
        return handler(params)

    def _do(self, action: Any) -> Body:
        action()
        return {}

    def _sync(self, params: Body) -> Body:
        """Start the domain of `vmi` with `options` unless it has been started; the answer holds its state."""
        vmi: Body = params["vmi"]
        if vmi["metadata"]["uid"] != self._settings.uid:
            raise Refused("WrongInstance", f"this is the launcher of {self._settings.uid}")
        if self._terminate:
            raise Refused("Terminating", "the launcher is shutting down")
        with self._syncing:
            if self.guest.started:
                return {"created": False, "domain": self.guest.state}
            options = launcher_options.from_json(params["options"])
            volumes = files.prepare(options.volumes, lambda argv: self._children.run(argv, self._environment))
            if not self._serving_dhcp:
                for lease in options.leases:
                    dhcp_server.start(lease)
                self._serving_dhcp = True
            state = self.guest.start(vmi, options._replace(volumes=volumes))
        with self._wake:
            self._wake.notify_all()
        return {"created": True, "domain": state}

    def _delete(self, _params: Body) -> Body:
        if self.guest.started:
            try:
                self.guest.delete()
            except Refused:
                say("there is no domain to delete")
        with self._wake:
            self._deleted = True
            self._wake.notify_all()
        return {}
