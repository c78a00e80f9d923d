"""Running code inside another network namespace.

A network namespace belongs to a thread (setns(2)), so the function runs in a thread of its own, which ends with it:
no other work of the process can ever find itself in the wrong namespace.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000


def enter_netns(path: str | Path) -> None:
    """Move the calling thread into the namespace at `path`, for good. Raises OSError.

    Call it only in a thread made for the purpose: see `run_in_netns`.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(fd, _CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"can't enter the network namespace: {os.strerror(code)}", str(path))
    finally:
        os.close(fd)


def run_in_netns(path: str | Path, function: Callable[[], T]) -> T:
    """What `function()` returns (or raises) when it runs inside the network namespace at `path`. Blocks.

    Sockets that it opens stay in that namespace and may be used from anywhere afterwards. `/proc/sys/net` shows the
    namespace's own values while it runs. Raises OSError when there is no such namespace.
    """
    result: list[T] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            enter_netns(path)
            result.append(function())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work, name="netns")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


def connect_in_netns(path: str | Path, hosts: Sequence[str], port: int, *, timeout: float = 10.0) -> socket.socket:
    """A TCP connection made from inside the namespace at `path` to the first of `hosts` that accepts. Blocks.

    An empty path stands for the namespace of this process. Raises OSError: what the first host answered.
    """

    def connect() -> socket.socket:
        refusals: list[OSError] = []
        for host in hosts:
            try:
                return socket.create_connection((host, port), timeout)
            except OSError as error:
                refusals.append(error)
        raise refusals[0] if refusals else OSError("no address to connect to")

    return run_in_netns(path, connect) if path else connect()


def is_netns(path: str | Path) -> bool:
    """Whether a namespace lives at `path` (a bind mount below /run/netns, or /proc/PID/ns/net).

    A file that is left over after a reboot, with nothing mounted on it, is none.
    """
    file = Path(path)
    try:
        blocks, device, around = os.statvfs(file).f_blocks, file.stat().st_dev, file.parent.stat().st_dev
    except OSError:
        return False
    # The namespaces' file system has no blocks and a device of its own; an unmounted leftover lies on /run's.
    return blocks == 0 and (device != around or file.is_relative_to("/proc"))


def set_sysctl(name: str, value: str | int) -> bool:
    """Write `net.ipv4.ip_forward` and the like in the calling thread's namespace; False if there is none such.

    Names are written with slashes where a part holds a dot (`net/ipv4/conf/eth0.1/forwarding`). Raises OSError when
    it exists and can't be written and does not have that value already.
    """
    path = Path("/proc/sys", name if "/" in name else name.replace(".", "/"))
    text = str(value)
    try:
        if path.read_text().strip() == text:
            return True
        path.write_text(text)
    except FileNotFoundError:
        return False
    return True
