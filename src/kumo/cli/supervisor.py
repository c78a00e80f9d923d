"""The supervisor: runs the processes of an instance's plan, restarts those that die, ends them in order.

`kumo up` becomes this process. It imports the standard library only, because it stays for as long as the cloud does.
Processes report to its datagram socket in JSON: `{"process", "step", "seconds"}` for a step that has been taken,
`{"process", "ready": true}`, `{"process", "waiting"}` for what it waits for, `{"process", "error"}` for a fault that a
restart would not cure.

SIGTERM and SIGINT end the pods and virtual machines too. SIGUSR2 is what systemd's unit sends (`cli/service`): then
too, unless the service is only being restarted.

Children are told to end (SIGTERM) when this process dies, however it dies: nothing is left half-supervised, and no
running container or virtual machine depends on any of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from kumo.cli import systemd
from kumo.cli.instance import Instance, load
from kumo.cli.orphans import end_orphans

DETACHED = "KUMO_DETACHED"
"""In the environment of a detached supervisor: the descriptor to write a byte to once the cloud is ready."""
ALREADY_RUNS = (
    "kumo already runs on {data_dir} (pid {pid}). See it with 'kumo status', end it with 'kumo down'; another instance "
    "needs its own --data-dir and --port"
)
FATAL_EXIT = 78
"""The exit code of a process that a restart would not cure (EX_CONFIG of sysexits.h)."""
BY_SYSTEMD = signal.SIGUSR2
_PR_SET_PDEATHSIG = 1
_QUICK_DEATH_SECONDS = 10.0
_LONGEST_DELAY = 5.0
_TRIES_BEFORE_READY = 3
_LOG_LIMIT = 16 * 1024 * 1024


@dataclass
class Process:
    """A process of the plan and what has become of it.

    `after` names the process that must be ready before this one goes to work. It is started nevertheless, so that its
    preparations overlap; its standard input is a pipe, which ends when its turn has come.
    """

    name: str
    argv: list[str]
    env: dict[str, str]
    after: str
    reports: bool
    """Whether it reports readiness; one that does not is ready once started."""
    stop_signal: int
    child: subprocess.Popen[bytes] | None = None
    turn: int = -1
    """The end that we hold of the pipe that it waits at; -1 when it waits for nobody."""
    ready: bool = False
    started: float = 0.0
    start_at: float = 0.0
    delay: float = 0.0
    restarts: int = 0


@dataclass
class Supervisor:
    """Runs `processes` until told to stop. `out` is where the steps of the start are shown."""

    instance: Instance
    processes: list[Process]
    out: TextIO
    notify: socket.socket = field(init=False)
    began: float = field(default_factory=time.monotonic)
    announced: bool = False
    stopping: bool = False
    leave_pods: bool = False
    """Whether those who stop us want the pods and virtual machines to go on."""
    error: str = ""
    lock: int = -1
    """The descriptor that `take_lock` gave; -1 when there is none."""
    starter: int = -1
    """Where to write a byte once the cloud is ready, if whoever started us waits for that; else -1."""

    def run(self) -> int:
        """Start everything, keep it running, return the exit code once stopped."""
        self._open_notify()
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._asked_to_stop)
        signal.signal(BY_SYSTEMD, self._asked_by_systemd)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poll = select.poll()
        poll.register(self.notify, select.POLLIN)
        poll.register(wake_read, select.POLLIN)
        while not self.stopping:
            self._start_due()
            for fd, _ in poll.poll(self._timeout()):
                if fd == wake_read:
                    os.read(wake_read, 512)
                else:
                    self._receive()
            self._reap()
        self._stop()
        return 1 if self.error else 0

    # -- starting and watching --------------------------------------------------------------------------------------

    def _open_notify(self) -> None:
        path = self.instance.notify_socket
        path.unlink(missing_ok=True)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(path))
        self.notify.setblocking(False)

    def _start_due(self) -> None:
        now = time.monotonic()
        for process in self.processes:
            if process.child is None and now >= process.start_at:
                self._start(process)
        self._give_turns()

    def _give_turns(self) -> None:
        """Tell those whose turn has come. One that had to be started again has had its turn."""
        ready = {p.name for p in self.processes if p.ready}
        for process in self.processes:
            if process.turn >= 0 and (process.after in ready or process.restarts):
                os.close(process.turn)
                process.turn = -1

    def _start(self, process: Process) -> None:
        log = _open_log(self.instance.log_dir / f"{process.name}.log")
        parent = os.getpid()

        def tie_to_parent() -> None:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:  # the supervisor died between fork and prctl
                os._exit(1)

        if process.name == "containerd" and (ended := end_orphans(self.instance.containerd_dir)):
            self._log(f"ended {len(ended)} shims without a task, of a containerd that was killed")
        if process.turn >= 0:  # of one that ended while it waited
            os.close(process.turn)
        stdin, process.turn = os.pipe() if process.after else (os.open(os.devnull, os.O_RDONLY), -1)
        with log, os.fdopen(stdin, "rb") as given:
            process.child = subprocess.Popen(
                process.argv,
                env=systemd.without_notification(os.environ) | process.env,
                stdin=given,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=tie_to_parent,
            )
        process.started = time.monotonic()
        process.ready = not process.reports

    def _timeout(self) -> float | None:
        waiting = [p.start_at for p in self.processes if p.child is None and p.start_at]
        return max(0.0, min(waiting) - time.monotonic()) * 1000 + 1 if waiting else None

    def _receive(self) -> None:
        while True:
            try:
                message: dict[str, Any] = json.loads(self.notify.recv(65536))
            except BlockingIOError:
                return
            except ValueError:
                continue
            if "step" in message and not self.announced:
                self._show(message["step"], float(message.get("seconds") or 0.0))
            if message.get("waiting"):
                self._log(f"{message.get('process')}: {message['waiting']}")
                with contextlib.suppress(OSError):
                    self.instance.waiting_path.write_text(str(message["waiting"]))
                if not self.announced:
                    self._say(f"  … {message['waiting']}")
                    # Who waits for another machine must not hold this one's boot up.
                    systemd.notify("READY=1", f"STATUS={message['waiting']}")
            if message.get("error"):
                self.error = str(message["error"])
            if message.get("ready"):
                for process in self.processes:
                    if process.name == message.get("process"):
                        process.ready = True
                if all(p.ready for p in self.processes):
                    self.instance.waiting_path.unlink(missing_ok=True)
                self._announce_once()

    def _announce_once(self) -> None:
        if self.announced or not all(p.ready for p in self.processes):
            return
        self.announced = True
        took = f"Ready in {time.monotonic() - self.began:.1f} s."
        prefix = "" if self.instance.data_dir == "/var/lib/kumo" else f" --data-dir {self.instance.data_dir}"
        if self.instance.joined:
            self._say(f"\n{took} This machine is node {self.instance.node_name} of {self.instance.server}.\n")
        else:
            self._say(f"\n{took} Try next:\n")
            self._say(f"  export KUBECONFIG={self.instance.kubeconfig}")
            self._say("  kubectl get nodes")
            self._say(f"  export OS_CLIENT_CONFIG_FILE={self.instance.clouds_yaml} OS_CLOUD=kumo")
            self._say("  openstack server list")
        self._say(f"  kumo status{prefix}")
        (self.instance.run_dir / "ready").write_text("")
        systemd.notify("READY=1", f"STATUS={took}")
        if self.starter >= 0:
            self._part_from_starter()

    def _part_from_starter(self) -> None:
        """Leave the output of whoever started us to them, and tell them that the cloud is ready."""
        with _open_log(self.instance.log_dir / "supervisor.log") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        with contextlib.suppress(OSError):
            os.write(self.starter, b"1")
        os.close(self.starter)
        self.starter = -1

    def _show(self, step: str, seconds: float) -> None:
        tick = "\x1b[32m✓\x1b[0m" if self.out.isatty() else "✓"
        self._say(f"  {tick} {step:<58} {seconds:5.1f} s")

    def _log(self, text: str) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        # A full disk must not end the supervisor.
        with contextlib.suppress(OSError), _open_log(self.instance.log_dir / "supervisor.log") as log:
            log.write(f"{stamp} {text}\n".encode())

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError):  # whoever started us may have gone: the cloud goes on
            print(text, file=self.out, flush=True)

    def _reap(self) -> None:
        for process in self.processes:
            if process.child is None or process.child.poll() is None:
                continue
            code = process.child.returncode
            process.child = None
            process.ready = False
            self._receive()
            if not self._ours():
                self.error = (
                    f"{self.instance.data_dir} was removed while the cloud ran; 'kumo reset' is the way to do that"
                )
                self.stopping = True
                return
            if code == FATAL_EXIT:
                log = self.instance.log_dir / f"{process.name}.log"
                self.error = self.error or f"{process.name} can't start; the reason is in {log}"
                self.stopping = True
                return
            if not self.announced and process.restarts >= _TRIES_BEFORE_READY:
                log = self.instance.log_dir / f"{process.name}.log"
                self.error = self.error or f"{process.name} keeps ending before it is ready: {_last_line(log)} ({log})"
                self.stopping = True
                return
            lived = time.monotonic() - process.started
            process.delay = min(max(process.delay * 2, 0.1), _LONGEST_DELAY) if lived < _QUICK_DEATH_SECONDS else 0.0
            process.start_at = time.monotonic() + process.delay
            process.restarts += 1
            self._log(f"{process.name} ended with {code}; starting it again in {process.delay:.1f} s")

    def _ours(self) -> bool:
        """Whether the data directory is still the one whose lock we hold."""
        if self.lock < 0:
            return True
        with contextlib.suppress(OSError):
            return os.path.samestat(os.fstat(self.lock), self.instance.lock_path.stat())
        return False

    # -- stopping ---------------------------------------------------------------------------------------------------

    def _asked_to_stop(self, *_: object) -> None:
        self.stopping = True

    def _asked_by_systemd(self, *_: object) -> None:
        self.stopping = self.leave_pods = True

    def _stop(self) -> None:
        """End the processes in reverse order, each given the time it needs: the node ends its pods and VMs first."""
        if self.error:
            with contextlib.suppress(OSError):
                print(f"kumo: {self.error}", file=sys.stderr, flush=True)
        gently = bool(self.error and not self.announced) or (self.leave_pods and systemd.is_restarting())
        systemd.notify("STOPPING=1", "STATUS=Pods and VMs go on." if gently else "STATUS=Ending pods and VMs.")
        for process in reversed(self.processes):
            child = process.child
            if child is None:
                continue
            child.send_signal(signal.SIGTERM if gently else process.stop_signal)
            try:
                child.wait(120)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.notify.close()
        self.instance.notify_socket.unlink(missing_ok=True)
        (self.instance.run_dir / "ready").unlink(missing_ok=True)
        self.instance.waiting_path.unlink(missing_ok=True)


def _open_log(path: Path) -> Any:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > _LOG_LIMIT:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")


def _last_line(path: Path) -> str:
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - 4096))
        lines = log.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it wrote nothing"


def take_lock(instance: Instance) -> int:
    """The descriptor of the instance's lock, which holds until this process ends. Raises BlockingIOError if held."""
    instance.run_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
    descriptor = os.open(instance.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def lock_holder(instance: Instance) -> int | None:
    """The pid of the supervisor that holds the instance's lock, or None when none runs."""
    try:
        descriptor = os.open(instance.lock_path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.pread(descriptor, 32, 0).split()[0])
    finally:
        os.close(descriptor)
    return None


def read_plan(instance: Instance) -> list[Process]:
    """The processes of the instance's plan file."""
    return [Process(**entry) for entry in json.loads(instance.plan_path.read_text())]


def main() -> int:
    """Run the instance of the directory named by the first argument; the second, if given, is seconds spent so far."""
    instance = load(Path(sys.argv[1]))
    if instance is None:
        print(f"kumo: there is no instance in {sys.argv[1]}", file=sys.stderr)
        return 2
    try:
        lock = take_lock(instance)
    except BlockingIOError:
        message = ALREADY_RUNS.format(data_dir=instance.data_dir, pid=lock_holder(instance))
        print(f"kumo: {message}", file=sys.stderr)
        return 1
    began = time.monotonic() - float(sys.argv[2] if len(sys.argv) > 2 else 0)
    starter = int(os.environ.pop(DETACHED, "-1"))
    return Supervisor(instance, read_plan(instance), sys.stdout, began=began, lock=lock, starter=starter).run()


if __name__ == "__main__":
    sys.exit(main())
