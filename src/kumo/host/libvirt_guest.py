"""libvirtd in session mode for the guests of one user: where it lives, its two configuration files, how it is started.

Session mode (`qemu:///session`) needs no privilege at all. Standard library only: virt-launcher imports this, once per
virtual machine, and virt-handler uses it to learn the node's capabilities once for all of them.
"""

from __future__ import annotations

import os
from typing import NamedTuple

_DRIVER = "libvirt_driver_qemu.so"
_LIBRARY_DIRS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib")


class SessionPaths(NamedTuple):
    """The directories of one session daemon, as the XDG variables of its environment name them."""

    config_home: str
    cache_home: str
    runtime_dir: str

    @property
    def config(self) -> str:
        """Directory of libvirtd.conf and qemu.conf, and of the definitions of domains."""
        return f"{self.config_home}/libvirt"

    @property
    def socket(self) -> str:
        """The unix socket that libvirtd listens on."""
        return f"{self.runtime_dir}/libvirt/libvirt-sock"

    @property
    def capabilities(self) -> str:
        """Where libvirtd keeps what it learned of each emulator; it believes a file as long as the binaries match."""
        return f"{self.cache_home}/libvirt/qemu/cache/capabilities"

    @property
    def environment(self) -> dict[str, str]:
        """What libvirtd needs beside PATH. One malloc arena: its threads are idle nearly always."""
        return {
            "HOME": self.config_home,
            "XDG_CONFIG_HOME": self.config_home,
            "XDG_CACHE_HOME": self.cache_home,
            "XDG_RUNTIME_DIR": self.runtime_dir,
            "LIBVIRT_DRIVER_DIR": f"{self.config}/drivers",
            "MALLOC_ARENA_MAX": "1",
        }

    @property
    def uri(self) -> str:
        """The connection URI. It names the socket, so that a client never starts a daemon of its own."""
        return f"qemu+unix:///session?socket={self.socket}"


def qemu_conf() -> str:
    """qemu.conf for a user without privileges inside a container that already confines it.

    Each line switches something off that needs root, cgroups, mounts or virtlogd.
    """
    return (
        'stdio_handler = "file"\n'
        "cgroup_controllers = []\n"
        "namespaces = []\n"
        'security_driver = "none"\n'
        "dynamic_ownership = 0\n"
        "remember_owner = 0\n"
        "max_core = 0\n"
        "vnc_tls = 0\n"
    )


def libvirtd_conf(host_uuid: str) -> str:
    """libvirtd.conf: a small pool of workers, errors to stderr, and a host UUID, since a container has no SMBIOS."""
    return (
        "min_workers = 2\nmax_workers = 5\nprio_workers = 2\nadmin_min_workers = 1\nadmin_max_workers = 1\n"
        f'log_level = 3\nlog_outputs = "3:stderr"\nhost_uuid = "{host_uuid}"\n'
    )


def find_driver() -> str:
    """The path of libvirt's QEMU driver. Raises FileNotFoundError when the driver's package is not installed."""
    for directory in _LIBRARY_DIRS:
        path = f"{directory}/libvirt/connection-driver/{_DRIVER}"
        if os.path.exists(path):
            return path
    raise FileNotFoundError(f"{_DRIVER} is in none of {', '.join(_LIBRARY_DIRS)}: is libvirt's QEMU driver installed?")


def prepare(paths: SessionPaths, host_uuid: str, known_capabilities: str = "") -> None:
    """Write the configuration, and take over the capabilities files found in the directory `known_capabilities`.

    Only the QEMU driver is linked into the driver directory: the others cost memory and start-up time.
    """
    drivers = paths.environment["LIBVIRT_DRIVER_DIR"]
    for directory in (drivers, paths.capabilities, os.path.dirname(paths.socket)):
        os.makedirs(directory, exist_ok=True)
    link = f"{drivers}/{_DRIVER}"
    if not os.path.islink(link):
        os.symlink(find_driver(), link)
    _write(f"{paths.config}/qemu.conf", qemu_conf().encode())
    _write(f"{paths.config}/libvirtd.conf", libvirtd_conf(host_uuid).encode())
    if known_capabilities and os.path.isdir(known_capabilities):
        for name in os.listdir(known_capabilities):
            if name.endswith(".xml"):
                with open(f"{known_capabilities}/{name}", "rb") as source:
                    _write(f"{paths.capabilities}/{name}", source.read())


def _write(path: str, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def argv(paths: SessionPaths) -> list[str]:
    """The command line of libvirtd, in the foreground."""
    return ["/usr/sbin/libvirtd", "--config", f"{paths.config}/libvirtd.conf"]
