"""The one domain of this pod: defined, started, asked, stopped; and what it is doing, as an event for virt-handler."""

from __future__ import annotations

import re
import threading
from binascii import b2a_base64
from collections.abc import Callable
from typing import Any

import libvirt

from kumo.kubevirt.common.launcher_options import Options
from kumo.kubevirt.virt_launcher import states
from kumo.kubevirt.virt_launcher.daemon import Daemon
from kumo.kubevirt.virt_launcher.domain import domain_name, domain_xml
from kumo.kubevirt.virt_launcher.log import say
from kumo.kubevirt.virt_launcher.rpc import Refused

Body = dict[str, Any]

_AGENT_TIMEOUT = 5
_MACHINE = re.compile(r"<type[^>]*\bmachine='([^']+)'")
_DISK = re.compile(r"<disk\b.*?</disk>", re.S)
_TARGET = re.compile(r"<target dev='([^']+)'")
_ALIAS = re.compile(r"<alias name='ua-([^']+)'")
_GUEST_INFO = (
    libvirt.VIR_DOMAIN_GUEST_INFO_USERS
    | libvirt.VIR_DOMAIN_GUEST_INFO_OS
    | libvirt.VIR_DOMAIN_GUEST_INFO_TIMEZONE
    | libvirt.VIR_DOMAIN_GUEST_INFO_HOSTNAME
    | libvirt.VIR_DOMAIN_GUEST_INFO_FILESYSTEM
    | libvirt.VIR_DOMAIN_GUEST_INFO_INTERFACES
)


class Guest:
    """Everything that is done to the domain. Methods block, and raise `Refused` or libvirt's error."""

    def __init__(self, namespace: str, name: str, uid: str, changed: Callable[[Body], None]) -> None:
        self.name = domain_name(namespace, name)
        self.uid = uid
        self._changed = changed
        self._daemon: Daemon | None = None
        self._lock = threading.Lock()
        self._agent = False
        self._last: Body | None = None
        self._ran = False
        self._shutdown_requested = False

    def attach(self, daemon: Daemon) -> None:
        """Use that daemon's connection from now on."""
        self._daemon = daemon

    def connected(self, connection: Any) -> None:
        """A new connection: ask for its events, and tell the state, for something may have happened in between."""
        kinds = {
            libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE: self._on_event,
            libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE: self._on_agent,
            libvirt.VIR_DOMAIN_EVENT_ID_REBOOT: self._on_reboot,
            libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON: self._on_io_error,
        }
        for kind, callback in kinds.items():
            connection.domainEventRegisterAny(None, kind, callback, None)
        domain = self._lookup(connection)
        if domain is not None:
            self._agent = "state='connected'" in domain.XMLDesc(0)
            # Only a libvirtd that was started again finds a domain, and that one has run.
            self._ran = True
            self._publish(domain)

    # -- state ------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> Body:
        """The last known state, without asking anybody."""
        return self._last or {"name": self.name, "uid": self.uid, "status": states.NO_STATE, "reason": "Unknown"}

    @property
    def started(self) -> bool:
        """Whether the domain runs or has run; one that is only defined has not."""
        return self._ran

    @property
    def stopped(self) -> bool:
        """Whether the domain has run and does not any more."""
        return self._ran and self.state["status"] in states.STOPPED

    def _describe(self, domain: Any) -> Body:
        state, reason = domain.state()
        status, why = states.describe(state, reason)
        body: Body = {"name": self.name, "uid": self.uid, "status": status, "reason": why}
        body["agentConnected"] = self._agent and status not in states.STOPPED
        body["shutdownRequested"] = self._shutdown_requested
        try:
            text = domain.XMLDesc(0)
        except libvirt.libvirtError:
            text = ""
        machine = _MACHINE.search(text)
        body["machine"] = machine.group(1) if machine else ""
        body["disks"] = _disk_targets(text)
        return body

    def _publish(self, domain: Any, **more: object) -> None:
        try:
            body = self._describe(domain)
        except libvirt.libvirtError as error:
            say("cannot tell the domain's state", error=str(error))
            return
        self._ran = self._ran or body["status"] not in states.STOPPED
        if not self._ran:
            return  # it failed to start; whoever asked for that is told
        self._last = body
        self._changed({"event": "domain", "domain": body, **more})

    def _on_event(self, _connection: Any, domain: Any, event: int, *_rest: Any) -> None:
        # Before its start a domain is defined, which looks like one that is shut off.
        if event not in (libvirt.VIR_DOMAIN_EVENT_DEFINED, libvirt.VIR_DOMAIN_EVENT_UNDEFINED):
            self._publish(domain)

    def _on_reboot(self, _connection: Any, domain: Any, _opaque: Any) -> None:
        self._publish(domain, reboot=True)

    def _on_agent(self, _connection: Any, domain: Any, state: int, *_rest: Any) -> None:
        self._agent = state == libvirt.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED
        self._publish(domain)

    def _on_io_error(
        self, _connection: Any, domain: Any, path: str, alias: str, action: int, reason: str, *_rest: Any
    ) -> None:
        say("the guest had an I/O error", path=path, device=alias, action=action, reason=reason)
        self._publish(domain, ioError={"path": path, "device": alias, "reason": reason})

    # -- life -------------------------------------------------------------------------------------------------------

    def _lookup(self, connection: Any) -> Any:
        try:
            return connection.lookupByName(self.name)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise

    def _domain(self) -> Any:
        assert self._daemon is not None
        domain = self._lookup(self._daemon.connection)
        if domain is None:
            raise Refused("NoDomain", f"domain {self.name} is not defined")
        return domain

    def start(self, vmi: Body, options: Options) -> Body:
        """Define and start the domain; one that is defined already is left as it is. Gives its state."""
        assert self._daemon is not None
        with self._lock:
            connection = self._daemon.connection
            domain = self._lookup(connection)
            if domain is None:
                domain = connection.defineXML(domain_xml(vmi, options))
                paused = vmi["spec"].get("startStrategy") == "Paused"
                flags = libvirt.VIR_DOMAIN_START_PAUSED if paused else 0
                try:
                    domain.createWithFlags(flags)
                except libvirt.libvirtError:
                    domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM)
                    self._ran, self._last = False, None
                    raise
                say("domain started")
            self._ran = True
            self._last = self._describe(domain)
            return self._last

    def delete(self) -> None:
        """Forget the domain; a running one is destroyed first."""
        domain = self._domain()
        if domain.isActive():
            domain.destroy()
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)

    def shut_down(self) -> None:
        """Press the power button; if it has been pressed before, ask the guest agent too, for not every guest listens.

        A paused guest could not react, so it is resumed; a stopped one is no error.
        """
        domain = self._domain()
        if not domain.isActive():
            return
        again, self._shutdown_requested = self._shutdown_requested, True
        if domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
            _unless_stopped(domain.resume)
        _unless_stopped(lambda: domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN))
        if again and self._agent:
            try:
                domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)
            except libvirt.libvirtError as error:
                say("the guest agent does not shut down", error=str(error))

    def kill(self) -> None:
        """Pull the plug."""
        domain = self._domain()
        if domain.isActive():
            _unless_stopped(lambda: domain.destroyFlags(libvirt.VIR_DOMAIN_DESTROY_GRACEFUL))

    def pause(self) -> None:
        """Stop the virtual CPUs; a paused guest is no error."""
        domain = self._domain()
        if domain.state()[0] != libvirt.VIR_DOMAIN_PAUSED:
            domain.suspend()

    def unpause(self) -> None:
        """Let the virtual CPUs run again, and set the guest's clock if its agent can."""
        domain = self._domain()
        if domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
            domain.resume()
            if self._agent:
                threading.Thread(target=self._set_time, args=(domain,), daemon=True).start()

    def _set_time(self, domain: Any) -> None:
        try:
            domain.setTime(flags=libvirt.VIR_DOMAIN_TIME_SYNC)
        except libvirt.libvirtError as error:
            say("could not set the guest's clock", error=str(error))

    def reboot(self) -> None:
        """Ask the guest to reboot: its agent if there is one, else by ACPI."""
        flags = libvirt.VIR_DOMAIN_REBOOT_GUEST_AGENT if self._agent else libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN
        self._domain().reboot(flags)

    def reset(self) -> None:
        """Press the reset button."""
        self._domain().reset()

    # -- questions --------------------------------------------------------------------------------------------------

    def stats(self) -> Body:
        """`virConnectGetAllDomainStats` of this domain: flat names to numbers and strings."""
        domain = self._domain()
        assert self._daemon is not None
        found = self._daemon.connection.domainListGetStats([domain])
        return dict(found[0][1]) if found else {}

    def agent_info(self) -> Body:
        """What the guest agent tells of users, system, time zone, host name, file systems and interfaces, flat."""
        domain = self._domain()
        if not self._agent:
            raise Refused("AgentNotConnected", "Guest agent is not connected")
        domain.agentSetResponseTimeout(_AGENT_TIMEOUT)
        return dict(domain.guestInfo(_GUEST_INFO, 0))

    def agent_command(self, command: str) -> str:
        """One raw command to the guest agent, JSON in and out."""
        domain = self._domain()
        if not self._agent:
            raise Refused("AgentNotConnected", "Guest agent is not connected")
        import libvirt_qemu  # costs memory, and most guests never need it

        return str(libvirt_qemu.qemuAgentCommand(domain, command, _AGENT_TIMEOUT, 0))

    def screenshot(self) -> Body:
        """The first screen as an image: `{"mime": ..., "data": base64}`."""
        domain = self._domain()
        assert self._daemon is not None
        stream = self._daemon.connection.newStream()
        mime = domain.screenshot(stream, 0)
        chunks: list[bytes] = []
        stream.recvAll(lambda _stream, data, _opaque: chunks.append(data), None)
        stream.finish()
        return {"mime": mime, "data": b2a_base64(b"".join(chunks), newline=False).decode()}


def _unless_stopped(action: Callable[[], object]) -> None:
    """Do it; a domain that has stopped in the meantime is what the caller wanted."""
    try:
        action()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
            raise


def _disk_targets(text: str) -> dict[str, str]:
    """The device (`vda`) of each disk by its volume's name, from the domain's XML as libvirt writes it."""
    found = {}
    for disk in _DISK.findall(text):
        alias, target = _ALIAS.search(disk), _TARGET.search(disk)
        if alias and target:
            found[alias.group(1)] = target.group(1)
    return found
