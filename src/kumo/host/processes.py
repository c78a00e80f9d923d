"""Processes and their namespaces: capabilities of this process, work done inside another network namespace."""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

CAP_SYS_RESOURCE = 24
CLONE_NEWNET = 0x40000000


def has_capability(number: int) -> bool:
    """Whether this process holds the capability (its number of `linux/capability.h`) in its effective set."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def in_netns(path: str, work: Callable[[], T]) -> T:
    """Run `work` in a thread of its own that has entered the network namespace at `path`; its result.

    The thread ends with the call, so no other work ever runs in that namespace by mistake. Blocking: call it from a
    thread. Raises OSError when the namespace can't be entered, and whatever `work` raises.
    """
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if libc.setns(descriptor, CLONE_NEWNET) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number), path)
            finally:
                os.close(descriptor)
            outcome.append(work())
        except BaseException as error:  # handed to the caller
            failure.append(error)

    thread = threading.Thread(target=run, name="netns", daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def connect_in_netns(path: str, hosts: tuple[str, ...], port: int, timeout: float = 10.0) -> socket.socket:
    """A TCP connection made inside the network namespace at `path` to the first of `hosts` that accepts.

    The socket stays in that namespace whichever thread uses it. Blocking. Raises OSError.
    """

    def connect() -> socket.socket:
        last: OSError | None = None
        for host in hosts:
            try:
                return socket.create_connection((host, port), timeout)
            except OSError as error:
                last = last or error
        raise last or OSError("no address to connect to")

    return in_netns(path, connect) if path else connect()
